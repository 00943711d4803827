package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/api/telemetry"
	"github.com/chancery-authority/chancery/events/eventlog"
)

func (r Role) String() string { return [...]string{"serve", "api", "projector"}[r] }

// openTelemetry comes first, so that all else can be counted and traced.
func (s *Server) openTelemetry(ctx context.Context) error {
	exporter := s.cfg.Exporter
	if exporter == nil {
		var err error
		if exporter, err = telemetry.Collector(ctx, s.cfg.Tracing.OTLPEndpoint); err != nil {
			return err
		}
	}
	s.telemetry = telemetry.New(telemetry.Config{
		Metrics: !s.cfg.Metrics.NoMetrics, Build: s.cfg.Build, Exporter: exporter, Ratio: s.cfg.Tracing.TraceRatio,
		Role: s.cfg.Role.String(), Logger: s.logger,
	})
	s.onClose("the traces", s.telemetry.Close)
	if s.cfg.Metrics.NoMetrics {
		return nil
	}
	key := s.cfg.Metrics.MetricsKey
	if path := s.cfg.Metrics.MetricsKeyFile; path != "" {
		var err error
		if key, err = readSecret("the key of metrics", path); err != nil {
			return err
		}
	}
	s.health.show(behindKey(key, s.telemetry.Handler()))
	return nil
}

// watch has metrics read what there is in every role.
func (s *Server) watch() {
	t := s.telemetry
	t.WatchNATS(s.nc)
	t.WatchLog(s.eventLog, s.durable)
	t.WatchCheckpoints(s.keeper)
	if s.local != nil {
		t.WatchLocal(s.local)
	}
}

// durable is nil if the servers are known to sync before they acknowledge.
func (s *Server) durable() error {
	if s.cfg.Log.NATSURL != "" && s.durability == nil { // which was accepted
		return eventlog.ErrNotDurable
	}
	return s.durability.ready()
}

// accessLog is the level of the access log, nil for none.
func (c Config) accessLog() slog.Leveler {
	switch c.AccessLog {
	case "debug":
		return slog.LevelDebug
	case "info":
		return slog.LevelInfo
	}
	return nil
}

// behindKey answers who has the key, and everybody if there is none.
func behindKey(key secret.Secret, next http.Handler) http.Handler {
	if key.IsZero() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || !key.Equal(sent) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="chancery metrics"`)
			http.Error(w, "the key of metrics is required as bearer token", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// checkEndpoint checks where traces go. What authenticates there is a header, of
// OTEL_EXPORTER_OTLP_HEADERS, because this is printed.
func checkEndpoint(text string) error {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return nil
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("is not a URL like http://host:4318")
	case u.User != nil:
		return errors.New("holds credentials; they belong in OTEL_EXPORTER_OTLP_HEADERS")
	}
	return nil
}

func (c Config) checkTelemetry() error {
	m, ratio := c.Metrics, c.Tracing.TraceRatio
	var p problems
	p.add(!m.MetricsKey.IsZero() && m.MetricsKeyFile != "", "metrics-key-file: give the key or the file, not both")
	p.add(ratio < 0 || ratio > 1, "trace-ratio: %v is not between 0 and 1", ratio)
	if err := checkEndpoint(c.Tracing.OTLPEndpoint); err != nil {
		p.add(true, "otlp-endpoint: %w", err)
	}
	return p.join()
}
