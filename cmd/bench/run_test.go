package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/secret"
)

// adminOf calls the admin API of a replica.
func adminOf(r *apitest.Replica) AdminCall {
	return func(ctx context.Context, method string, in any, query url.Values, path ...string) (io.ReadCloser, error) {
		var body bytes.Buffer
		if in != nil {
			if err := json.NewEncoder(&body).Encode(in); err != nil {
				return nil, err
			}
		}
		request, err := http.NewRequestWithContext(ctx, method, r.AdminURL+"/admin/v1/"+strings.Join(path, "/")+"?"+query.Encode(), &body)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+apitest.AdminKey)
		request.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return nil, err
		}
		if answer.StatusCode/100 != 2 {
			defer answer.Body.Close()
			text, _ := io.ReadAll(answer.Body)
			return nil, fmt.Errorf("%s: %s", answer.Status, text)
		}
		return answer.Body, nil
	}
}

// short is a run that takes no time to speak of.
func short(target Target, operations ...Operation) Config {
	return Config{
		Operations: operations, Workers: 2, Grants: 2, VerifyEvery: 1, Target: target,
		Warmup: 50 * time.Millisecond, Duration: 150 * time.Millisecond, Timeout: 30 * time.Second,
	}
}

// clean runs and expects that nothing is wrong. On a busy machine nothing may be done
// in so short a time, so it runs longer then.
func clean(t *testing.T, cfg Config) Report {
	t.Helper()
	report, err := Run(t.Context(), cfg)
	idle := func(of Result) bool { return of.done() == 0 }
	for ; err == nil && cfg.Duration < 5*time.Second && slices.ContainsFunc(report.Runs, idle); cfg.Duration *= 5 {
		report, err = Run(t.Context(), cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	if failed, differ := report.Problems(); failed != 0 || differ != 0 {
		t.Errorf("%d failed, %d differ: %+v", failed, differ, report)
	}
	if len(report.Runs) != len(cfg.Operations) {
		t.Fatalf("%d of %d operations are reported", len(report.Runs), len(cfg.Operations))
	}
	for _, of := range report.Runs {
		if idle(of) {
			t.Errorf("nothing was done: %+v", of)
		}
	}
	return report
}

// TestOperations measures each operation at a real authority.
func TestOperations(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{OwnIssuer: true})
	target := Target{Issuer: r.URL, Admin: adminOf(r)}
	tests := map[Operation]struct {
		events string
		issues bool
	}{
		ClientCredentials: {"access_token.issued.v1", true},
		Refresh:           {"refresh_token.rotated.v1", true},
		Code:              {"code.redeemed.v1", true},
		Introspection:     {"grant.opened.v1", false},
		Exchange:          {"token.exchanged.v1", true},
		Revocation:        {"grant.revoked.v1", true}, // of what is got before
	}
	for o, want := range tests {
		t.Run(string(o), func(t *testing.T) {
			report := clean(t, short(target, o))
			got := report.Runs[0]
			if len(got.Rows) != 1 || got.Rows[0].Operation != o || got.Rows[0].Max <= 0 || got.Rows[0].P50 > got.Rows[0].Max*1.01 {
				t.Errorf("rows: %+v", got.Rows)
			}
			if issued := got.Verified > 0; issued != want.issues {
				t.Errorf("%d access tokens were verified", got.Verified)
			}
			i := slices.IndexFunc(report.Events, func(c EventCount) bool { return c.Type == want.events })
			if i < 0 || report.Events[i].InLog < got.done() && o != Introspection {
				t.Errorf("%d done, events: %+v", got.done(), report.Events)
			}
		})
	}
}

// TestDraw draws each operation about as often as its weight says.
func TestDraw(t *testing.T) {
	t.Parallel()
	const draws = 100_000
	w := &worker{rng: mathrand.New(mathrand.NewPCG(1, 1))}
	got := map[Operation]int{}
	for range draws {
		got[w.draw()]++
	}
	sum := 0
	for _, of := range weights() {
		sum += of.percent
		if want := draws * of.percent / 100; got[of.operation] < want*9/10 || got[of.operation] > want*11/10 {
			t.Errorf("%s was drawn %d times, want about %d", of.operation, got[of.operation], want)
		}
	}
	if sum != 100 || len(got) != len(Operations())-1 {
		t.Errorf("weights of %d %%, drawn: %v", sum, got)
	}
}

// TestRecorder measures what is answered between the end of the warm-up and the
// deadline; what fails counts always.
func TestRecorder(t *testing.T) {
	t.Parallel()
	r, start := newRecorder(), time.Now()
	at := func(sent, received int) span {
		return span{start.Add(time.Duration(sent) * time.Second), start.Add(time.Duration(received) * time.Second)}
	}
	all := []span{at(1, 2), at(9, 11), at(12, 13), at(19, 20), at(19, 25)}
	record := func(some []span) {
		for _, s := range some {
			r.requested(s.sent)
			r.add(sample{Refresh, s, nil})
			r.add(sample{Refresh, s, wrong("it")})
		}
	}
	record(all[:1])
	r.begin(start.Add(10 * time.Second))
	record(all[1:3])
	r.end(start.Add(20 * time.Second))
	record(all[3:])
	of := r.rows[Refresh]
	if done := of.times.TotalCount(); done != 3 || of.failed != 3 || of.max != 2*time.Second || r.requests != 3 || r.errors[*wrong("it")] != 5 {
		t.Errorf("%d done, max %v, %d failed, %d requests, %v", done, of.max, of.failed, r.requests, r.errors)
	}
}

// TestLostRegistration is taken back, though nobody was told the user's id.
func TestLostRegistration(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{OwnIssuer: true})
	honest := adminOf(r)
	losing := func(ctx context.Context, method string, in any, query url.Values, path ...string) (io.ReadCloser, error) {
		body, err := honest(ctx, method, in, query, path...)
		if err == nil && method == http.MethodPost && path[0] == "users" {
			_ = body.Close()
			err = errors.New("the answer was lost")
		}
		return body, err
	}
	if _, err := Run(t.Context(), short(Target{Issuer: r.URL, Admin: losing}, ClientCredentials)); err == nil || !strings.Contains(err.Error(), "registering a user") {
		t.Errorf("got %v", err)
	}
	var left struct {
		Clients []struct {
			ID       string `json:"client_id"`
			Disabled bool   `json:"disabled"`
		} `json:"clients"`
	}
	if err := json.Unmarshal(r.Admin(t, http.MethodGet, "/clients", nil).Body, &left); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(left.Clients, func(c struct {
		ID       string `json:"client_id"`
		Disabled bool   `json:"disabled"`
	},
	) bool {
		return strings.HasPrefix(c.ID, "bench-")
	})
	if i < 0 || !left.Clients[i].Disabled {
		t.Fatalf("%+v", left)
	}
	if users := r.Admin(t, http.MethodGet, "/users?username="+left.Clients[i].ID, nil); string(bytes.TrimSpace(users.Body)) != `{"users":[]}` {
		t.Errorf("the user is still there: %s", users.Body)
	}
}

// TestScopeAndAudience are those of a registered client, and asked for where they can be.
func TestScopeAndAudience(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{OwnIssuer: true})
	clean(t, short(Target{
		Issuer: r.URL, Admin: adminOf(r), Scope: "orders", Audience: []string{"https://orders.example"},
	}, ClientCredentials, Refresh, Code, Exchange, Revocation))
}

// TestPreparing waits for a server that is not available yet.
func TestPreparing(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.set("unavailable")
	cfg := short(Target{Issuer: f.URL, Client: Client{ID: "client"}}, Introspection)
	cfg.Progress = func(text string) {
		if strings.HasPrefix(text, "getting") {
			time.AfterFunc(100*time.Millisecond, func() { f.set("") })
		}
	}
	clean(t, cfg)
}

// TestMark leaves out events of before, whatever the clocks of their streams say.
func TestMark(t *testing.T) {
	t.Parallel()
	log := []event{
		{Stream: "a", Seq: 1, Time: time.Unix(100, 0), Type: "x"}, {Stream: "b", Seq: 7, Time: time.Unix(130, 0), Type: "x"},
	}
	admin := func(_ context.Context, _ string, _ any, q url.Values, _ ...string) (io.ReadCloser, error) {
		var out bytes.Buffer
		if q.Get("format") != "ndjson" {
			err := json.NewEncoder(&out).Encode(map[string]any{"events": log[len(log)-1:]})
			return io.NopCloser(&out), err
		}
		since, err := time.Parse(time.RFC3339Nano, q.Get("since"))
		for _, e := range log {
			if !e.Time.Before(since) {
				err = errors.Join(err, json.NewEncoder(&out).Encode(map[string]any{"stream": e.Stream, "seq": e.Seq, "time": e.Time, "type": e.Type}))
			}
		}
		return io.NopCloser(&out), err
	}
	before, err := findMark(t.Context(), admin, "client")
	if err != nil {
		t.Fatal(err)
	}
	log = append(log, event{Stream: "a", Seq: 2, Time: time.Unix(120, 0), Type: "x"}, event{Stream: "b", Seq: 8, Time: time.Unix(130, 0), Type: "x"})
	counts, err := countEvents(t.Context(), admin, "client", before, []string{"x"}, func(int64) {})
	if err != nil || counts["x"] != 2 {
		t.Errorf("%v, %v", counts, err)
	}
}

// TestMixed has a row for each operation that was drawn, and takes back what it
// registered.
func TestMixed(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{OwnIssuer: true})
	report := clean(t, short(Target{Issuer: r.URL, Admin: adminOf(r)}, Mixed, Introspection))
	for _, row := range report.Runs[0].Rows {
		if row.Operation == Mixed {
			t.Errorf("rows: %+v", report.Runs[0].Rows)
		}
	}
	var left struct {
		Clients []struct {
			ID       string `json:"client_id"`
			Name     string `json:"client_name"`
			Disabled bool   `json:"disabled"`
		} `json:"clients"`
	}
	if err := json.Unmarshal(r.Admin(t, http.MethodGet, "/clients", nil).Body, &left); err != nil {
		t.Fatal(err)
	}
	made := 0
	for _, c := range left.Clients {
		if c.Name != "chancery bench" {
			continue
		}
		made++
		if !c.Disabled {
			t.Errorf("%s is still in use", c.ID)
		}
		if users := r.Admin(t, http.MethodGet, "/users?username="+c.ID, nil); string(bytes.TrimSpace(users.Body)) != `{"users":[]}` {
			t.Errorf("the user is still there: %s", users.Body)
		}
	}
	if made != 1 {
		t.Errorf("%d clients were registered", made)
	}
}

// TestGivenClient measures with a client and refresh tokens that were there before, as
// at a server without an admin API, and then again with what it left of them.
func TestGivenClient(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{OwnIssuer: true})
	service := Client{apitest.DemoService.ID, secret.New(apitest.DemoService.Secret)}
	web := Client{apitest.DemoWeb.ID, secret.New(apitest.DemoWeb.Secret)}
	endpoints := Endpoints{Token: r.URL + "/oauth2/token", Introspection: r.URL + "/oauth2/introspect", Revocation: r.URL + "/oauth2/revoke"}
	clean(t, short(Target{Endpoints: endpoints, Client: service, Scope: "read"}, ClientCredentials, Introspection, Revocation))

	var tokens []string
	for range 5 {
		tokens = append(tokens, r.Tokens(t, apitest.DemoWeb, "read offline_access").Text("refresh_token"))
	}
	given := Target{Issuer: r.URL, Client: web, RefreshTokens: tokens, Admin: adminOf(r)}
	for range 2 {
		report := clean(t, short(given, Refresh, Introspection))
		// Those of before do not count.
		if len(report.Events) != 1 || report.Events[0].InLog == 0 {
			t.Errorf("events: %+v", report.Events)
		}
		if len(report.RefreshTokens) != len(tokens) || slices.Equal(report.RefreshTokens, given.RefreshTokens) {
			t.Errorf("%d refresh tokens are left", len(report.RefreshTokens))
		}
		given.RefreshTokens = report.RefreshTokens
	}
	for _, token := range given.RefreshTokens {
		if a := r.Refresh(t, apitest.DemoWeb, token); a.Status != http.StatusOK {
			t.Errorf("what is left of a chain: %d %s", a.Status, a.Body)
		}
	}
}

// TestInterrupted reports what there is.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{OwnIssuer: true})
	ctx, interrupt := context.WithCancel(t.Context())
	cfg := short(Target{Issuer: r.URL, Admin: adminOf(r)}, Refresh, Introspection)
	cfg.Duration = time.Hour
	cfg.Progress = func(text string) {
		if strings.Contains(text, "measuring") {
			interrupt()
		}
	}
	report, err := Run(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if failed, differ := report.Problems(); failed != 0 || differ != 0 {
		t.Errorf("%d failed, %d differ: %+v", failed, differ, report)
	}
	if !report.Interrupted || len(report.Runs) != 1 || report.Runs[0].done() == 0 || len(report.Events) == 0 {
		t.Errorf("report: %+v", report)
	}
}

// TestLogThatDiffers is found: an event that was acknowledged is not told of.
func TestLogThatDiffers(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{OwnIssuer: true})
	honest := adminOf(r)
	forgetful := func(ctx context.Context, method string, in any, query url.Values, path ...string) (io.ReadCloser, error) {
		body, err := honest(ctx, method, in, query, path...)
		if err != nil || query.Get("format") != "ndjson" {
			return body, err
		}
		defer body.Close()
		text, err := io.ReadAll(body)
		_, text, _ = bytes.Cut(text, []byte("\n"))
		return io.NopCloser(bytes.NewReader(text)), err
	}
	report, err := Run(t.Context(), short(Target{Issuer: r.URL, Admin: forgetful}, ClientCredentials))
	if err != nil {
		t.Fatal(err)
	}
	if failed, differ := report.Problems(); failed != 0 || differ != 1 {
		t.Errorf("%d failed, %d differ: %+v", failed, differ, report.Events)
	}
}
