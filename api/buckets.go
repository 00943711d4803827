package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events/backup"
)

// bucketsView is what a backup says of the realm, and what there is to copy beside
// the log.
type bucketsView struct {
	Realm   string   `json:"realm"`
	Issuer  string   `json:"issuer"`
	Buckets []string `json:"buckets"`
}

func (s *Server) listBuckets(c echo.Context) error {
	names, err := s.parts.Log.Buckets(c.Request().Context())
	if err != nil {
		return fmt.Errorf("list buckets: %w", err)
	}
	return c.JSON(http.StatusOK, bucketsView{string(s.parts.Log.Realm()), s.parts.Settings.Issuer, names})
}

// copyBucket answers with a bucket as a backup keeps it: sealed keys, hashes of
// passwords and who people are.
func (s *Server) copyBucket(c echo.Context) error {
	ctx := c.Request().Context()
	names, err := s.parts.Log.Buckets(ctx)
	if err != nil {
		return fmt.Errorf("list buckets: %w", err)
	}
	bucket := c.Param("bucket")
	if !slices.Contains(names, bucket) {
		return asError(&rules.Refusal{Reason: rules.NotFound, Parameter: "bucket"})
	}
	c.Response().Header().Set(echo.HeaderContentType, "application/x-ndjson")
	c.Response().WriteHeader(http.StatusOK)
	if err := s.writeBucket(ctx, c, bucket); err != nil {
		if ctx.Err() == nil {
			s.parts.Logger.Error("a copy of a bucket was cut short", "request", requestID(c), "bucket", bucket, "error", err)
		}
		panic(http.ErrAbortHandler) // whoever reads it must not take it for whole
	}
	return nil
}

func (s *Server) writeBucket(ctx context.Context, c echo.Context, bucket string) error {
	w := backup.NewBucketWriter(patientWriter{c.Response()})
	if err := s.parts.Log.Records(ctx, bucket, w.Config, w.Record); err != nil {
		return err
	}
	return w.End()
}
