package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"golang.org/x/time/rate"

	"github.com/chancery-authority/chancery/events/eventlog"
)

// w3c reads and writes trace contexts (W3C Trace Context).
var w3c propagation.TraceContext

// complaint is how often it is told that spans cannot be exported.
const complaint = time.Minute

// Collector exports spans by OTLP over HTTP: to endpoint, or without one to where
// the OTEL_EXPORTER_OTLP_* variables say. It is nil if neither says anything.
func Collector(ctx context.Context, endpoint string) (sdktrace.SpanExporter, error) {
	var options []otlptracehttp.Option
	switch {
	case endpoint != "":
		u, err := url.Parse(endpoint)
		if err != nil {
			return nil, errors.New("read the endpoint for traces: it is no URL") // and the reason may hold what is in it
		}
		if u.Path == "" || u.Path == "/" {
			u.Path = "/v1/traces"
		}
		options = append(options, otlptracehttp.WithEndpointURL(u.String()))
	case os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "":
		return nil, nil
	}
	e, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("export traces: %w", err)
	}
	return e, nil
}

func newProvider(cfg Config, l *slog.Logger) *sdktrace.TracerProvider {
	r, err := resource.Merge(resource.NewSchemaless(
		attribute.String("service.name", "chancery"), attribute.String("service.version", cfg.Build.Version),
		attribute.String("chancery.role", cfg.Role),
	), resource.Environment())
	if err != nil {
		l.Warn("traces do not say all of what they are of", "reason", err)
	}
	ratio := sdktrace.TraceIDRatioBased(cfg.Ratio)
	return sdktrace.NewTracerProvider(
		sdktrace.WithResource(r),
		sdktrace.WithSampler(sdktrace.ParentBased(ratio, sdktrace.WithRemoteParentSampled(ratio))),
		sdktrace.WithBatcher(&complaining{SpanExporter: cfg.Exporter, logger: l, some: rate.Sometimes{Interval: complaint}}),
	)
}

// complaining tells the logger what the SDK would tell the standard one.
type complaining struct {
	sdktrace.SpanExporter
	logger *slog.Logger
	some   rate.Sometimes
}

func (c *complaining) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := c.SpanExporter.ExportSpans(ctx, spans); err != nil {
		c.some.Do(func() { c.logger.WarnContext(ctx, "spans are lost", "reason", err) })
	}
	return nil
}

// Close exports what spans there are, until ctx ends.
func (t *Telemetry) Close(ctx context.Context) error {
	if t == nil || t.provider == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Start begins a part of what ctx is a part of. Where that is not recorded it costs
// nothing.
func Start(ctx context.Context, name string, attrs ...attribute.KeyValue) (context.Context, trace.Span) {
	of := trace.SpanFromContext(ctx)
	if !of.IsRecording() {
		return ctx, noop.Span{}
	}
	return of.TracerProvider().Tracer(tracerName).Start(ctx, name, trace.WithAttributes(attrs...))
}

// End ends a span, as an error if there is one. Its text may hold what must not be
// kept, and is in the log.
func End(s trace.Span, err error) {
	if err != nil {
		s.SetStatus(codes.Error, "")
	}
	s.End()
}

// Traceparent is the trace that ctx is of (W3C Trace Context §3.2), or empty.
func Traceparent(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	w3c.Inject(ctx, carrier)
	return carrier["traceparent"]
}

func (t *Telemetry) traceAppend(ctx context.Context, stream string, u eventlog.Unit) (context.Context, trace.Span) {
	return Start(ctx, "append "+u.Event.Fact.Type(), attribute.String("messaging.system", "nats"), attribute.String("chancery.stream", stream))
}

func endAppend(s trace.Span, a eventlog.Appended, outcome string) {
	if !s.IsRecording() {
		return
	}
	s.SetAttributes(attribute.String("chancery.outcome", outcome), attribute.Int("chancery.attempts", a.Attempts))
	if a.Err == nil {
		s.SetAttributes(attribute.Int64("chancery.sequence", int64(a.Seq))) //nolint:gosec // sequences are far below 2^63
	}
	End(s, a.Err)
}
