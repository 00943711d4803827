package telemetry

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// Logs is a logger whose lines have the id of the request they are about, and of
// the trace if there is one.
func Logs(l *slog.Logger) *slog.Logger { return slog.New(logs{l.Handler()}) }

type logs struct{ slog.Handler }

func (h logs) Handle(ctx context.Context, r slog.Record) error {
	if id := RequestOf(ctx).ID; id != "" {
		r.AddAttrs(slog.String("request", id))
	}
	if of := trace.SpanContextFromContext(ctx); of.HasTraceID() {
		r.AddAttrs(slog.String("trace", of.TraceID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// Log is a logger of lines about the request, for where there is no ctx of it.
func (r *Request) Log(l *slog.Logger) *slog.Logger {
	if r.span != nil {
		l = l.With("trace", r.span.SpanContext().TraceID().String())
	}
	return l.With("request", r.ID)
}

func (h logs) WithAttrs(attrs []slog.Attr) slog.Handler { return logs{h.Handler.WithAttrs(attrs)} }

func (h logs) WithGroup(name string) slog.Handler { return logs{h.Handler.WithGroup(name)} }
