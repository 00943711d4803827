package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
)

// TestFromLoginToRevocation is a user's whole way, and what the log has of it.
func TestFromLoginToRevocation(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{})
	for _, c := range []apitest.Client{apitest.DemoWeb, apitest.DemoSPA} {
		t.Run(c.ID, func(t *testing.T) {
			first := r.Tokens(t, c, "read offline_access")
			if first.Text("token_type") != "Bearer" || first.Text("scope") != "read offline_access" || first.JSON["expires_in"] != 3600.0 {
				t.Errorf("tokens: %s", first.Body)
			}
			if got := first.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control = %q", got)
			}
			grant := r.GrantOf(t, first.Text("access_token"))

			second := r.Refresh(t, c, first.Text("refresh_token"))
			if second.Status != http.StatusOK || second.Text("refresh_token") == first.Text("refresh_token") {
				t.Fatalf("refresh: %d %s", second.Status, second.Body)
			}
			again := r.Refresh(t, c, first.Text("refresh_token"))
			if again.Text("refresh_token") != second.Text("refresh_token") {
				t.Errorf("a retry got another successor: %s", again.Body)
			}
			if !r.Active(t, second.Text("access_token")) {
				t.Error("a fresh access token is not active")
			}
			if a := r.Post(t, "/oauth2/revoke", c, "token", second.Text("refresh_token")); a.Status != http.StatusOK {
				t.Errorf("revoke: %d %s", a.Status, a.Body)
			}
			wantDead(t, r, second.Text("access_token"), time.Now())
			wantDead(t, r, first.Text("access_token"), time.Now())
			if a := r.Refresh(t, c, second.Text("refresh_token")); a.Text("error") != "invalid_grant" {
				t.Errorf("refresh after revocation: %d %s", a.Status, a.Body)
			}
			want := []string{
				"grant.opened.v1", "code.redeemed.v1", "refresh_token.rotated.v1", "refresh_token.repeated.v1", "grant.revoked.v1",
			}
			if got := r.Events(t, grant); !slices.Equal(got, want) {
				t.Errorf("events = %q, want %q", got, want)
			}
		})
	}
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{})
	a := r.Token(t, apitest.DemoService, "grant_type", "client_credentials", "scope", "read")
	if a.Status != http.StatusOK || a.Text("refresh_token") != "" || a.Text("scope") != "read" {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if !r.Active(t, a.Text("access_token")) {
		t.Error("not active")
	}
	if a := r.Post(t, "/oauth2/revoke", apitest.DemoService, "token", a.Text("access_token")); a.Status != http.StatusOK {
		t.Errorf("revoke: %d %s", a.Status, a.Body)
	}
	wantDead(t, r, a.Text("access_token"), time.Now())
}

// TestOriginIsSealedAndNotRepeated looks at what the log keeps of the address:
// nothing readable, and nothing again while it stays the same.
func TestOriginIsSealedAndNotRepeated(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{})
	tokens := r.Tokens(t, apitest.DemoSPA, "read offline_access")
	if a := r.Refresh(t, apitest.DemoSPA, tokens.Text("refresh_token")); a.Status != http.StatusOK {
		t.Fatalf("refresh: %d %s", a.Status, a.Body)
	}
	told := r.WholeEvents(t, "grant", r.GrantOf(t, tokens.Text("access_token")))
	var sealed []bool
	for line := range bytes.Lines(told) {
		var e struct {
			Meta struct{ Origin string }
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		sealed = append(sealed, e.Meta.Origin != "")
	}
	if want := []bool{true, true, false}; !slices.Equal(sealed, want) {
		t.Errorf("origins of opened, redeemed and rotated: %v, want %v", sealed, want)
	}
	if bytes.Contains(told, []byte("127.0.0.1\"")) {
		t.Error("the address is in the log in plain")
	}
}
