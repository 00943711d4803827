package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chancery-authority/chancery/api"
	"github.com/chancery-authority/chancery/api/telemetry"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/checkpoint"
)

// Bounds of stopping, together below ten seconds. Requests in progress get
// drainGrace until their contexts end, streams of events, which never end by
// themselves, streamGrace; connections are cut after drainTimeout. Then
// everything else gets closeTimeout.
const (
	drainGrace   = 3 * time.Second
	streamGrace  = 300 * time.Millisecond
	drainTimeout = 5 * time.Second
	closeTimeout = 4 * time.Second
)

// A Server is one process of an authority.
type Server struct {
	cfg    Config
	logger *slog.Logger
	health *health
	// telemetry is nil until it is opened.
	telemetry *telemetry.Telemetry

	public, admin *listener
	// failed gets the error of a listener that ends by itself.
	failed chan error

	nc         *nats.Conn
	eventLog   *eventlog.Log
	durability *durability
	reader     projector.Reader
	local      *projector.Local // nil in a process that asks others
	keeper     *checkpoint.Keeper
	api        *api.Server // nil in a process that only projects

	// closers are run in reverse.
	closers []closer
}

// New returns a Server that does what cfg says. Nothing is opened yet.
func New(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, logger: cfg.Logger, failed: make(chan error, 2)}
	s.health = newHealth(s.check)
	return s
}

// Run serves until ctx ends, then drains and closes everything. The end of ctx
// is no error.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // told to stop while starting
		}
		return err
	}
	return errors.Join(s.wait(ctx), s.Close()) //nolint:contextcheck // ctx has ended, closing goes on
}

// Start opens everything and returns when the process is ready. What it has
// opened when it fails is closed again.
func (s *Server) Start(ctx context.Context) error {
	if err := s.cfg.Check(); err != nil {
		return err
	}
	if err := s.start(ctx); err != nil {
		return errors.Join(err, s.Close()) //nolint:contextcheck // ctx may have ended, closing goes on
	}
	s.health.set(nil)
	s.logger.Info("serving", "admin", s.AdminURL(), "public", s.PublicURL(), "issuer", s.cfg.Settings.Issuer)
	return nil
}

func (s *Server) start(ctx context.Context) error {
	var err error
	if err := s.openTelemetry(ctx); err != nil {
		return err
	}
	admin := s.cfg.Admin
	if s.admin, err = s.listen(ctx, admin.AdminListen, admin.AdminTLSCert, admin.AdminTLSKey, s.health); err != nil {
		return err
	}
	s.serve(s.admin)
	if s.cfg.Data.Data != "" {
		if err := os.MkdirAll(s.cfg.Data.Data, 0o700); err != nil {
			return fmt.Errorf("making the data directory: %w", err)
		}
	}
	if err := s.openLog(ctx); err != nil {
		return err
	}
	if err := s.watchDurability(ctx); err != nil {
		return err
	}
	return s.open(ctx)
}

// listen binds one of the process's addresses and keeps up with its certificate.
func (s *Server) listen(ctx context.Context, address, certFile, keyFile string, h http.Handler) (*listener, error) {
	cert, err := openCertificate(certFile, keyFile, s.logger)
	if err != nil {
		return nil, err
	}
	if cert != nil {
		s.background(ctx, "the certificate", cert.watch)
	}
	return listen(ctx, address, cert, h, s.logger)
}

// reload puts in force what of cfg can be changed, and looks at the certificates.
func (s *Server) reload(cfg Config) {
	for _, l := range []*listener{s.public, s.admin} {
		if l != nil && l.cert != nil {
			l.cert.reload("")
		}
	}
	if s.api != nil {
		s.api.Reload(cfg.Settings)
	}
}

func (s *Server) wait(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.failed:
			return err
		case cfg := <-s.cfg.Reloads:
			s.reload(cfg)
		}
	}
}

// serve answers requests until the listener is drained.
func (s *Server) serve(l *listener) {
	go func() {
		if err := l.serve(); err != nil {
			s.failed <- err
		}
	}()
}

// PublicURL is the address of the public endpoints, AdminURL that of the admin
// API, for clients on this machine. They are empty where there is none.
func (s *Server) PublicURL() string { return s.public.url() }

// AdminURL is described at PublicURL.
func (s *Server) AdminURL() string { return s.admin.url() }
