package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/projector"
)

// auditedReplica has events of many kinds, of two partitions.
func auditedReplica(t *testing.T) *apitest.Replica {
	t.Helper()
	r := apitest.Single(t, apitest.Options{Partitions: 2})
	for range 3 {
		tokens := r.Tokens(t, apitest.DemoWeb, "read offline_access")
		wantOK(t, r.Refresh(t, apitest.DemoWeb, tokens.Text("refresh_token")))
		wantOK(t, r.Token(t, apitest.DemoService, "grant_type", "client_credentials"))
	}
	spa := r.Tokens(t, apitest.DemoSPA, "read offline_access")
	wantOK(t, r.Post(t, revokePath, apitest.DemoSPA, "token", spa.Text("refresh_token")))
	wantError(t, r.Refresh(t, apitest.DemoSPA, spa.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	r.Refusals(t, 1)
	return r
}

func askEvents(t testing.TB, r *apitest.Replica, pairs ...string) apitest.Answer {
	t.Helper()
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return r.Admin(t, http.MethodGet, "/events?"+q.Encode(), nil)
}

// exported are all events that match, oldest first.
func exported(t testing.TB, r *apitest.Replica, pairs ...string) (rows []projector.Traced) {
	t.Helper()
	for line := range bytes.Lines(wantOK(t, askEvents(t, r, append(pairs, "format", "ndjson")...)).Body) {
		var row projector.Traced
		if err := json.Unmarshal(line, &row); err != nil || row.Seq == 0 {
			t.Fatalf("%s: %v", line, err)
		}
		rows = append(rows, row)
	}
	return rows
}

// paged are the same by pages.
func paged(t testing.TB, r *apitest.Replica, pairs ...string) (rows []projector.Traced) {
	t.Helper()
	var page struct {
		Events []projector.Traced
		Next   string
	}
	for cursor := []string(nil); ; cursor = []string{"cursor", page.Next} {
		page.Next, page.Events = "", nil
		if err := json.Unmarshal(wantOK(t, askEvents(t, r, append(pairs, cursor...)...)).Body, &page); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, page.Events...)
		if page.Next == "" {
			return rows
		}
	}
}

// TestEventsAreFoundByEverything compares each filter with a walk over all
// events.
func TestEventsAreFoundByEverything(t *testing.T) {
	t.Parallel()
	r := auditedReplica(t)
	rows := exported(t, r)
	if len(rows) < 20 {
		t.Fatalf("%d events", len(rows))
	}
	of := map[string]func(projector.Traced) string{
		"type": func(a projector.Traced) string { return a.Type }, "client": func(a projector.Traced) string { return a.Client },
		"user": func(a projector.Traced) string { return a.User }, "grant": func(a projector.Traced) string { return a.Grant },
		"jti": func(a projector.Traced) string { return a.JTI }, "kid": func(a projector.Traced) string { return a.KID },
		"actor": func(a projector.Traced) string { return a.Actor }, "request": func(a projector.Traced) string { return a.Request },
		"outcome": func(a projector.Traced) string { return a.Outcome }, "reason": func(a projector.Traced) string { return a.Reason },
	}
	for name, value := range of {
		found := 0
		for _, a := range rows {
			if value(a) == "" || found > 6 {
				continue
			}
			found++
			want := slices.Clone(rows)
			want = slices.DeleteFunc(want, func(b projector.Traced) bool { return value(b) != value(a) })
			if got := exported(t, r, name, value(a)); !reflect.DeepEqual(got, want) {
				t.Errorf("%s %s: %d events, want %d", name, value(a), len(got), len(want))
			}
		}
		if found == 0 {
			t.Errorf("no event has a %s", name)
		}
	}
	if got := exported(t, r, "session", strings.Repeat("a", 32)); len(got) != 0 {
		t.Errorf("%d events of no session", len(got))
	}
	for _, beginning := range []string{"refresh_token", "refresh_token.*", "refresh_token.rotated", "refresh_token.rotated.v1"} {
		if got := exported(t, r, "type", beginning); len(got) != 3 {
			t.Errorf("%s: %d events", beginning, len(got))
		}
	}
	middle := rows[len(rows)/2].Time
	before, after := exported(t, r, "until", middle.Format(time.RFC3339Nano)), exported(t, r, "since", middle.Format(time.RFC3339Nano))
	if got := slices.Concat(before, after); !reflect.DeepEqual(got, rows) || len(before) == 0 {
		t.Errorf("%d events before and %d after, of %d", len(before), len(after), len(rows))
	}
}

// TestEventsOfAnAddress finds what was issued to an address, whose hash is
// another one in each grant.
func TestEventsOfAnAddress(t *testing.T) {
	t.Parallel()
	r := auditedReplica(t)
	rows := exported(t, r, "type", "refresh_token.rotated")
	for _, narrow := range [][]string{{"user", rows[0].User}, {"client", "demo-web"}, {"grant", rows[0].Grant}, {"client", "demo-service"}} {
		here := exported(t, r, append(narrow, "address", "127.0.0.1")...)
		for _, a := range here {
			if a.Origin == "" {
				t.Errorf("%s has no address", a.Type)
			}
		}
		if elsewhere := exported(t, r, append(narrow, "address", "192.0.2.1")...); len(here) == 0 || len(elsewhere) != 0 {
			t.Errorf("%v: %d events, from elsewhere %d", narrow, len(here), len(elsewhere))
		}
	}
	wantError(t, askEvents(t, r, "address", "127.0.0.1"), http.StatusBadRequest, "invalid_request")
}

// TestEventsByPages has pages be what an export is, in both orders.
func TestEventsByPages(t *testing.T) {
	t.Parallel()
	r := auditedReplica(t)
	want := exported(t, r)
	for _, limit := range []string{"1", "7", "500"} {
		if got := paged(t, r, "order", "oldest", "limit", limit); !reflect.DeepEqual(got, want) {
			t.Errorf("oldest first, %s at once: %d events, want %d", limit, len(got), len(want))
		}
		got := paged(t, r, "limit", limit)
		slices.Reverse(got)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("newest first, %s at once: %d events, want %d", limit, len(got), len(want))
		}
	}
	lines, err := csv.NewReader(bytes.NewReader(wantOK(t, askEvents(t, r, "format", "csv")).Body)).ReadAll()
	if err != nil || len(lines) != len(want)+1 {
		t.Fatalf("CSV has %d lines, %v", len(lines), err)
	}
	for i, line := range lines[1:] {
		if line[1] != want[i].Stream || line[2] != fmt.Sprint(want[i].Seq) || line[3] != want[i].Type || line[11] != want[i].Grant {
			t.Errorf("line %d: %v, want %v", i, line, want[i])
		}
	}
}

// TestCursorsCannotBeForged takes a cursor only as it was given, for what it was
// given.
func TestCursorsCannotBeForged(t *testing.T) {
	t.Parallel()
	r := auditedReplica(t)
	filter := []string{"limit", "1", "client", "demo-web"}
	next := wantOK(t, askEvents(t, r, filter...)).Text("next")
	sealed, err := base64.RawURLEncoding.DecodeString(next)
	if err != nil || len(sealed) == 0 {
		t.Fatalf("%q: %v", next, err)
	}
	if bytes.Contains(sealed, []byte("EVENTS")) {
		t.Error("a cursor tells where it is")
	}
	wantOK(t, askEvents(t, r, append(filter, "cursor", next)...))
	refused := func(what string, pairs ...string) {
		t.Helper()
		if a := askEvents(t, r, pairs...); a.Status != http.StatusBadRequest || !strings.Contains(string(a.Body), "cursor") {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
		}
	}
	for i := range sealed {
		sealed[i] ^= 1
		refused(fmt.Sprintf("bit in byte %d", i), append(filter, "cursor", base64.RawURLEncoding.EncodeToString(sealed))...)
		sealed[i] ^= 1
	}
	refused("cut", append(filter, "cursor", next[:len(next)-4])...)
	refused("garbage", append(filter, "cursor", "garbage!")...)
	refused("another filter", "limit", "1", "client", "demo-spa", "cursor", next)
	refused("no filter", "limit", "1", "cursor", next)
	refused("another order", append(filter, "order", "oldest", "cursor", next)...)
	refused("a narrower one", append(filter, "address", "127.0.0.1", "cursor", next)...)
	refused("followed", append(filter, "format", "sse", "cursor", next)...)
}

// TestEventQueriesThatMakeNoSense are refused: a filter that is misspelt would
// find everything.
func TestEventQueriesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	r := single(t)
	for query, parameter := range map[string]string{
		"clients=demo-web": "clients", "client=": "client", "client=a.b": "client", "user=%2A": "user", "grant=00": "grant",
		"session=x": "session", "kid=.": "kid", "type=nothing": "type", "type=grant,nothing": "type", "type=grant.op": "type",
		"outcome=success": "outcome", "since=2026": "since", "until=now": "until", "order=random": "order", "format=xml": "format",
		"limit=0": "limit", "limit=501": "limit", "limit=x": "limit", "address=localhost": "address", "follow=true": "format",
		"follow=yes": "follow", "format=csv&follow=true": "format", "format=ndjson&follow=true&order=newest": "order",
		"format=csv&data=true": "data", "jti=" + strings.Repeat("x", 200): "jti", "client=a&client=b": "client", "from=1": "from",
	} {
		a := r.Admin(t, http.MethodGet, "/events?"+query, nil)
		wantError(t, a, http.StatusBadRequest, "invalid_request")
		if !strings.HasPrefix(a.Text("error_description"), parameter+":") {
			t.Errorf("%s: %s", query, a.Body)
		}
	}
}

// TestEventsWhole reads events from the log, with a list and alone.
func TestEventsWhole(t *testing.T) {
	t.Parallel()
	r := auditedReplica(t)
	var page struct {
		Events []struct {
			projector.Traced
			Event map[string]any
		}
	}
	if err := json.Unmarshal(wantOK(t, askEvents(t, r, "data", "true", "limit", "500")).Body, &page); err != nil {
		t.Fatal(err)
	}
	for _, row := range page.Events {
		if row.Event["type"] != row.Type || row.Event["stream"] != row.Stream || row.Event["seq"] != float64(row.Seq) || row.Event["data"] == nil {
			t.Fatalf("%+v has %v", row.Traced, row.Event)
		}
		alone := wantOK(t, r.Admin(t, http.MethodGet, fmt.Sprintf("/events/%s/%d", row.Stream, row.Seq), nil)).JSON
		if !reflect.DeepEqual(alone, row.Event) {
			t.Fatalf("alone %v, in a list %v", alone, row.Event)
		}
	}
	for path, status := range map[string]int{
		"MAIN_EVENTS_0/99999": 404, "MAIN_EVENTS_9/1": 404, "KV_chancery/1": 404, "MAIN_EVENTS_0/0": 404, "MAIN_EVENTS_0/x": 400,
	} {
		if a := r.Admin(t, http.MethodGet, "/events/"+path, nil); a.Status != status {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
}

// TestEventsTail follows by server-sent events, goes away and comes back.
func TestEventsTail(t *testing.T) {
	t.Parallel()
	r := single(t)
	id, missed := "", ""
	for range 2 {
		tail := openTail(t, r, id)
		if id != "" { // what was missed meanwhile comes first
			tail.wantRequest(t, missed)
		}
		tail.wantRequest(t, wantOK(t, r.Token(t, apitest.DemoService, "grant_type", "client_credentials")).Header.Get("X-Request-Id"))
		id = tail.id
		tail.close()
		missed = wantOK(t, r.Token(t, apitest.DemoService, "grant_type", "client_credentials")).Header.Get("X-Request-Id")
	}
}

// A tail follows events that demo-service causes.
type tail struct {
	lines *bufio.Scanner
	close func()
	id    string
}

func openTail(t *testing.T, r *apitest.Replica, lastID string) *tail {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	header := bearer(apitest.AdminKey)
	if lastID != "" {
		header = append(header, "Last-Event-ID", lastID)
	}
	q := request{method: http.MethodGet, path: adminPath + "/events?format=sse&actor=client:demo-service", header: header}.build(t, r.AdminURL)
	response, err := http.DefaultClient.Do(q.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || got != "text/event-stream" {
		t.Fatalf("%d %s", response.StatusCode, got)
	}
	return &tail{lines: bufio.NewScanner(response.Body), close: cancel}
}

func (l *tail) wantRequest(t *testing.T, want string) {
	t.Helper()
	for l.lines.Scan() {
		if id, ok := strings.CutPrefix(l.lines.Text(), "id: "); ok {
			l.id = id
		}
		if data, ok := strings.CutPrefix(l.lines.Text(), "data: "); ok {
			var row projector.Traced
			if err := json.Unmarshal([]byte(data), &row); err != nil {
				t.Fatal(err)
			}
			if row.Request != want {
				t.Errorf("told of request %s, want %s", row.Request, want)
			}
			return
		}
	}
	t.Fatalf("the tail ended: %v", l.lines.Err())
}

// TestEventsOfAProjectorElsewhere asks over NATS, and fails while nobody is
// there to ask.
func TestEventsOfAProjectorElsewhere(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	p := apitest.StartProjector(t, node.Conn(), 1)
	r := apitest.Start(t, node.Conn(), apitest.Options{Reader: projector.NewRemote(node.Conn(), events.DefaultRealm)})
	r.Seed(t)
	for range 3 {
		wantOK(t, r.Token(t, apitest.DemoService, "grant_type", "client_credentials"))
	}
	embeddedtest.Eventually(t, "the audit is served", func() bool { return askEvents(t, r).Status == http.StatusOK })
	if got := paged(t, r, "type", "access_token", "limit", "2"); len(got) != 3 {
		t.Errorf("%d events", len(got))
	}
	p.Stop()
	for _, format := range []string{"json", "ndjson", "csv", "sse"} {
		wantError(t, askEvents(t, r, "format", format), http.StatusServiceUnavailable, "temporarily_unavailable")
	}
}
