package api_test

import (
	"net/http"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// TestExplainIsAheadOfTheFeed asks a replica that has not heard of a revocation
// and may take the token for good until its bound is over: the log knows.
func TestExplainIsAheadOfTheFeed(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	other := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	other.Seed(t)
	var gate apitest.Gate
	behind := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient, FeedGate: gate.Pass})
	tokens := newTokens(t, other, apitest.DemoWeb)
	if !active(t, behind, tokens.Text("access_token")) {
		t.Fatal("not active")
	}
	gate.Shut()
	revoke(t, other, apitest.DemoWeb, tokens.Text("refresh_token"))
	if !active(t, behind, tokens.Text("access_token")) {
		t.Error("the replica has heard of it")
	}
	for _, name := range []string{"access_token", "refresh_token"} {
		if e := explain(t, behind, "token", tokens.Text(name)); e.Active || e.Reason != "grant_revoked" {
			t.Errorf("%s: %+v", name, e)
		}
	}
	gate.Open()
}

// TestExplainWaitsForTheIndex has no answer while the index that finds the events
// is behind the log: it could leave out the one that decides.
func TestExplainWaitsForTheIndex(t *testing.T) {
	t.Parallel()
	var gate apitest.Gate
	r := apitest.Single(t, apitest.Options{Settings: patient, Gate: gate.Pass})
	tokens := newTokens(t, r, apitest.DemoWeb)
	if e := explain(t, r, "token", tokens.Text("access_token")); !e.Active {
		t.Errorf("got %+v", e)
	}
	gate.Shut()
	revoke(t, r, apitest.DemoWeb, tokens.Text("access_token"))
	a := r.Admin(t, http.MethodPost, "/introspect", map[string]any{"token": tokens.Text("access_token")})
	wantError(t, a, http.StatusServiceUnavailable, "temporarily_unavailable")
	if a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	gate.Open()
	if e := explain(t, r, "token", tokens.Text("access_token")); e.Active || e.Reason != "revoked" {
		t.Errorf("got %+v", e)
	}
}
