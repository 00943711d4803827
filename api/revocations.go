package api

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/revocations"
	"github.com/chancery-authority/chancery/api/rules"
)

// dryRunTimeout bounds a dry run: it looks at all that was ever issued to a
// client, say.
const dryRunTimeout = 10 * time.Minute

// revocationBody is what is to be revoked.
type revocationBody struct {
	// ID names the job, for who may have to ask again.
	ID      string `json:"id"`
	DryRun  bool   `json:"dry_run"`
	Client  string `json:"client"`
	User    string `json:"user"`
	KID     string `json:"kid"`
	Grant   string `json:"grant"`
	JTI     string `json:"jti"`
	Address string `json:"address"`
	Since   string `json:"since"`
	Until   string `json:"until"`
}

func (b revocationBody) selection() (revocations.Selection, *rules.Refusal) {
	s := revocations.Selection{Client: b.Client, User: b.User, KID: b.KID, Grant: b.Grant, JTI: b.JTI}
	for _, field := range []struct {
		name, text string
		set        func(string) bool
	}{
		{"address", b.Address, addressField(&s.Address)},
		{"since", b.Since, timeField(&s.Since)},
		{"until", b.Until, timeField(&s.Until)},
	} {
		if field.text != "" && !field.set(field.text) {
			return s, &rules.Refusal{Reason: rules.BadParameter, Parameter: field.name}
		}
	}
	return s, s.Check()
}

func addressField(to *netip.Addr) func(string) bool {
	return func(s string) bool {
		addr, err := netip.ParseAddr(s)
		*to = addr.Unmap().WithZone("")
		return err == nil
	}
}

// beginRevocation begins a job, or counts what it would end.
func (s *Server) beginRevocation(c echo.Context) error {
	var body revocationBody
	if refusal := parseJSON(c.Response(), c.Request(), &body, true); refusal != nil {
		return asError(refusal)
	}
	selection, refusal := body.selection()
	if refusal != nil {
		return asError(refusal)
	}
	if body.DryRun {
		return s.dryRun(c, selection)
	}
	// A client that hangs up does not end it: the job may be kept.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request().Context()), s.parts.RequestTimeout)
	defer cancel()
	job, created, err := s.revocations.Begin(ctx, body.ID, selection, requestID(c))
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusAccepted
	}
	return c.JSON(status, job)
}

// dryRun answers when everything was looked at, or when the client has gone.
func (s *Server) dryRun(c echo.Context, selection revocations.Selection) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), dryRunTimeout)
	defer cancel()
	// The listener's write timeout is for answers that begin sooner.
	deadline := http.NewResponseController(c.Response()).SetWriteDeadline
	if err := deadline(time.Now().Add(dryRunTimeout + eventWriteTimeout)); err != nil {
		return fmt.Errorf("move the write deadline: %w", err)
	}
	counts, err := s.revocations.DryRun(ctx, selection)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, counts)
}

func (s *Server) listRevocations(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), s.parts.RequestTimeout)
	defer cancel()
	jobs, err := s.revocations.Jobs(ctx)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]any{"revocations": jobs})
}

func (s *Server) showRevocation(c echo.Context) error {
	job, err := s.revocations.Job(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, job)
}
