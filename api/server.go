// Package api is the edge: Echo, the dialects that clients speak, and the
// administrators' interface. What it answers is decided in package authority
// and its rules.
package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/backchannel"
	"github.com/chancery-authority/chancery/api/config"
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
	parts Parts
	// settings are those in force, which begin as the parts'.
	settings  *config.Live
	authority *authority.Authority
	keys      *keys.Manager
	feed      *projector.Feed
	limits    limits
	feeds     *feeds
	// openAPI is rendered when it is first asked for, which takes a while.
	openAPI  func() (openAPI, error)
	logLevel *logLevel
	logouts  *backchannel.Deliverer
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
	// callers finds the address of who sent a request.
	callers atomic.Pointer[echo.IPExtractor]
	// ending is over when requests in progress are to end, by endRequests.
	ending      context.Context
	endRequests context.CancelFunc
	stop        context.CancelFunc
	done        sync.WaitGroup
}

// newServer follows the keys until Close, whatever becomes of ctx.
func newServer(ctx context.Context, p Parts, live *config.Live, a *authority.Authority, k *keys.Manager, f *projector.Feed, r *pages.Renderer) (*Server, error) {
	s := &Server{parts: p, settings: live, authority: a, keys: k, feed: f, limits: newLimits(p.Settings)}
	s.ending, s.endRequests = context.WithCancel(context.WithoutCancel(ctx))
	s.setCallers(p.Settings.TrustedProxies)
	s.logLevel = newLogLevel(p.LogLevel)
	s.feeds = newFeeds(p.Settings.RevocationFeeds)
	s.pages, s.origin, s.ownOrigin = r, http.NewCrossOriginProtection(), originOf(p.Settings.Issuer)
	if err := s.origin.AddTrustedOrigin(s.ownOrigin); err != nil {
		p.Logger.Warn("forms are taken from where they are served only", "error", err)
	}
	s.addresses, s.cursors = secret.NewAddresses(p.KeyRing), p.KeyRing.Sealer("audit-cursor")
	s.openAPI = sync.OnceValues(func() (openAPI, error) { return newOpenAPI(p.Settings.Issuer, s.basePath()) })
	var err error
	s.revocations, err = revocations.Start(ctx, revocations.Config{
		Authority: a, Log: p.Log, Reader: p.Reader, Addresses: s.addresses, Sealer: p.KeyRing.Sealer("revocation"),
		Now: func() time.Time { return f.Now(0) }, Logger: p.Logger,
	})
	if err != nil {
		return nil, err
	}
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.done.Go(func() { s.keys.Follow(ctx, s.feed.KeysChanged) })
	s.done.Go(func() { s.keys.Tend(ctx) })
	s.public, s.admin = s.newEcho(), s.newEcho()
	s.publicRoutes(s.public)
	s.adminRoutes(s.admin)
	s.logouts = backchannel.Start(ctx, backchannel.Config{
		Issuer: p.Settings.Issuer, Log: p.Log, Reader: p.Reader, Feed: f, Sign: a.SignLogoutToken, Logger: p.Logger,
		AllowPrivate: p.Settings.PrivateBackchannel(),
	})
	s.watch(p.Telemetry)
	return s, nil
}

// Reload puts what can change of s in force, for requests that begin from now
// on. Check s before.
func (s *Server) Reload(with config.Settings) {
	now := s.settings.Set(with)
	s.limits.set(now)
	s.authority.Polls.Set(now.DevicePollLimit)
	s.authority.Failures.Set(now.FailureLimit, now.AddressFailureLimit)
	s.setCallers(now.TrustedProxies)
}

func (s *Server) setCallers(trusted []netip.Prefix) {
	extractor := ipExtractor(trusted)
	s.callers.Store(&extractor)
}

// originOf is the web origin of an address (RFC 6454 §6.2).
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// EndRequests has what is in progress give up, and answer 503 rather than nothing.
func (s *Server) EndRequests() { s.endRequests() }

// Close stops telling clients of the ends of sessions and revoking in bulk,
// writes what refusals are not in the log yet and stops following it. Answer
// nothing after it.
func (s *Server) Close() {
	s.EndFeeds()
	s.EndRequests()
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
	e.IPExtractor = func(r *http.Request) string { return (*s.callers.Load())(r) }
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		// Only what no route's dialect has answered comes here.
		if !c.Response().Committed {
			p := asProblem(err)
			s.logProblem(c, p)
			_ = oauthDialect(c, p)
		}
	}
	e.Use(s.observe, s.recoverPanic, secureHeaders, s.limitTime)
	return e
}
