package api_test

import (
	"net/http"
	"reflect"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

const userInfoPath = "/oauth2/userinfo"

func userInfo(t testing.TB, r *apitest.Replica, method, token string) apitest.Answer {
	t.Helper()
	return request{method: method, path: userInfoPath, header: bearer(token)}.send(t, r.URL)
}

// TestUserInfo is OIDC Core §5.3 and §5.4: who it is, and what the scopes ask
// for of what is known.
func TestUserInfo(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := relyingParty(t, r, map[string]any{"audience": []string{api1}, "first_party": true})
	tokens := map[string]apitest.Answer{}
	for _, scope := range []string{"openid", "openid profile", "openid email", "openid profile email read"} {
		tokens[scope] = r.Tokens(t, c, scope)
	}
	sub := subject(t, tokens["openid"])
	want := func(scope string, want map[string]any) {
		t.Helper()
		want["sub"] = sub
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			a := wantOK(t, userInfo(t, r, method, tokens[scope].Text("access_token")))
			wantNoStore(t, a)
			if !reflect.DeepEqual(a.JSON, want) {
				t.Errorf("%s %q: %s, want %v", method, scope, a.Body, want)
			}
		}
	}
	want("openid", map[string]any{})
	want("openid email", map[string]any{"email": "alice@example.com", "email_verified": false})
	want("openid profile", map[string]any{"preferred_username": "alice"})

	told := map[string]any{"nickname": "Al", "first_name": "Alice", "last_name": "Liddell", "birthday": "1852-05-04"}
	wantOK(t, patchMe(t, r, tokens["openid"].Text("access_token"), told))
	profile := map[string]any{
		"preferred_username": "alice", "name": "Alice Liddell", "given_name": "Alice", "family_name": "Liddell",
		"nickname": "Al", "birthdate": "1852-05-04",
	}
	want("openid profile", profile)
	profile["email"], profile["email_verified"] = "alice@example.com", false
	want("openid profile email read", profile)
	want("openid", map[string]any{})
	wantOK(t, patchMe(t, r, tokens["openid"].Text("access_token"), map[string]any{"first_name": nil}))
	delete(profile, "given_name")
	profile["name"] = "Liddell"
	want("openid profile email read", profile)
}

// TestUserInfoRefusals are RFC 6750 §3's.
func TestUserInfoRefusals(t *testing.T) {
	t.Parallel()
	r := single(t)
	token := func(scope string) string { return r.Tokens(t, apitest.DemoWeb, scope).Text("access_token") }
	good := token("openid")
	x := exchanger(t, r, map[string]any{"scope": []string{"openid", "profile"}}, nil)
	revoked := token("openid")
	revoke(t, r, apitest.DemoWeb, revoked)
	for name, test := range map[string]struct {
		q         request
		status    int
		code      string
		challenge string
	}{
		"no token":         {request{}, 401, "invalid_token", `Bearer realm="chancery"`},
		"in the query":     {request{path: "?access_token=" + good}, 401, "invalid_token", `Bearer realm="chancery"`},
		"in the body":      {request{method: http.MethodPost, body: form("access_token", good)}, 401, "invalid_token", `Bearer realm="chancery"`},
		"without openid":   {request{header: bearer(token("profile email"))}, 403, "insufficient_scope", `Bearer realm="chancery", error="insufficient_scope", scope="openid"`},
		"revoked":          {request{header: bearer(revoked)}, 401, "invalid_token", `Bearer realm="chancery", error="invalid_token"`},
		"an ID token":      {request{header: bearer(r.Tokens(t, apitest.DemoWeb, "openid").Text("id_token"))}, 401, "invalid_token", `Bearer realm="chancery", error="invalid_token"`},
		"a client's own":   {request{header: bearer(own(t, r, x))}, 401, "invalid_token", `Bearer realm="chancery", error="invalid_token"`},
		"exchanged":        {request{header: bearer(wantOK(t, swap(t, r, x, token("openid profile"))).Text("access_token"))}, 401, "invalid_token", `Bearer realm="chancery", error="invalid_token"`},
		"two tokens":       {request{header: append(bearer(good), bearer(good)...)}, 400, "invalid_request", `Bearer realm="chancery", error="invalid_request"`},
		"the wrong method": {request{method: http.MethodPut, header: bearer(good)}, 405, "invalid_request", ""},
	} {
		t.Run(name, func(t *testing.T) {
			test.q.method, test.q.path = or(test.q.method, http.MethodGet), userInfoPath+test.q.path
			a := test.q.send(t, r.URL)
			if a.Status != test.status || a.Text("error") != test.code || a.Header.Get("WWW-Authenticate") != test.challenge {
				t.Errorf("%d %v %s", a.Status, a.Header, a.Body)
			}
		})
	}
	wantOK(t, userInfo(t, r, http.MethodGet, good))
}

// TestUserInfoOfTheErased has the sub and nothing else; a directory that cannot
// be read is no erased person.
func TestUserInfoOfTheErased(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	r := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	r.Seed(t)
	alices := r.Tokens(t, apitest.DemoWeb, "openid profile email")
	alice, least := alices.Text("access_token"), r.Tokens(t, apitest.DemoWeb, "openid").Text("access_token")
	restore := loseRecords(t, node)
	a := userInfo(t, r, http.MethodGet, alice)
	wantError(t, a, http.StatusServiceUnavailable, "temporarily_unavailable")
	wantOK(t, userInfo(t, r, http.MethodGet, least))
	restore()
	wantOK(t, userInfo(t, r, http.MethodGet, alice))
	erase(t, r, subject(t, alices))
	if a := wantOK(t, userInfo(t, r, http.MethodGet, alice)); len(a.JSON) != 1 || a.Text("sub") != subject(t, alices) {
		t.Errorf("of the erased: %s", a.Body)
	}
}

// TestUserInfoOrigins is as at the token endpoint.
func TestUserInfoOrigins(t *testing.T) {
	t.Parallel()
	r := withOrigins(t, func(*config.Settings) {})
	token := r.Tokens(t, apitest.DemoSPA, "openid").Text("access_token")
	ask := func(origin, token string) apitest.Answer {
		return request{method: http.MethodGet, path: userInfoPath, header: append(bearer(token), "Origin", origin)}.send(t, r.URL)
	}
	wantOrigin(t, wantOK(t, ask(spaOrigin, token)), spaOrigin)
	wantOrigin(t, wantOK(t, ask(webOrigin, token)), "")
	wantOrigin(t, ask(spaOrigin, r.Tokens(t, apitest.DemoSPA, "read").Text("access_token")), spaOrigin)
	wantOrigin(t, ask("https://evil.example", "bad"), "")
	wantOrigin(t, preflight(t, r, userInfoPath, spaOrigin, "authorization"), spaOrigin)
}
