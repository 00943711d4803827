package telemetry

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// TestNil counts and traces nothing, and fails at nothing.
func TestNil(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]*Telemetry{"nil": nil, "of nothing": New(Config{})} {
		ctx, r := of.Request(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), "/", "id")
		if RequestOf(ctx) != r || r.End(http.StatusOK) < 0 {
			t.Errorf("%s: no request", name)
		}
		of.Repeated()
		of.Confirmed(true)
		of.Introspected(Active)
		of.Signed("ES256", time.Now())
		of.Folded("A", "A.tree", 1, time.Second)
		of.WatchPasswords(nil)
		_, ended := of.Appending(ctx, "A", eventlog.Unit{Event: events.Event{Fact: events.FeedTicked{}}})
		ended(eventlog.Appended{})
		if of.Tracer() != nil || of.Close(ctx) != nil {
			t.Errorf("%s: traces", name)
		}
		w := httptest.NewRecorder()
		of.Handler().ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil))
		if w.Code != http.StatusNotFound {
			t.Errorf("%s: metrics are answered %d", name, w.Code)
		}
	}
	if RequestOf(t.Context()).ID != "" {
		t.Error("a request of nothing")
	}
}

// TestLint has Prometheus's own linter look at the names.
func TestLint(t *testing.T) {
	t.Parallel()
	of := New(Config{Metrics: true, Build: Build{Version: "v1"}})
	of.fill(t.Context())
	problems, err := testutil.GatherAndLint(of.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "chancery_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// fill counts something of everything.
func (t *Telemetry) fill(ctx context.Context) {
	t.Folded("A", "A", 1, time.Second)
	t.Signed("ES256", time.Now())
	_, ended := t.Appending(ctx, "A", eventlog.Unit{Event: events.Event{Fact: events.GrantRevoked{Reason: events.ReasonCodeReuse}}})
	ended(eventlog.Appended{Attempts: 2, Duplicate: true})
}

// TestSeriesAreBounded sends what nobody should be able to make a series of.
func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	of := New(Config{Metrics: true})
	for i := range 200 {
		name := strings.Repeat("X", i+1)
		r := httptest.NewRequestWithContext(t.Context(), name, "/"+name+"?"+name, nil)
		r.Header.Set("Traceparent", name)
		_, request := of.Request(r, "", name)
		request.End(http.StatusNotFound)
	}
	if n := testutil.CollectAndCount(of.requests); n != 1 {
		t.Errorf("%d series, want 1", n)
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	of := New(Config{Metrics: true})
	for want, err := range map[string]error{
		"stored": nil, "conflict": eventlog.ErrConflict, "unsettled": eventlog.ErrUnsettled, "closed": eventlog.ErrPartitionFailed,
		"failed": errors.New("too large"),
	} {
		_, ended := of.Appending(t.Context(), "A", eventlog.Unit{Event: events.Event{Fact: events.GrantRevoked{Reason: events.ReasonCodeReuse}}})
		ended(eventlog.Appended{Err: err, Attempts: 1})
		if n := testutil.ToFloat64(of.appends.WithLabelValues("A", want)); n != 1 {
			t.Errorf("%s: %v", want, n)
		}
	}
	if n := testutil.ToFloat64(of.revoked.WithLabelValues(events.ReasonCodeReuse)); n != 1 {
		t.Errorf("%v were revoked, want only what is stored", n)
	}
}

// TestSpansAreLostLoudly logs what cannot be exported, once in a while, and goes on.
func TestSpansAreLostLoudly(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	of := New(Config{Exporter: failing{}, Ratio: 1, Logger: slog.New(slog.NewTextHandler(&out, nil))})
	for range 3 {
		_, r := of.Request(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), "/", "id")
		r.End(http.StatusOK)
		if err := of.provider.ForceFlush(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(out.String(), "spans are lost"); n != 1 {
		t.Errorf("%d lines, want 1: %s", n, out.String())
	}
}

type failing struct{ *tracetest.NoopExporter }

func (failing) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	return errors.New("nobody there")
}

// TestCollector is where spans go: nowhere, unless something says so.
func TestCollector(t *testing.T) {
	asked := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
	}))
	t.Cleanup(collector.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
	if e, err := Collector(t.Context(), ""); e != nil || err != nil {
		t.Errorf("without an endpoint: %v, %v", e, err)
	}
	send := func(endpoint string) {
		t.Helper()
		e, err := Collector(t.Context(), endpoint)
		if err != nil {
			t.Fatal(err)
		}
		of := New(Config{Exporter: e, Ratio: 1})
		_, r := of.Request(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), "/", "id")
		r.End(http.StatusOK)
		if err := of.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if path := <-asked; path != "/v1/traces" {
			t.Errorf("spans went to %s", path)
		}
	}
	send(collector.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	send("")
}

// BenchmarkRefresh is all that a refresh costs here, at the API and at the three
// read models that fold it.
func BenchmarkRefresh(b *testing.B) {
	unit := eventlog.Unit{Event: events.Event{Fact: events.RefreshTokenRotated{}}}
	r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/oauth2/token", nil)
	for name, cfg := range map[string]Config{
		"off": {}, "metrics": {Metrics: true}, "traces": {Metrics: true, Exporter: tracetest.NewNoopExporter(), Ratio: 1},
		"1 % of traces": {Metrics: true, Exporter: tracetest.NewNoopExporter(), Ratio: 0.01},
	} {
		b.Run(name, func(b *testing.B) {
			of := New(cfg)
			for b.Loop() {
				ctx, request := of.Request(r, "/oauth2/token", "id")
				request.GrantType = "refresh_token"
				_ = r.WithContext(ctx)
				_ = Traceparent(ctx)
				deciding, span := Start(ctx, "decide")
				of.Signed("ES256", time.Now())
				_, ended := of.Appending(deciding, "MAIN_EVENTS_0", unit)
				ended(eventlog.Appended{Attempts: 1, Took: time.Millisecond})
				End(span, nil)
				for _, model := range []string{"MAIN_EVENTS_0", "MAIN_EVENTS_0.tree", "MAIN_EVENTS_0.audit"} {
					of.Folded("MAIN_EVENTS_0", model, 1, time.Millisecond)
				}
				request.End(http.StatusOK)
			}
		})
	}
}
