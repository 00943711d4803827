package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api"
	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

const mePath = "/api/users/me"

// me asks for the profile of a token's user.
func me(t testing.TB, r *apitest.Replica, token string) apitest.Answer {
	t.Helper()
	return request{method: http.MethodGet, path: mePath, header: bearer(token)}.send(t, r.URL)
}

// TestBearer is RFC 6750 §2 and §3: what opens an endpoint of our own, and what
// is said where nothing does.
func TestBearer(t *testing.T) {
	t.Parallel()
	r := single(t)
	token := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	for _, test := range []struct {
		name   string
		q      request
		status int
		code   string
		// challenge is what the error of WWW-Authenticate is, "-" for none.
		challenge string
	}{
		{"right", request{header: bearer(token)}, 200, "", ""},
		{"in lower case", request{header: []string{"Authorization", "bearer " + token}}, 200, "", ""},
		{"two spaces", request{header: []string{"Authorization", "Bearer  " + token}}, 200, "", ""},
		{"beside an empty query parameter", request{path: "?engine=unity", header: bearer(token)}, 200, "", ""},
		{"none", request{}, 401, "002-016", "-"},
		{"another scheme", request{header: []string{"Authorization", basic(apitest.DemoWeb)}}, 401, "002-016", "-"},
		{"in the query", request{path: "?access_token=" + token}, 401, "002-016", "-"},
		{"no token", request{header: bearer("")}, 401, "002-016", "invalid_token"},
		{"the scheme alone", request{header: []string{"Authorization", "Bearer"}}, 401, "002-016", "invalid_token"},
		{"damaged", request{header: bearer(token + "x")}, 401, "002-016", "invalid_token"},
		{"two tokens", request{header: bearer(token + " " + token)}, 401, "002-016", "invalid_token"},
		{"two headers", request{header: append(bearer(token), bearer(token)...)}, 400, "0", "invalid_request"},
		{"the admin key", request{header: bearer(apitest.AdminKey)}, 401, "002-016", "invalid_token"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.q.method, test.q.path = http.MethodGet, mePath+test.q.path
			a := test.q.send(t, r.URL)
			challenge := a.Header.Get("WWW-Authenticate")
			if test.status == http.StatusOK {
				wantOK(t, a)
				wantNoStore(t, a)
			} else {
				wantLoginError(t, a, test.status, test.code)
			}
			_, code, found := strings.Cut(challenge, "error=")
			if want := strings.Trim(test.challenge, "-"); strings.Trim(code, `"`) != want || found != (want != "") {
				t.Errorf("WWW-Authenticate %q", challenge)
			}
			if strings.HasPrefix(challenge, "Bearer ") != (test.challenge != "") {
				t.Errorf("WWW-Authenticate %q", challenge)
			}
		})
	}
}

// TestBearerTokens are tokens that are in order, or were, and open nothing.
func TestBearerTokens(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := exchanger(t, r, nil, nil)
	targeted := register(t, r, map[string]any{"audience": []string{api1}})
	newToken := func() string { return r.Tokens(t, apitest.DemoWeb, "read").Text("access_token") }
	for name, token := range map[string]func() string{
		"a refresh token":   func() string { return r.Tokens(t, apitest.DemoWeb, "offline").Text("refresh_token") },
		"a client's own":    func() string { return own(t, r, apitest.DemoService) },
		"for somebody else": func() string { return r.Tokens(t, targeted, "read").Text("access_token") },
		"of impersonation":  func() string { return wantOK(t, swap(t, r, c, newToken())).Text("access_token") },
		"of delegation": func() string {
			return wantOK(t, swap(t, r, c, newToken(), actingBy(own(t, r, c))...)).Text("access_token")
		},
		"of a client's own, passed": func() string { return wantOK(t, swap(t, r, c, own(t, r, c))).Text("access_token") },
		"revoked": func() string {
			token := newToken()
			revoke(t, r, apitest.DemoWeb, token)
			return token
		},
		"of a revoked grant": func() string {
			token := newToken()
			wantOK(t, r.Admin(t, http.MethodPost, "/grants/"+r.GrantOf(t, token)+"/revoke", nil))
			return token
		},
		"of a disabled client": func() string {
			asleep := register(t, r, nil)
			token := r.Tokens(t, asleep, "read").Text("access_token")
			wantOK(t, r.Admin(t, http.MethodPost, "/clients/"+asleep.ID+"/disable", nil))
			return token
		},
		"of a disabled user": func() string {
			tokens := registerUser(t, r, apitest.DemoSPA, "dinah")
			wantOK(t, me(t, r, tokens.Text("access_token")))
			wantOK(t, r.Admin(t, http.MethodPost, "/users/"+subject(t, tokens)+"/disable", nil))
			return tokens.Text("access_token")
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := me(t, r, token())
			wantLoginError(t, a, http.StatusUnauthorized, "002-016")
			if got := a.Header.Get("WWW-Authenticate"); got != `Bearer realm="chancery", error="invalid_token"` {
				t.Errorf("WWW-Authenticate %q", got)
			}
		})
	}
}

// TestBearerInDoubt refuses nothing that may be good: the client is told to come
// again, and not that its token is bad.
func TestBearerInDoubt(t *testing.T) {
	t.Parallel()
	var gate apitest.Gate
	r := apitest.Start(t, embeddedtest.Single(t).Conn(), apitest.Options{FeedGate: gate.Pass})
	r.Seed(t)
	token := newTokens(t, r, apitest.DemoWeb).Text("access_token")
	gate.Shut()
	t.Cleanup(gate.Open)
	embeddedtest.Eventually(t, "the feed to be stale", func() bool { return me(t, r, token).Status != http.StatusOK })
	a := me(t, r, token)
	wantLoginError(t, a, http.StatusTeapot, "004-001")
	if a.Header.Get("WWW-Authenticate") != "" || a.Header.Get("Retry-After") == "" {
		t.Errorf("%v", a.Header)
	}
}

// TestBearerSpeaksOAuth is the same where an endpoint is of the RFCs.
func TestBearerSpeaksOAuth(t *testing.T) {
	t.Parallel()
	r := single(t)
	whose := request{method: http.MethodGet, path: "/oauth2/whose"}
	for name, test := range map[string]struct {
		header    []string
		status    int
		code      string
		challenge string
	}{
		"none":        {nil, 401, "invalid_token", `Bearer realm="chancery"`},
		"a bad one":   {bearer("bad"), 401, "invalid_token", `Bearer realm="chancery", error="invalid_token"`},
		"two headers": {append(bearer("a"), bearer("b")...), 400, "invalid_request", `Bearer realm="chancery", error="invalid_request"`},
	} {
		t.Run(name, func(t *testing.T) {
			whose.header = test.header
			a := api.WithBearer(r.Server, whose.build(t, r.URL))
			if a.Code != test.status || a.Header().Get("WWW-Authenticate") != test.challenge || !strings.Contains(a.Body.String(), `"error":"`+test.code+`"`) {
				t.Errorf("%d %v %s", a.Code, a.Header(), a.Body)
			}
		})
	}
}

// TestBearerOrigins lets the scripts of the token's client read the answer.
func TestBearerOrigins(t *testing.T) {
	t.Parallel()
	r := withOrigins(t, func(*config.Settings) {})
	token := r.Tokens(t, apitest.DemoSPA, "read").Text("access_token")
	ask := func(origin, token string) apitest.Answer {
		return request{method: http.MethodGet, path: mePath, header: append(bearer(token), "Origin", origin)}.send(t, r.URL)
	}
	wantOrigin(t, wantOK(t, ask(spaOrigin, token)), spaOrigin)
	wantOrigin(t, wantOK(t, ask(webOrigin, token)), "")
	wantOrigin(t, ask(spaOrigin, "bad"), spaOrigin)
	wantOrigin(t, ask("https://evil.example", "bad"), "")
}

// TestErasedUser has a token, and no profile any more.
func TestErasedUser(t *testing.T) {
	t.Parallel()
	r := single(t)
	tokens := registerUser(t, r, apitest.DemoSPA, "dormouse")
	a := wantOK(t, me(t, r, tokens.Text("access_token")))
	if a.Text("username") != "dormouse" || a.Text("email") != "dormouse@example.com" || a.Text("id") != subject(t, tokens) || a.Text("registered") == "" || len(a.JSON) != 4 {
		t.Errorf("profile %s", a.Body)
	}
	erase(t, r, subject(t, tokens))
	wantLoginError(t, me(t, r, tokens.Text("access_token")), http.StatusNotFound, "003-002")
}

// erase deletes a person's record.
func erase(t testing.TB, r *apitest.Replica, user string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	defer cancel()
	records, err := r.Log.ErasableBucket(ctx, "RECORDS")
	if err != nil {
		t.Fatal(err)
	}
	if err := records.Purge(ctx, "person."+user); err != nil {
		t.Fatal(err)
	}
}
