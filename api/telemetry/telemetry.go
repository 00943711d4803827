// Package telemetry is what operators see of a process: metrics for Prometheus,
// traces for OpenTelemetry, and log lines that name the request they are about.
//
// The one thing to know: nothing that comes from a request becomes a label or an
// attribute, but for what is one of a fixed set of words. So series are bounded,
// and neither secrets nor people are in them.
package telemetry

import (
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// tracerName is the instrumentation scope of the spans.
const tracerName = "github.com/chancery-authority/chancery/api"

// Config says what to count and trace. The zero value counts and traces nothing.
type Config struct {
	// Metrics counts. Without it Handler answers 404.
	Metrics bool
	// Build is shown as build_info.
	Build Build
	// Exporter gets the spans; nil traces nothing. Ratio is how many of the traces
	// are recorded, from 0 to 1: it is decided by a trace's id, so that all
	// processes of one Ratio agree.
	Exporter sdktrace.SpanExporter
	Ratio    float64
	// Role names the process in traces.
	Role string
	// Logger is told what cannot be exported.
	Logger *slog.Logger
}

// Build is what a program was built from.
type Build struct{ Version, Revision string }

// A Telemetry counts and traces what a process does. A nil one does neither; all
// methods may be called on it.
type Telemetry struct {
	*instruments // nil without metrics
	registry     *prometheus.Registry
	tracer       trace.Tracer
	// provider is nil where nothing is traced.
	provider *sdktrace.TracerProvider
	logger   *slog.Logger
}

// New returns a Telemetry with a registry of its own. Close it.
func New(cfg Config) *Telemetry {
	t := &Telemetry{tracer: noop.Tracer{}, logger: cfg.Logger}
	if cfg.Logger == nil {
		t.logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics {
		t.registry = prometheus.NewRegistry()
		t.instruments = newInstruments(t.registry)
		t.registry.MustRegister(collectors.NewGoCollector(),
			collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo(cfg.Build))
	}
	if cfg.Exporter != nil {
		t.provider = newProvider(cfg, t.logger)
		t.tracer = t.provider.Tracer(tracerName)
	}
	return t
}

// Handler answers a scrape.
func (t *Telemetry) Handler() http.Handler {
	if t == nil || t.registry == nil {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{
		// A scrape that fails in one part has the others: what is in trouble is what
		// one wants to see.
		ErrorHandling:       promhttp.ContinueOnError,
		ErrorLog:            slog.NewLogLogger(t.logger.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: 4,
	})
}

// Tracer makes the spans of this process. It is nil where nothing is traced.
func (t *Telemetry) Tracer() trace.Tracer {
	if t == nil || t.provider == nil {
		return nil
	}
	return t.tracer
}
