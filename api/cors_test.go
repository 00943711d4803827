package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
)

const (
	webOrigin = "https://web.example"
	spaOrigin = "http://localhost:3000"
)

// allowOrigin gives a client an origin by the admin API.
func allowOrigin(t *testing.T, r *apitest.Replica, client, origin string) {
	t.Helper()
	a := r.Admin(t, http.MethodGet, "/clients/"+client, nil)
	a.JSON["allowed_origins"] = []string{origin}
	wantOK(t, r.Admin(t, http.MethodPut, "/clients/"+client, a.JSON))
}

func withOrigins(t *testing.T, set func(*config.Settings)) *apitest.Replica {
	t.Helper()
	r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) { patient(s); set(s) }})
	allowOrigin(t, r, "demo-web", webOrigin)
	allowOrigin(t, r, "demo-spa", spaOrigin)
	return r
}

// wantOrigin checks who may read an answer: nobody if origin is empty.
func wantOrigin(t *testing.T, a apitest.Answer, origin string) {
	t.Helper()
	credentials := ""
	if origin != "" {
		credentials = "true"
	}
	h := a.Header
	if h.Get("Access-Control-Allow-Origin") != origin || h.Get("Access-Control-Allow-Credentials") != credentials ||
		len(h.Values("Access-Control-Allow-Origin")) > 1 {
		t.Errorf("answer %d for %q, want %q", a.Status, h.Values("Access-Control-Allow-Origin"), origin)
	}
	if !strings.Contains(strings.Join(h.Values("Vary"), ", "), "Origin") {
		t.Errorf("Vary %q", h.Values("Vary"))
	}
}

func preflight(t *testing.T, r *apitest.Replica, path, origin, headers string) apitest.Answer {
	t.Helper()
	return request{method: http.MethodOptions, path: path, header: []string{
		"Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", headers,
	}}.send(t, r.URL)
}

// TestPreflight does not know the client, so every client's origin passes, by
// exact match.
func TestPreflight(t *testing.T) {
	t.Parallel()
	r := withOrigins(t, func(*config.Settings) {})
	const asked, told = "Content-Type, X-Engine-V, x-sdk,authorization, X-Server-Authorization, X-Other, Cookie", "content-type, x-engine-v, x-sdk, authorization, x-server-authorization"
	for _, path := range []string{tokenPath, revokePath, "/api/oauth2/token", "/api/oauth2/user", passwordPath, mePath} {
		for _, origin := range []string{webOrigin, spaOrigin} {
			a := preflight(t, r, path, origin, asked)
			wantOrigin(t, a, origin)
			if h := a.Header; a.Status != http.StatusNoContent || h.Get("Access-Control-Allow-Headers") != told ||
				h.Get("Access-Control-Allow-Methods") != "GET, PATCH, POST" || h.Get("Access-Control-Max-Age") == "" {
				t.Errorf("%s: %d %v", path, a.Status, h)
			}
		}
		for _, origin := range []string{
			"https://evil.example", "null", "*", "https://web.example.evil.example", "https://web.example:443", "http://web.example",
			"https://WEB.example", "https://sub.web.example", "http://localhost:3001", "https://web.example/",
		} {
			a := preflight(t, r, path, origin, asked)
			wantOrigin(t, a, "")
			if a.Header.Get("Access-Control-Allow-Headers") != "" || a.Header.Get("Access-Control-Allow-Methods") != "" {
				t.Errorf("%s: %v", origin, a.Header)
			}
		}
	}
	r.Admin(t, http.MethodPost, "/clients/demo-web/disable", nil)
	wantOrigin(t, preflight(t, r, tokenPath, webOrigin, ""), "")
	allowOrigin(t, r, "demo-spa", webOrigin)
	wantOrigin(t, preflight(t, r, tokenPath, spaOrigin, ""), "")
	wantOrigin(t, preflight(t, r, tokenPath, webOrigin, ""), webOrigin)
}

// TestOriginsOfAnswers are the client's own, also where it is refused.
func TestOriginsOfAnswers(t *testing.T) {
	t.Parallel()
	r := withOrigins(t, func(*config.Settings) {})
	for _, test := range []struct {
		name, path, body, origin, want string
	}{
		{"its own", revokePath, "client_id=demo-spa&token=none", spaOrigin, spaOrigin},
		{"another client's", revokePath, "client_id=demo-spa&token=none", webOrigin, ""},
		{"a client without any", tokenPath, "client_id=demo-service&client_secret=wrong", spaOrigin, ""},
		{"nobody's", revokePath, "client_id=demo-spa&token=none", "https://evil.example", ""},
		{"no origin", revokePath, "client_id=demo-spa&token=none", "", ""},
		{"a refusal to its own", tokenPath, "client_id=demo-spa&grant_type=none", spaOrigin, spaOrigin},
		{"a refusal to another client's", tokenPath, "client_id=demo-spa&grant_type=none", webOrigin, ""},
		{"a wrong secret", tokenPath, "client_id=demo-web&client_secret=wrong", webOrigin, webOrigin},
		{"an error before the client is known", tokenPath, "a=%", spaOrigin, spaOrigin},
		{"such an error, to nobody's", tokenPath, "a=%", "https://evil.example", ""},
		{"the Login API's", "/api/oauth2/token", "client_id=demo-spa&grant_type=none", spaOrigin, spaOrigin},
		{"the Login API's, another client's", "/api/oauth2/token", "client_id=demo-spa&grant_type=none", webOrigin, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantOrigin(t, request{path: test.path, body: test.body, header: []string{"Origin", test.origin}}.send(t, r.URL), test.want)
		})
	}
	login := request{
		path: passwordPath + "?client_id=demo-spa", contentType: "application/json",
		body: `{"username":"alice","password":"wonderland"}`, header: []string{"Origin", spaOrigin},
	}.send(t, r.URL)
	wantOK(t, login)
	wantOrigin(t, login, spaOrigin)
}

// TestBusyIsReadable lets a script see that it has to wait, and how long.
func TestBusyIsReadable(t *testing.T) {
	t.Parallel()
	r := withOrigins(t, func(s *config.Settings) { s.AddressLimit = anHour })
	var a apitest.Answer
	for range 4 {
		a = request{path: revokePath, body: "client_id=demo-spa&token=none", header: []string{"Origin", spaOrigin}}.send(t, r.URL)
	}
	wantBusy(t, a)
	wantOrigin(t, a, spaOrigin)
	if !strings.Contains(a.Header.Get("Access-Control-Expose-Headers"), "Retry-After") {
		t.Errorf("exposed %q", a.Header.Get("Access-Control-Expose-Headers"))
	}
	wantOrigin(t, preflight(t, r, tokenPath, spaOrigin, ""), spaOrigin) // costs nothing and is not counted
}

// TestPublicDocuments are for every script, without credentials; introspection,
// whatever may become of authorize, and the admin listener for none.
func TestPublicDocuments(t *testing.T) {
	t.Parallel()
	r := withOrigins(t, func(*config.Settings) {})
	for _, path := range []string{"/oauth2/jwks", "/.well-known/oauth-authorization-server"} {
		get := request{method: http.MethodGet, path: path, header: []string{"Origin", "https://any.example"}}.send(t, r.URL)
		wantOK(t, get)
		for _, a := range []apitest.Answer{get, preflight(t, r, path, "https://any.example", "x-sdk")} {
			if a.Header.Get("Access-Control-Allow-Origin") != "*" || a.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s: %v", path, a.Header)
			}
		}
	}
	for _, url := range []string{r.URL + introspectPath, r.URL + "/oauth2/authorize", r.AdminURL + "/admin/v1/clients"} {
		for _, method := range []string{http.MethodOptions, http.MethodGet, http.MethodPost} {
			q := request{method: method, path: "/", header: []string{
				"Origin", webOrigin, "Access-Control-Request-Method", "POST",
			}}.build(t, r.URL)
			target, err := q.URL.Parse(url)
			if err != nil {
				t.Fatal(err)
			}
			q.URL, q.Host = target, target.Host
			a := apitest.Do(t, q)
			if a.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s %s: %d %v", method, url, a.Status, a.Header)
			}
		}
	}
}
