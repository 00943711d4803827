package server

import (
	"context"
	"log/slog"

	"github.com/nats-io/nats.go"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded"
	"github.com/chancery-authority/chancery/events/eventlog"
)

const connectionName = "chancery"

// openLog opens the log on the embedded server or on those it is told of.
func (s *Server) openLog(ctx context.Context) error {
	var err error
	if s.cfg.Log.NATSURL == "" {
		s.nc, err = s.startEmbedded()
	} else {
		s.nc, err = s.connect(s.cfg.Log.NATSCreds)
	}
	if err != nil {
		return err
	}
	s.eventLog, err = eventlog.Open(ctx, s.nc, eventlog.Config{
		Realm:      events.Realm(s.cfg.Log.Realm),
		Partitions: s.cfg.Log.Partitions,
		Replicas:   s.cfg.Log.Replicas,
		Archive:    s.cfg.archived(),
		Logger:     s.logger,
		Appending:  s.telemetry.Appending,
	})
	return err
}

func (s *Server) startEmbedded() (*nats.Conn, error) {
	ns, err := embedded.Start(embedded.Options{Dir: s.cfg.Data.Data, Logger: natsLogger(s.logger)})
	if err != nil {
		return nil, err
	}
	s.onClose("the NATS server", ns.Shutdown)
	nc, err := ns.Connect(nats.Name(connectionName), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
	if err != nil {
		return nil, err
	}
	s.onClose("the NATS connection", closing(nc.Close))
	return nc, nil
}

// Connect connects to the servers of nats-url as the user whose credentials
// these are.
func (l Log) Connect(creds string, logger *slog.Logger) (*nats.Conn, error) {
	return eventlog.Connect(eventlog.ConnectConfig{
		URL: l.NATSURL, Name: connectionName, Creds: creds,
		CA: l.NATSTLSCA, Cert: l.NATSTLSCert, Key: l.NATSTLSKey, Logger: logger,
	})
}

func (s *Server) connect(creds string) (*nats.Conn, error) {
	nc, err := s.cfg.Log.Connect(creds, s.logger)
	if err != nil {
		return nil, err
	}
	s.onClose("the NATS connection", closing(nc.Close))
	return nc, nil
}

// natsLogger is where the embedded server logs: what it says about itself at
// the info level is for debugging here.
func natsLogger(logger *slog.Logger) *slog.Logger {
	return slog.New(warnings{logger.Handler()}).With("part", "nats-server")
}

// warnings drops everything below a warning, unless somebody is debugging.
type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, l slog.Level) bool {
	return w.Handler.Enabled(ctx, l) && (l >= slog.LevelWarn || w.Handler.Enabled(ctx, slog.LevelDebug))
}

func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}

func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }
