package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
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

// clean runs and expects that nothing is wrong.
func clean(t *testing.T, cfg Config) Report {
	t.Helper()
	report, err := Run(t.Context(), cfg)
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
		if of.done() == 0 {
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

// TestMixed has a row for each operation that was drawn, and takes back what it
// registered.
func TestMixed(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{OwnIssuer: true})
	cfg := short(Target{Issuer: r.URL, Admin: adminOf(r)}, Mixed, Introspection)
	cfg.Duration = time.Second
	report := clean(t, cfg)
	if rows := report.Runs[0].Rows; len(rows) < 3 {
		t.Errorf("rows: %+v", rows)
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

func TestEventCount(t *testing.T) {
	tests := map[EventCount]bool{
		{Acknowledged: 5, InLog: 5}:             true,
		{Acknowledged: 5, InLog: 4}:             false,
		{Acknowledged: 5, InLog: 6}:             false,
		{Acknowledged: 5, InLog: 6, Unknown: 1}: true,
		{Acknowledged: 5, InLog: 7, Unknown: 1}: false,
		{Acknowledged: 5, InLog: 4, Unknown: 1}: false,
	}
	for c, want := range tests {
		if c.holds() != want {
			t.Errorf("%+v", c)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	client := Client{ID: "x"}
	tests := map[string]struct {
		change func(*Config)
		want   string
	}{
		"operation":    {func(c *Config) { c.Operations = []Operation{"login"} }, "no operation"},
		"nothing":      {func(c *Config) { c.Operations = nil }, "no operation to measure"},
		"workers":      {func(c *Config) { c.Workers = 0 }, "a worker"},
		"duration":     {func(c *Config) { c.Duration = 0 }, "must take time"},
		"projectors":   {func(c *Config) { c.Own.Projectors = 0 }, "a projector"},
		"NATS servers": {func(c *Config) { c.Own.NATSServers = 2 }, "1, 3 or 5"},
		"no client":    {func(c *Config) { c.Target.Issuer = "https://auth.example" }, "a client is needed"},
		"no person": {func(c *Config) {
			c.Target = Target{Issuer: "https://auth.example", Client: client}
			c.Operations = []Operation{Code}
		}, "needs a person"},
		"no refresh tokens": {func(c *Config) { c.Target = Target{Issuer: "https://auth.example", Client: client} }, "refresh needs"},
		"no endpoint to know": {func(c *Config) {
			c.Target = Target{Endpoints: Endpoints{Token: "https://auth.example"}, Client: client}
			c.Operations = []Operation{Introspection}
		}, "introspection endpoint"},
	}
	for name, tt := range tests {
		cfg := short(Target{}, Refresh)
		cfg.Own = Own{APIs: 1, Projectors: 1, Partitions: 1}
		tt.change(&cfg)
		if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}
