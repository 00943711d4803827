package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
)

// TestRevocationOfARefreshToken is RFC 7009 §2.1: it ends the grant, access
// tokens included, within the default bound.
func TestRevocationOfARefreshToken(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{})
	for _, test := range []struct {
		name, hint string
		generation int
	}{
		{"the current one", "refresh_token", 2},
		{"a spent one", "", 1},
		{"with the wrong hint", "access_token", 2},
		{"with an unknown hint", "nonsense", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			first := r.Tokens(t, apitest.DemoWeb, "read offline_access")
			second := wantOK(t, r.Refresh(t, apitest.DemoWeb, first.Text("refresh_token")))
			token := []apitest.Answer{first, second}[test.generation-1].Text("refresh_token")
			grant := r.GrantOf(t, second.Text("access_token"))
			for range 2 { // the second time there is nothing left to do
				a := wantOK(t, r.Post(t, revokePath, apitest.DemoWeb, "token", token, "token_type_hint", test.hint))
				if len(a.Body) != 0 {
					t.Errorf("body %q", a.Body)
				}
				wantNoStore(t, a)
			}
			since := time.Now()
			wantDead(t, r, first.Text("access_token"), since)
			wantDead(t, r, second.Text("access_token"), since)
			wantError(t, r.Refresh(t, apitest.DemoWeb, second.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
			wantEvents(t, r, grant, opened, redeemed, rotated, revoked)
		})
	}
}

// TestRevocationOfAnAccessToken ends that token and leaves its grant alone.
func TestRevocationOfAnAccessToken(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{})
	first := r.Tokens(t, apitest.DemoSPA, "read offline_access")
	grant := r.GrantOf(t, first.Text("access_token"))
	wantOK(t, r.Post(t, revokePath, apitest.DemoSPA, "token", first.Text("access_token"), "token_type_hint", "refresh_token"))
	wantDead(t, r, first.Text("access_token"), time.Now())
	second := wantOK(t, r.Refresh(t, apitest.DemoSPA, first.Text("refresh_token")))
	if !r.Active(t, second.Text("access_token")) {
		t.Error("the grant's next access token is dead too")
	}
	wantEvents(t, r, grant, opened, redeemed, rotated)
}

// TestRevocationRefused is what is nobody's but the client's own (RFC 7009
// §2.1), and what is no error (§2.2).
func TestRevocationRefused(t *testing.T) {
	t.Parallel()
	r := single(t)
	other := register(t, r, nil)
	tokens := r.Tokens(t, apitest.DemoWeb, "read offline_access")
	access, refresh := tokens.Text("access_token"), tokens.Text("refresh_token")
	grant := r.GrantOf(t, access)
	code := r.Login(t, apitest.DemoWeb, "read")
	for _, test := range []struct {
		name   string
		client apitest.Client
		token  string
		status int
	}{
		{"another client's refresh token", other, refresh, 400},
		{"another client's access token", other, access, 400},
		{"by a public client", apitest.DemoSPA, refresh, 400},
		{"by a resource server", apitest.DemoService, access, 400},
		{"no token", apitest.DemoWeb, "", 400},
		{"an unknown token", apitest.DemoWeb, "nonsense", 200},
		{"a changed refresh token", apitest.DemoWeb, refresh[:len(refresh)-1] + "~", 200},
		{"a changed access token", apitest.DemoWeb, access[:len(access)-2], 200},
		{"a code, which is no token", apitest.DemoWeb, code, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := r.Post(t, revokePath, test.client, "token", test.token)
			if test.status == http.StatusOK {
				wantOK(t, a)
				return
			}
			wantError(t, a, test.status, "invalid_request")
		})
	}
	if !r.Active(t, access) {
		t.Error("the access token is dead")
	}
	wantOK(t, r.Exchange(t, apitest.DemoWeb, code))
	wantOK(t, r.Refresh(t, apitest.DemoWeb, refresh))
	wantEvents(t, r, grant, opened, redeemed, rotated)
}
