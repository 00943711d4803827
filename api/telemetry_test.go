package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/telemetry"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector"
)

// A spanList keeps the spans that were exported, also when the exporter is shut
// down.
type spanList struct {
	mu    sync.Mutex
	spans []sdktrace.ReadOnlySpan
}

func (l *spanList) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spans = append(l.spans, spans...)
	return nil
}

func (l *spanList) Shutdown(context.Context) error { return nil }

// all are the spans there are, once nothing more is traced.
func (l *spanList) all(t testing.TB, of *telemetry.Telemetry) []sdktrace.ReadOnlySpan {
	t.Helper()
	if err := of.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.spans)
}

// dump is all of the spans as text.
func (l *spanList) dump(t testing.TB, of *telemetry.Telemetry) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, s := range tracetest.SpanStubsFromReadOnlySpans(l.all(t, of)) {
		fmt.Fprintf(&out, "%s %v %v %v %v\n", s.Name, s.Attributes, s.Events, s.Status, s.Resource)
	}
	return out.Bytes()
}

// scraped is what Prometheus gets.
func scraped(t testing.TB, of *telemetry.Telemetry) []byte {
	t.Helper()
	w := httptest.NewRecorder()
	of.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("metrics: %d %s", w.Code, w.Body)
	}
	return w.Body.Bytes()
}

// value is that of one series of what was scraped.
func value(t testing.TB, of *telemetry.Telemetry, series string) string {
	t.Helper()
	for line := range strings.Lines(string(scraped(t, of))) {
		if v, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// tracedProjector serves reads as a process of its own would, until stop.
func tracedProjector(t *testing.T, node *embeddedtest.Node, of *telemetry.Telemetry) (stop func()) {
	t.Helper()
	nc := node.Conn()
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	defer cancel()
	log, err := eventlog.Open(ctx, nc, eventlog.Config{Realm: events.DefaultRealm})
	if err != nil {
		t.Fatal(err)
	}
	local, err := projector.OpenLocal(ctx, log, projector.LocalConfig{Dir: t.TempDir(), Tracer: of.Tracer()})
	if err != nil {
		t.Fatal(err)
	}
	service := projector.Serve(nc, local)
	return sync.OnceFunc(func() {
		embeddedtest.Eventually(t, "all to be folded", func() bool {
			for _, s := range local.Status() {
				if head, err := log.Head(t.Context(), s.Stream); err == nil && s.Position < head.Seq {
					return false
				}
			}
			return true
		})
		service.Close()
		if err := local.Close(); err != nil {
			t.Error(err)
		}
	})
}

// refreshTraced refreshes as a client that has a trace of its own.
func refreshTraced(t *testing.T, r *apitest.Replica, token, traceparent string) apitest.Answer {
	t.Helper()
	return wantOK(t, request{
		path: tokenPath, body: "grant_type=refresh_token&refresh_token=" + token,
		header: []string{"Authorization", basic(apitest.DemoWeb), "Traceparent", traceparent},
	}.send(t, r.URL))
}

// TestOneTrace follows one refresh through API, log and projector, in two processes
// that each trace for themselves.
func TestOneTrace(t *testing.T) {
	t.Parallel()
	const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	node := embeddedtest.Single(t)
	var ofAPI, ofProjector spanList
	serving := telemetry.New(telemetry.Config{Exporter: &ofAPI, Ratio: 1})
	folding := telemetry.New(telemetry.Config{Exporter: &ofProjector, Ratio: 1})
	stop := tracedProjector(t, node, folding)
	t.Cleanup(stop)
	nc := node.Conn()
	r := apitest.Start(t, nc, apitest.Options{Reader: projector.NewRemote(nc, events.DefaultRealm), Telemetry: serving})
	// Written by another replica, so that this one reads it.
	other := apitest.Start(t, node.Conn(), apitest.Options{})
	other.Seed(t)
	waitKnown(t, r, apitest.DemoWeb)
	token := other.Tokens(t, apitest.DemoWeb, "read offline_access").Text("refresh_token")
	refreshed := refreshTraced(t, r, token, "00-"+traceID+"-00f067aa0ba902b7-01")
	grant := r.GrantOf(t, refreshed.Text("access_token"))
	r.Server.Close()
	stop()

	spans := map[string]sdktrace.ReadOnlySpan{}
	for _, s := range slices.Concat(ofAPI.all(t, serving), ofProjector.all(t, folding)) {
		if s.SpanContext().TraceID().String() == traceID {
			spans[fmt.Sprint(s.Name(), " ", s.SpanKind())] = s
		}
	}
	for child, parent := range map[string]string{
		"decide internal":                          "POST /oauth2/token server",
		"read grant client":                        "decide internal",
		"read grant server":                        "read grant client",
		"sign internal":                            "decide internal",
		"append refresh_token.rotated.v1 internal": "decide internal",
		"fold consumer":                            "POST /oauth2/token server",
	} {
		c, p := spans[child], spans[parent]
		if c == nil || p == nil {
			t.Errorf("no span %q or %q", child, parent)
		} else if c.Parent().SpanID() != p.SpanContext().SpanID() {
			t.Errorf("%q is not a part of %q", child, parent)
		}
	}
	if t.Failed() {
		t.Fatalf("there are %v", slices.Sorted(func(yield func(string) bool) {
			for name := range spans {
				yield(name)
			}
		}))
	}
	asked := spans["POST /oauth2/token server"]
	if got := asked.Parent().SpanID().String(); got != "00f067aa0ba902b7" {
		t.Errorf("the request is a part of %s, not of the client's span", got)
	}
	links := spans["fold consumer"].Links()
	if !slices.ContainsFunc(links, func(l sdktrace.Link) bool { return l.SpanContext.SpanID() == asked.SpanContext().SpanID() }) {
		t.Errorf("the fold links to %v", links)
	}
	wantTraced(t, r, grant, asked.SpanContext())
}

// wantTraced expects the newest event of a grant to name the span it came of.
func wantTraced(t *testing.T, r *apitest.Replica, grant string, of trace.SpanContext) {
	t.Helper()
	id, err := events.ParseGrantID(grant)
	if err != nil {
		t.Fatal(err)
	}
	last, ok, err := r.Log.Last(t.Context(), r.Log.Realm().GrantSubject(id))
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if want := fmt.Sprintf("00-%s-%s-01", of.TraceID(), of.SpanID()); last.Meta.Trace != want {
		t.Errorf("the event is of trace %q, want %q", last.Meta.Trace, want)
	}
}

// TestTraceRatio records none of the traces, whatever the client asks for, and
// keeps their ids in the log.
func TestTraceRatio(t *testing.T) {
	t.Parallel()
	const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	var spans spanList
	of := telemetry.New(telemetry.Config{Exporter: &spans, Ratio: 0})
	r := apitest.Single(t, apitest.Options{Telemetry: of})
	token := r.Tokens(t, apitest.DemoWeb, "read offline_access").Text("refresh_token")
	refreshed := refreshTraced(t, r, token, "00-"+traceID+"-00f067aa0ba902b7-01")
	grant := r.GrantOf(t, refreshed.Text("access_token"))
	if whole := r.WholeEvents(t, "grant", grant); !bytes.Contains(whole, []byte("00-"+traceID+"-")) {
		t.Errorf("no event has the trace: %s", whole)
	}
	if n := len(spans.all(t, of)); n > 0 {
		t.Errorf("%d spans were recorded", n)
	}
}

// TestCounts makes happen what is counted, and looks.
func TestCounts(t *testing.T) {
	t.Parallel()
	of := telemetry.New(telemetry.Config{Metrics: true})
	r := apitest.Single(t, apitest.Options{Telemetry: of})
	first := r.Tokens(t, apitest.DemoWeb, "read offline_access")
	second := wantOK(t, r.Refresh(t, apitest.DemoWeb, first.Text("refresh_token")))
	for range 2 { // of which the second writes nothing
		wantOK(t, r.Refresh(t, apitest.DemoWeb, first.Text("refresh_token")))
	}
	wantOK(t, r.Refresh(t, apitest.DemoWeb, second.Text("refresh_token")))
	wantOK(t, r.Post(t, introspectPath, apitest.DemoService, "token", second.Text("access_token")))
	r.Refresh(t, apitest.DemoWeb, first.Text("refresh_token")) // reuse
	wantOK(t, r.Post(t, introspectPath, apitest.DemoService, "token", second.Text("access_token")))
	r.Token(t, apitest.DemoWeb, "grant_type", "password")
	for series, want := range map[string]string{
		`chancery_refresh_repeats_total`:                                                                      "2",
		`chancery_grants_revoked_total{reason="refresh_token_reuse"}`:                                         "1",
		`chancery_introspections_total{outcome="active"}`:                                                     "1",
		`chancery_introspections_total{outcome="inactive"}`:                                                   "1",
		`chancery_introspections_total{outcome="unavailable"}`:                                                "0",
		`chancery_token_requests_total{grant_type="refresh_token",outcome="ok"}`:                              "4",
		`chancery_token_requests_total{grant_type="refresh_token",outcome="invalid_grant"}`:                   "1",
		`chancery_token_requests_total{grant_type="token",outcome="unsupported_grant_type"}`:                  "1",
		`chancery_token_request_duration_seconds_count{grant_type="refresh_token",status="2xx"}`:              "4",
		`chancery_events_appended_total{type="refresh_token.rotated.v1"}`:                                     "2",
		`chancery_events_appended_total{type="refresh_token.repeated.v1"}`:                                    "1",
		`chancery_events_appended_total{type="grant.revocation_marked.v1"}`:                                   "1",
		`chancery_http_request_duration_seconds_count{method="POST",route="/oauth2/introspect",status="2xx"}`: "2",
		`chancery_http_requests_in_flight`:                                                                    "0",
	} {
		if got := value(t, of, series); got != want {
			t.Errorf("%s is %q, want %s", series, got, want)
		}
	}
}

// TestLogConfirmations counts what a reader that is behind costs: a refusal of a
// grant that it has no row of is overturned by the log.
func TestLogConfirmations(t *testing.T) {
	t.Parallel()
	of := telemetry.New(telemetry.Config{Metrics: true})
	var gate apitest.Gate
	node := embeddedtest.Single(t)
	other := apitest.Start(t, node.Conn(), apitest.Options{})
	other.Seed(t)
	r := apitest.Start(t, node.Conn(), apitest.Options{Telemetry: of, Gate: gate.Pass})
	waitKnown(t, r, apitest.DemoWeb)
	r.WaitFolded(t)
	gate.Shut()
	defer gate.Open()
	wantOK(t, r.Exchange(t, apitest.DemoWeb, other.Login(t, apitest.DemoWeb, "read offline_access")))
	if got := value(t, of, `chancery_log_confirmations_total{result="overturned"}`); got != "1" {
		t.Errorf("%s were overturned, want 1", got)
	}
}

// TestLogLines are JSON, and each line of a request has its id and nothing that the
// client has made up.
func TestLogLines(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	r := apitest.Single(t, apitest.Options{AccessLog: slog.LevelInfo, Logger: slog.New(slog.NewJSONHandler(&out, nil))})
	answer := request{path: tokenPath + "/made-up?query=made-up", header: []string{"User-Agent", "made-up"}}.send(t, r.URL)
	refused := r.Token(t, apitest.Client{ID: "demo-web", Secret: "made-up"}, "grant_type", "client_credentials")
	lines := map[string]int{}
	for d := json.NewDecoder(bytes.NewReader(out.copy())); ; {
		var line struct{ Msg, Request, Route, Method string }
		if err := d.Decode(&line); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		lines[line.Request+" "+line.Msg]++
	}
	for _, a := range []apitest.Answer{answer, refused} {
		for _, msg := range []string{"request", "request refused"} {
			if n := lines[a.Header.Get("X-Request-Id")+" "+msg]; n != 1 {
				t.Errorf("%d lines of %q, want 1: %v", n, msg, lines)
			}
		}
	}
	if bytes.Contains(out.copy(), []byte("made-up")) {
		t.Errorf("what the client has made up is in the log: %s", out.copy())
	}
}
