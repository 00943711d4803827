package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"
)

// fewMACKeys are years of rotations, if they are not told to go faster.
const fewMACKeys = 40

// statusView is what an administrator sees of the replica.
type statusView struct {
	Issuer     string `json:"issuer"`
	Realm      string `json:"realm"`
	Partitions int    `json:"partitions"`
	// Version is the program's.
	Version string `json:"version,omitempty"`
	Ready   bool   `json:"ready"`
	// Reason is why it is not ready.
	Reason string `json:"reason,omitempty"`
	// ClockSkew is how far the clock is off the log's, in milliseconds.
	ClockSkew int64 `json:"clock_skew_ms"`
	// Warnings are what needs an administrator, sooner or later.
	Warnings []string `json:"warnings,omitempty"`
	// Projector is how far the read models are, where they are in this process.
	Projector any `json:"projector,omitempty"`
}

func (s *Server) status(c echo.Context) error {
	view := statusView{
		Issuer: s.settings.Get().Issuer, Realm: string(s.parts.Log.Realm()), Partitions: len(s.feed.Added()),
		Version: s.parts.Version, Ready: true, ClockSkew: s.feed.ClockSkew().Milliseconds(),
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), readyTimeout)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		view.Ready, view.Reason = false, err.Error()
	}
	if left := s.keys.MACKeysLeft(); left < fewMACKeys {
		view.Warnings = append(view.Warnings, fmt.Sprintf("only %d of the 255 MAC keys that a realm can ever have are left", left))
	}
	if s.parts.Status != nil {
		view.Projector = s.parts.Status()
	}
	return c.JSON(http.StatusOK, view)
}

func (s *Server) live(c echo.Context) error { return c.String(http.StatusOK, "live\n") }

func (s *Server) ready(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), readyTimeout)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		return c.String(http.StatusServiceUnavailable, "not ready: "+err.Error()+"\n")
	}
	return c.String(http.StatusOK, "ready\n")
}
