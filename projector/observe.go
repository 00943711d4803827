package projector

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// maxLinks is how many events a span of a fold links to at most.
const maxLinks = 100

// tracerName is the instrumentation scope of the spans.
const tracerName = "github.com/chancery-authority/chancery/projector"

// headerTrace is where an event has the traceparent of the request that it came of.
const headerTrace = "ce-traceparent"

// w3c reads and writes trace contexts (W3C Trace Context).
var w3c propagation.TraceContext

// observe tells of the fold of a batch, and gives what to tell its end. What is
// folded again, because a file is built, has been told before.
func (w *worker) observe(ctx context.Context, batch []eventlog.Entry) (end func(error)) {
	w.mu.Lock()
	again := !w.caughtUp || w.beside.Load()
	w.mu.Unlock()
	if again {
		return func(error) {}
	}
	span := w.traceFold(ctx, batch)
	began := time.Now()
	return func(err error) {
		endSpan(span, err)
		if err == nil && w.folded != nil {
			w.folded(w.stream, w.modelName(), len(batch), time.Since(began))
		}
	}
}

// traceFold begins a span if any of the events was traced when it was appended. It
// belongs to the trace of the first and links to those of all.
func (w *worker) traceFold(ctx context.Context, batch []eventlog.Entry) trace.Span {
	if _, off := w.tracer.(noop.Tracer); off {
		return noop.Span{}
	}
	var links []trace.Link
	for _, e := range batch {
		if of := traceOf(ctx, e); of.IsSampled() && len(links) < maxLinks {
			links = append(links, trace.Link{SpanContext: of})
		}
	}
	if len(links) == 0 {
		return noop.Span{}
	}
	_, span := w.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, links[0].SpanContext), "fold",
		trace.WithLinks(links...), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			attribute.String("chancery.stream", w.stream), attribute.String("chancery.model", w.modelName()),
			attribute.Int64("chancery.sequence", sequence(batch[0].Seq)), attribute.Int("chancery.events", len(batch))))
	return span
}

// traceOf is the span that an event was appended in, invalid if there is none.
func traceOf(ctx context.Context, e eventlog.Entry) trace.SpanContext {
	text := e.Message.Header.Get(headerTrace)
	if text == "" {
		return trace.SpanContext{}
	}
	return trace.SpanContextFromContext(w3c.Extract(ctx, propagation.MapCarrier{"traceparent": text}))
}

// startRead begins a span of a read over NATS, of whoever asks for it or answers
// it. A key is not in it: some have the ids of people.
func startRead(ctx context.Context, t trace.Tracer, kind trace.SpanKind, r events.Realm, at place, what string) (context.Context, trace.Span) {
	return t.Start(ctx, "read "+what, trace.WithSpanKind(kind), trace.WithAttributes(
		attribute.String("messaging.system", "nats"), attribute.String("messaging.destination.name", readSubject(r, at, what))))
}

func endSpan(s trace.Span, err error) {
	if err != nil {
		s.SetStatus(codes.Error, "")
	}
	s.End()
}
