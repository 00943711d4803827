// Package api is the edge: Echo, the dialects that clients speak, and the
// administrators' interface. What it answers is decided in package authority
// and its rules.
package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/backchannel"
	"github.com/chancery-authority/chancery/api/keys"
	"github.com/chancery-authority/chancery/api/pages"
	"github.com/chancery-authority/chancery/api/revocations"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector"
)

// A Server has the two handlers of the process: one for clients, one for
// administrators.
type Server struct {
	parts     Parts
	authority *authority.Authority
	keys      *keys.Manager
	feed      *projector.Feed
	limits    limits
	openAPI   openAPI
	logouts   *backchannel.Deliverer
	// revocations are the jobs that revoke in bulk.
	revocations *revocations.Runner
	pages       *pages.Renderer
	// origin refuses forms that other origins send than ownOrigin, the issuer's.
	origin    *http.CrossOriginProtection
	ownOrigin string
	public    *echo.Echo
	admin     *echo.Echo
	// addresses finds where tokens were issued to, and cursors seals where a page
	// of events ended.
	addresses *secret.Addresses
	cursors   *secret.Sealer
	stop      context.CancelFunc
	done      sync.WaitGroup
}

// newServer follows the keys until Close, whatever becomes of ctx.
func newServer(ctx context.Context, p Parts, a *authority.Authority, k *keys.Manager, f *projector.Feed, r *pages.Renderer) (*Server, error) {
	s := &Server{parts: p, authority: a, keys: k, feed: f, limits: newLimits(p.Settings)}
	s.pages, s.origin, s.ownOrigin = r, http.NewCrossOriginProtection(), originOf(p.Settings.Issuer)
	if err := s.origin.AddTrustedOrigin(s.ownOrigin); err != nil {
		p.Logger.Warn("forms are taken from where they are served only", "error", err)
	}
	s.addresses, s.cursors = secret.NewAddresses(p.KeyRing), p.KeyRing.Sealer("audit-cursor")
	var err error
	if s.openAPI, err = newOpenAPI(p.Settings.Issuer, s.basePath()); err != nil {
		return nil, err
	}
	s.revocations, err = revocations.Start(ctx, revocations.Config{
		Authority: a, Log: p.Log, Reader: p.Reader, Addresses: s.addresses, Sealer: p.KeyRing.Sealer("revocation"),
		Now: func() time.Time { return f.Now(0) }, Logger: p.Logger,
	})
	if err != nil {
		return nil, err
	}
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.done.Go(func() { s.keys.Follow(ctx, s.feed.KeysChanged) })
	s.public, s.admin = s.newEcho(), s.newEcho()
	s.publicRoutes(s.public)
	s.adminRoutes(s.admin)
	s.logouts = backchannel.Start(ctx, backchannel.Config{
		Issuer: p.Settings.Issuer, Log: p.Log, Reader: p.Reader, Feed: f, Sign: a.SignLogoutToken, Logger: p.Logger,
		AllowPrivate: p.Settings.PrivateBackchannel(),
	})
	return s, nil
}

// originOf is the web origin of an address (RFC 6454 §6.2).
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// Close stops telling clients of the ends of sessions and revoking in bulk,
// writes what refusals are not in the log yet and stops following it. Answer
// nothing after it.
func (s *Server) Close() {
	s.logouts.Close()
	s.revocations.Close()
	s.stop()
	s.done.Wait()
	s.authority.Close()
	s.feed.Close()
}

// Ready is nil if the server can answer now: its feed is fresh, its keys are
// all there and its clock is the log's.
func (s *Server) Ready(ctx context.Context) error {
	errs := []error{s.keys.Err(), s.feed.Err(), s.feed.RegistryFresh(ctx)}
	for _, p := range s.authority.Partitions() {
		errs = append(errs, s.feed.PartitionFresh(ctx, p))
	}
	if skew := s.feed.ClockSkew(); skew.Abs() > projector.MaxClockSkew {
		errs = append(errs, fmt.Errorf("the clock is %s off the log's", skew))
	}
	if s.parts.Ready != nil {
		errs = append(errs, s.parts.Ready(ctx))
	}
	return errors.Join(errs...)
}

// Partitions are those that grants are opened in here.
func (s *Server) Partitions() []events.Partition { return s.authority.Partitions() }

// SeedDemo registers the demonstration clients and user.
func (s *Server) SeedDemo(ctx context.Context) error { return s.authority.SeedDemo(ctx) }

// DemoInForce names who of the demonstration is still let in.
func (s *Server) DemoInForce(ctx context.Context) ([]string, error) {
	return s.authority.DemoInForce(ctx)
}

// Public serves clients.
func (s *Server) Public() http.Handler { return s.public }

// Admin serves administrators, and health checks.
func (s *Server) Admin() http.Handler { return s.admin }

func (s *Server) newEcho() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = ipExtractor(s.parts.Settings.TrustedProxies)
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		// Only what no route's dialect has answered comes here.
		if !c.Response().Committed {
			p := asProblem(err)
			s.logProblem(c, p)
			_ = oauthDialect(c, p)
		}
	}
	e.Use(s.identify, s.recoverPanic, secureHeaders, s.limitTime)
	return e
}
