package telemetry

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// A Request is an HTTP request on its way. Whoever answers it adds what it learns:
// none of it may be what the client made up.
type Request struct {
	// ID is its id in the audit, the log and the answer.
	ID string
	// GrantType is that of a token request, and empty for others.
	GrantType string
	// Reason is why it is not answered as asked, and Code the error code of OAuth.
	Reason, Code string

	telemetry     *Telemetry
	method, route string
	began         time.Time
	span          trace.Span
}

type requestKey struct{}

// RequestOf is the request that ctx is of. It is never nil; there may be none.
func RequestOf(ctx context.Context) *Request {
	if r, ok := ctx.Value(requestKey{}).(*Request); ok {
		return r
	}
	return &Request{}
}

// methods are those that have a label of their own.
var methods = map[string]bool{
	http.MethodGet: true, http.MethodHead: true, http.MethodPost: true, http.MethodPut: true,
	http.MethodPatch: true, http.MethodDelete: true, http.MethodOptions: true,
}

// Request begins a request. The route is the pattern that it has matched, never
// its path, which may hold anything. What the client says of the trace it belongs
// to is taken, whether it is recorded is not: that would be for anybody to say.
func (t *Telemetry) Request(r *http.Request, route, id string) (context.Context, *Request) {
	req := &Request{ID: id, telemetry: t, method: r.Method, route: route, began: time.Now()}
	if !methods[req.method] {
		req.method = "other"
	}
	if route == "" {
		req.route = "none"
	}
	ctx := context.WithValue(r.Context(), requestKey{}, req)
	if t.counts() {
		t.inFlight.Inc()
	}
	if t.Tracer() != nil {
		ctx = w3c.Extract(ctx, propagation.HeaderCarrier(r.Header))
		ctx, req.span = t.tracer.Start(ctx, req.method+" "+req.route, trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(attribute.String("http.request.method", req.method), attribute.String("http.route", req.route),
				attribute.String("chancery.request_id", id)))
	}
	return ctx, req
}

// End ends a request that was answered with a status, and gives how long it took.
func (r *Request) End(status int) time.Duration {
	took := time.Since(r.began)
	if r.span != nil {
		r.endSpan(status)
	}
	t := r.telemetry
	if !t.counts() {
		return took
	}
	t.inFlight.Dec()
	class := strconv.Itoa(status/100) + "xx"
	t.requests.WithLabelValues(r.method, r.route, class).Observe(took.Seconds())
	if r.Reason != "" {
		t.refusals.WithLabelValues(r.Reason).Inc()
	}
	if r.GrantType != "" {
		outcome := r.Code
		if outcome == "" {
			outcome = "ok"
		}
		t.tokens.WithLabelValues(r.GrantType, class).Observe(took.Seconds())
		t.outcomes.WithLabelValues(r.GrantType, outcome).Inc()
	}
	return took
}

func (r *Request) endSpan(status int) {
	r.span.SetAttributes(attribute.Int("http.response.status_code", status))
	for name, text := range map[string]string{"oauth.grant_type": r.GrantType, "chancery.reason": r.Reason, "oauth.error": r.Code} {
		if text != "" {
			r.span.SetAttributes(attribute.String(name, text))
		}
	}
	if status >= http.StatusInternalServerError {
		r.span.SetStatus(codes.Error, r.Code)
	}
	r.span.End()
}

// Line is the line of the access log, without what is of the client's making: no
// path, query, address or user agent.
func (r *Request) Line(ctx context.Context, l *slog.Logger, level slog.Level, status int, took time.Duration) {
	if !l.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", r.method), slog.String("route", r.route), slog.Int("status", status),
		slog.Float64("seconds", took.Seconds()),
	}
	if r.GrantType != "" {
		attrs = append(attrs, slog.String("grant_type", r.GrantType))
	}
	if r.Reason != "" {
		attrs = append(attrs, slog.String("reason", r.Reason))
	}
	l.LogAttrs(ctx, level, "request", attrs...)
}
