package api_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
)

const (
	loginIssuePath     = "/api/oauth2/token"
	exchangeGrantLogin = "urn:ietf:params:oauth:grant-type:token_exchange"
)

// loginIssue sends a request to the Login API's token endpoint as its clients
// do: client_id and client_secret in the body.
func loginIssue(t testing.TB, r *apitest.Replica, c apitest.Client, pairs ...string) apitest.Answer {
	t.Helper()
	all := replace([]string{"client_id", c.ID, "client_secret", c.Secret}, pairs)
	return request{path: loginIssuePath, body: form(all...)}.send(t, r.URL)
}

// wantLoginTokens expects the members of the Login API's answer, with a refresh
// token or without.
func wantLoginTokens(t testing.TB, a apitest.Answer, scope string, refresh bool) {
	t.Helper()
	wantOK(t, a)
	wantNoStore(t, a)
	want := []string{"access_token", "expires_in", "scope", "token_type"}
	if refresh {
		want = []string{"access_token", "expires_in", "refresh_token", "scope", "token_type"}
	}
	if got := slices.Sorted(maps.Keys(a.JSON)); !slices.Equal(got, want) {
		t.Errorf("members %q, want %q", got, want)
	}
	if a.Text("token_type") != "bearer" || a.Text("scope") != scope || a.Text("access_token") == "" {
		t.Errorf("answer %s", a.Body)
	}
	if _, ok := apitest.Claims(t, a.Text("access_token"))["aud"].([]any); !ok {
		t.Errorf("aud is no array: %s", a.Body)
	}
}

// TestLoginIssueUser goes from a code to a refresh, as a public and as a
// confidential client.
func TestLoginIssueUser(t *testing.T) {
	t.Parallel()
	r := single(t)
	for _, c := range []apitest.Client{apitest.DemoSPA, apitest.DemoWeb} {
		t.Run(c.ID, func(t *testing.T) {
			first := loginIssue(t, r, c,
				"grant_type", "authorization_code", "code", r.Login(t, c, "read offline"),
				"redirect_uri", authority.DemoRedirect, "code_verifier", apitest.Verifier)
			wantLoginTokens(t, first, "read offline", true)
			if first.JSON["expires_in"] != 3600.0 {
				t.Errorf("expires_in %v", first.JSON["expires_in"])
			}
			second := loginIssue(t, r, c,
				"grant_type", "refresh_token", "refresh_token", first.Text("refresh_token"), "redirect_uri", "https://ignored.example")
			wantLoginTokens(t, second, "read offline", true)
			if subject(t, second) != subject(t, first) || second.Text("refresh_token") == first.Text("refresh_token") {
				t.Error("no successor for the same user")
			}
			// Both dialects speak of the same grants.
			wantOK(t, r.Refresh(t, c, second.Text("refresh_token")))
		})
	}
	t.Run("not offline", func(t *testing.T) {
		wantLoginTokens(t, loginIssue(t, r, apitest.DemoSPA,
			"grant_type", "authorization_code", "code", r.Login(t, apitest.DemoSPA, "read"),
			"redirect_uri", authority.DemoRedirect, "code_verifier", apitest.Verifier), "read", false)
	})
}

// TestLoginIssueClient is a server token, however the secret comes, with what
// SDKs put in the query.
func TestLoginIssueClient(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := register(t, r, map[string]any{
		"grant_types": []string{"client_credentials"}, "audience": []string{api1, api2}, "scope": []string{"read"},
	})
	bare := register(t, r, map[string]any{"grant_types": []string{"client_credentials"}, "scope": []string{}})
	body := func(pairs ...string) string {
		return form(append([]string{"grant_type", "client_credentials", "client_id", c.ID}, pairs...)...)
	}
	for name, q := range map[string]request{
		"in the body":      {body: body("client_secret", c.Secret)},
		"Basic":            {body: body(), header: []string{"Authorization", basic(c)}},
		"audience, spaces": {body: body("client_secret", c.Secret, "audience", api1+" "+api2)},
		"audience, twice":  {body: body("client_secret", c.Secret, "audience", api1, "audience", api2)},
	} {
		t.Run(name, func(t *testing.T) {
			q.path = loginIssuePath + "?engine=unity&sdk=login&sdk_v=1.0&engine=again"
			a := q.send(t, r.URL)
			wantLoginTokens(t, a, "read", false)
			if aud := apitest.Claims(t, a.Text("access_token"))["aud"].([]any); len(aud) != 2 {
				t.Errorf("aud %v", aud)
			}
		})
	}
	t.Run("without any scope", func(t *testing.T) {
		wantLoginTokens(t, loginIssue(t, r, bare, "grant_type", "client_credentials"), "", false)
	})
}

// TestLoginIssueExchange is a token exchange in both spellings and with both
// forms of the token types.
func TestLoginIssueExchange(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := exchanger(t, r, nil, nil)
	alices := r.Tokens(t, apitest.DemoWeb, "read offline").Text("access_token")
	server := own(t, r, c)
	for name, test := range map[string]struct{ grant, subject, actor string }{
		"the Login API's":        {exchangeGrantLogin, "access_token", ""},
		"the RFC's":              {exchangeGrant, accessType, ""},
		"mixed":                  {exchangeGrantLogin, accessType, ""},
		"by a server token":      {exchangeGrantLogin, "access_token", "server_token"},
		"by a server, RFC style": {exchangeGrant, accessType, accessType},
	} {
		t.Run(name, func(t *testing.T) {
			pairs := []string{"grant_type", test.grant, "subject_token", alices, "subject_token_type", test.subject}
			if test.actor != "" {
				pairs = append(pairs, "actor_token", server, "actor_token_type", test.actor)
			}
			a := apitest.Settled(t, func() apitest.Answer { return loginIssue(t, r, c, pairs...) })
			wantLoginTokens(t, a, "read", false)
			act, _ := apitest.Claims(t, a.Text("access_token"))["act"].(map[string]any)
			if (test.actor != "") != (act["sub"] == c.ID) {
				t.Errorf("act %v", act)
			}
		})
	}
}

// TestLoginIssueRequests is what this endpoint sees otherwise than the RFCs' one,
// and what the two must refuse alike.
func TestLoginIssueRequests(t *testing.T) {
	t.Parallel()
	r := single(t)
	s := apitest.DemoService
	good := form("grant_type", "client_credentials", "client_id", s.ID, "client_secret", s.Secret)
	authorization := []string{"Authorization", basic(s)}
	for _, test := range []struct {
		name      string
		q         request
		status    int
		code      string
		parameter string
	}{
		{"no client_id", request{body: "grant_type=client_credentials&client_secret=x"}, 400, "0", "client_id"},
		{"no client_id beside Basic", request{body: "grant_type=client_credentials", header: authorization}, 400, "0", "client_id"},
		{"another client_id than Basic's", request{body: "grant_type=client_credentials&client_id=demo-web", header: authorization}, 400, "0", "client_id"},
		{"another client's secret", request{body: strings.Replace(good, s.ID, "demo-web", 1)}, 400, "010-019", ""},
		{"an unknown client", request{body: strings.Replace(good, s.ID, "nobody", 1)}, 400, "010-019", ""},
		{"no secret", request{body: "grant_type=client_credentials&client_id=demo-service"}, 400, "010-019", ""},
		{"a public client with a secret", request{body: strings.Replace(good, s.ID, "demo-spa", 1)}, 400, "010-019", ""},
		{"the secret in the query", request{path: "?client_secret=x", body: good}, 400, "0", "client_secret"},
		{"the client in the query", request{path: "?client_id=x", body: good}, 400, "0", "client_id"},
		{"a token in the query", request{path: "?refresh_token=x", body: good}, 400, "0", "refresh_token"},
		{"no grant_type", request{body: form("client_id", s.ID, "client_secret", s.Secret)}, 400, "0", "grant_type"},
		{"a grant it may not use", request{body: strings.Replace(good, "client_credentials", "refresh_token", 1)}, 422, "003-020", "grant_type"},
		{"a scope it may not have", request{body: good + "&scope=admin"}, 422, "0", "scope"},
		{"JSON", request{body: "{}", contentType: "application/json"}, 400, "0", ""},
		{"GET", request{method: http.MethodGet}, 405, "0", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.q.path = loginIssuePath + test.q.path
			a := test.q.send(t, r.URL)
			wantLoginError(t, a, test.status, test.code)
			if got := parameterOf(a); got != test.parameter {
				t.Errorf("parameter %q, want %q: %s", got, test.parameter, a.Body)
			}
		})
	}
}

// parameterOf is what an error of either dialect names before its text.
func parameterOf(a apitest.Answer) string {
	text := a.Text("error_description")
	if envelope, ok := a.JSON["error"].(map[string]any); ok {
		text, _ = envelope["description"].(string)
	}
	name, _, ok := strings.Cut(text, ": ")
	if !ok || strings.Contains(name, " ") {
		return ""
	}
	return name
}
