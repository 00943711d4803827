package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

const adminPath = "/admin/v1"

func bearer(key string) []string { return []string{"Authorization", "Bearer " + key} }

// TestAdminKey is RFC 6750 §2.1 and §3.1: the key is asked for at every
// address, also at those that there are not.
func TestAdminKey(t *testing.T) {
	t.Parallel()
	r := single(t)
	for _, test := range []struct {
		name   string
		header []string
		query  string
		code   string
	}{
		{"none", nil, "", ""},
		{"a wrong one", bearer("wrong"), "", `error="invalid_token"`},
		{"half of it", bearer(apitest.AdminKey[:10]), "", `error="invalid_token"`},
		{"an empty one", bearer(""), "", `error="invalid_token"`},
		{"Basic", []string{"Authorization", basic(apitest.Client{ID: "admin", Secret: apitest.AdminKey})}, "", ""},
		{"in the query", nil, "?access_token=" + apitest.AdminKey, ""},
		{"a right one and another", append(bearer(apitest.AdminKey), bearer("x")...), "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, q := range []request{
				{method: http.MethodGet, path: "/clients"},
				{path: "/clients"},
				{method: http.MethodGet, path: "/events"},
				{path: "/users/x/disable"},
				{method: http.MethodGet, path: "/status"},
				{path: "/grants/x/revoke"},
				{method: http.MethodGet, path: "/nothing"},
				{method: http.MethodPatch, path: "/clients"},
				{method: http.MethodGet},
			} {
				q.path, q.header, q.contentType = adminPath+q.path+test.query, test.header, "application/json"
				a := q.send(t, r.AdminURL)
				wantError(t, a, http.StatusUnauthorized, "invalid_token")
				challenge := a.Header.Get("WWW-Authenticate")
				if !strings.HasPrefix(challenge, "Bearer ") || !strings.Contains(challenge, test.code) || test.code == "" && strings.Contains(challenge, "error") {
					t.Errorf("%s %s: WWW-Authenticate = %q", q.method, q.path, challenge)
				}
			}
		})
	}
}

// TestListenersAreApart keeps what is for administrators off the public
// listener, and the other way round.
func TestListenersAreApart(t *testing.T) {
	t.Parallel()
	r := single(t)
	for _, path := range []string{adminPath + "/clients", adminPath + "/events", "/health/ready", "/health/live", "/metrics", "/debug/pprof/"} {
		if got := (request{method: http.MethodGet, path: path, header: bearer(apitest.AdminKey)}).send(t, r.URL).Status; got != http.StatusNotFound {
			t.Errorf("%s on the public listener: %d", path, got)
		}
	}
	for _, path := range []string{"/oauth2/jwks", metadataPath} {
		if got := (request{method: http.MethodGet, path: path}).send(t, r.AdminURL).Status; got != http.StatusNotFound {
			t.Errorf("%s on the admin listener: %d", path, got)
		}
	}
	for _, path := range []string{"/health/ready", "/health/live"} {
		wantOK(t, request{method: http.MethodGet, path: path}.send(t, r.AdminURL))
	}
}

// TestClientLife is a client from its registration to its end.
func TestClientLife(t *testing.T) {
	t.Parallel()
	r := single(t)
	made := r.Admin(t, http.MethodPost, "/clients", map[string]any{
		"client_id": "life", "client_name": "A <b>name</b>", "grant_types": []string{"client_credentials"}, "scope": []string{"read"},
	})
	if made.Status != http.StatusCreated || !strings.HasPrefix(made.Text("client_secret"), "chs_") {
		t.Fatalf("created: %d %s", made.Status, made.Body)
	}
	wantNoStore(t, made)
	first := apitest.Client{ID: "life", Secret: made.Text("client_secret")}
	gets := func(c apitest.Client) int { return r.Token(t, c, "grant_type", "client_credentials").Status }

	shown := wantOK(t, r.Admin(t, http.MethodGet, "/clients/life", nil))
	for _, text := range []string{first.Secret, `"client_secret":`, "hash", "key_id"} {
		if strings.Contains(string(shown.Body), text) {
			t.Errorf("a client is shown with %q: %s", text, shown.Body)
		}
	}
	if list := wantOK(t, r.Admin(t, http.MethodGet, "/clients", nil)); !strings.Contains(string(list.Body), `"life"`) || strings.Contains(string(list.Body), "hash") {
		t.Errorf("list: %s", list.Body)
	}
	wantError(t, r.Admin(t, http.MethodPost, "/clients", map[string]any{"client_id": "life"}), http.StatusConflict, "already_exists")

	added := r.Admin(t, http.MethodPost, "/clients/life/secrets", nil)
	second := apitest.Client{ID: "life", Secret: added.Text("secret")}
	if added.Status != http.StatusCreated || gets(first) != 200 || gets(second) != 200 {
		t.Errorf("two secrets: %d %s", added.Status, added.Body)
	}
	wantError(t, r.Admin(t, http.MethodPost, "/clients/life/secrets", nil), http.StatusConflict, "conflict")
	wantError(t, r.Admin(t, http.MethodDelete, "/clients/life/secrets/nothing", nil), http.StatusNotFound, "not_found")
	secrets, _ := shown.JSON["secrets"].([]any)
	old, _ := secrets[0].(map[string]any)["id"].(string)
	if a := r.Admin(t, http.MethodDelete, "/clients/life/secrets/"+old, nil); a.Status != http.StatusNoContent {
		t.Errorf("dropped: %d %s", a.Status, a.Body)
	}
	if gets(first) != 401 || gets(second) != 200 {
		t.Error("the dropped secret opens, or the other does not")
	}

	shown.JSON["scope"] = []string{"write"} // what was read is sent back, edited
	wantOK(t, r.Admin(t, http.MethodPut, "/clients/life", shown.JSON))
	if a := wantOK(t, r.Token(t, second, "grant_type", "client_credentials")); a.Text("scope") != "write" {
		t.Errorf("scope after the update: %q", a.Text("scope"))
	}
	for _, step := range []struct {
		call   string
		status int
	}{{"disable", 401}, {"disable", 401}, {"enable", 200}, {"enable", 200}} {
		if wantOK(t, r.Admin(t, http.MethodPost, "/clients/life/"+step.call, nil)); gets(second) != step.status {
			t.Errorf("after %s: not %d", step.call, step.status)
		}
	}
}

// TestClientSettingsRefused is what no client may be registered with.
func TestClientSettingsRefused(t *testing.T) {
	t.Parallel()
	r := single(t)
	redirects := func(uri string) map[string]any { return map[string]any{"redirect_uris": []string{uri}} }
	for name, body := range map[string]map[string]any{
		"an unknown member":             {"nonsense": 1},
		"a grant type that there isn't": {"grant_types": []string{"password"}},
		"implicit":                      {"grant_types": []string{"implicit"}},
		"public with credentials":       {"public": true, "grant_types": []string{"client_credentials"}},
		"public introspector":           {"public": true, "introspect_any": true},
		"password login, confidential":  {"password_login": true},
		"codes without a redirect":      {"grant_types": []string{"authorization_code"}},
		"redirect with a fragment":      redirects("https://app.example/#x"),
		"relative redirect":             redirects("/cb"),
		"plain http redirect":           redirects("http://app.example/cb"),
		"javascript redirect":           redirects("javascript:alert(1)"),
		"data redirect":                 redirects("data:text/html,x"),
		"redirect with a wildcard":      redirects("https://*.example/cb"),
		"redirect with a user":          redirects("https://a@app.example/cb"),
		"redirect with a line break":    redirects("https://app.example/\ncb"),
		"scope with a space":            {"scope": []string{"read write"}},
		"an algorithm not configured":   {"access_token_signing_alg": "RS256"},
		"alg none":                      {"access_token_signing_alg": "none"},
		"code lifetime over 10 min":     {"code_lifetime": 601},
		"token lifetime over 24 h":      {"access_token_lifetime": 86401},
		"a negative window":             {"refresh_token_retry_window": -1},
		"an id with a dot":              {"client_id": "a.b"},
		"an id with a wildcard":         {"client_id": "*"},
		"an id with a slash":            {"client_id": "../admin"},
		"an id of 65 characters":        {"client_id": strings.Repeat("a", 65)},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, r.Admin(t, http.MethodPost, "/clients", body), http.StatusBadRequest, "invalid_request")
		})
	}
	t.Run("public and confidential change places", func(t *testing.T) {
		wantError(t, r.Admin(t, http.MethodPut, "/clients/demo-web", map[string]any{"public": true}), http.StatusBadRequest, "invalid_request")
	})
	t.Run("under another id", func(t *testing.T) {
		wantError(t, r.Admin(t, http.MethodPut, "/clients/demo-web", map[string]any{"client_id": "demo-spa"}), http.StatusBadRequest, "invalid_request")
	})
}

// TestNothingThere is 404 or 400, and changes nothing.
func TestNothingThere(t *testing.T) {
	t.Parallel()
	r := single(t)
	grant := "00" + strings.Repeat("ab", 15)
	for _, test := range []struct {
		method, path string
		status       int
		code         string
	}{
		{http.MethodGet, "/clients/nobody", 404, "not_found"},
		{http.MethodPost, "/clients/nobody/disable", 404, "not_found"},
		{http.MethodPost, "/clients/nobody/secrets", 404, "not_found"},
		{http.MethodPost, "/clients/demo-spa/secrets", 409, "conflict"},
		{http.MethodPost, "/clients/a.b/disable", 400, "invalid_request"},
		{http.MethodPost, "/users/nobody/disable", 404, "not_found"},
		{http.MethodGet, "/users/%2A", 404, "not_found"},
		{http.MethodDelete, "/users/%2A", 400, "invalid_request"},
		{http.MethodGet, "/users/nobody/sessions", 404, "not_found"},
		{http.MethodPut, "/users", 405, "invalid_request"},
		{http.MethodPost, "/users/%2A/disable", 400, "invalid_request"},
		{http.MethodPost, "/users/nobody/cut-off", 404, "not_found"},
		{http.MethodPost, "/clients/nobody/cut-off", 404, "not_found"},
		{http.MethodPost, "/users/%2A/cut-off", 400, "invalid_request"},
		{http.MethodGet, "/grants/" + grant, 404, "not_found"},
		{http.MethodPost, "/grants/" + grant + "/revoke", 404, "not_found"},
		{http.MethodGet, "/grants/nonsense", 400, "invalid_request"},
		{http.MethodGet, "/events?grant=nonsense", 400, "invalid_request"},
		{http.MethodGet, "/events?since=yesterday", 400, "invalid_request"},
		{http.MethodPatch, "/clients/demo-spa", 405, "invalid_request"},
		{http.MethodGet, "/nothing", 404, "not_found"},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			wantError(t, r.Admin(t, test.method, test.path, nil), test.status, test.code)
		})
	}
}

// TestGrantsOfAdministrators shows a grant and ends it, within the bound.
func TestGrantsOfAdministrators(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{})
	tokens := r.Tokens(t, apitest.DemoWeb, "read offline_access")
	grant := r.GrantOf(t, tokens.Text("access_token"))
	shown := wantOK(t, r.Admin(t, http.MethodGet, "/grants/"+grant, nil))
	if shown.Text("client") != "demo-web" || shown.Text("user") != subject(t, tokens) {
		t.Errorf("grant %s", shown.Body)
	}
	for range 2 {
		if a := wantOK(t, r.Admin(t, http.MethodPost, "/grants/"+grant+"/revoke", nil)); a.Text("revoked_reason") != "admin_request" {
			t.Errorf("revoked: %s", a.Body)
		}
	}
	since := time.Now()
	wantError(t, r.Refresh(t, apitest.DemoWeb, tokens.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	wantDead(t, r, tokens.Text("access_token"), since)
	wantEvents(t, r, grant, opened, redeemed, revoked)
}

// TestEventsFollow tells what happens as it happens, with who asked.
func TestEventsFollow(t *testing.T) {
	t.Parallel()
	r := single(t)
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	defer cancel()
	q := request{method: http.MethodGet, path: adminPath + "/events?format=ndjson&follow=true&data=true", header: bearer(apitest.AdminKey)}.build(t, r.AdminURL)
	response, err := http.DefaultClient.Do(q.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	a := wantOK(t, r.Token(t, apitest.DemoService, "grant_type", "client_credentials"))
	lines, found := bufio.NewScanner(response.Body), false
	for !found && lines.Scan() {
		var e struct {
			Type, Actor, Request string
			Event                struct {
				Subject, Source string
				Meta            struct{ Request, Actor string }
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		found = e.Type == "access_token.issued.v1" && e.Event.Subject == "main.issued.0.demo-service" && e.Event.Source == apitest.Issuer &&
			e.Event.Meta.Actor == "client:demo-service" && e.Event.Meta.Request == a.Header.Get("X-Request-Id") &&
			e.Actor == e.Event.Meta.Actor && e.Request == e.Event.Meta.Request
	}
	if !found {
		t.Errorf("the event was never told: %v", lines.Err())
	}
}

// TestClientMetadataOfRFC7591 registers a client in the words of RFC 7591 §2.
func TestClientMetadataOfRFC7591(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{})
	for name, test := range map[string]struct {
		body   map[string]any
		status int
		public bool
	}{
		"by Basic":       {map[string]any{"token_endpoint_auth_method": "client_secret_basic"}, http.StatusCreated, false},
		"public":         {map[string]any{"token_endpoint_auth_method": "none"}, http.StatusCreated, true},
		"unknown method": {map[string]any{"token_endpoint_auth_method": "private_key_jwt"}, http.StatusBadRequest, false},
		"contradiction":  {map[string]any{"token_endpoint_auth_method": "client_secret_post", "public": true}, http.StatusBadRequest, false},
	} {
		t.Run(name, func(t *testing.T) {
			body := map[string]any{
				"grant_types": []string{"authorization_code"}, "redirect_uris": []string{"https://app.example/callback"}, "scope": "read write",
			}
			maps.Copy(body, test.body)
			a := r.Admin(t, http.MethodPost, "/clients", body)
			if a.Status != test.status {
				t.Fatalf("%d %s", a.Status, a.Body)
			}
			if test.status != http.StatusCreated {
				return
			}
			if public := a.Text("token_endpoint_auth_method") == "none"; public != test.public || (a.Text("client_secret") == "") != public {
				t.Errorf("public: %s", a.Body)
			}
			if scope, _ := a.JSON["scope"].([]any); len(scope) != 2 {
				t.Errorf("scope: %s", a.Body)
			}
		})
	}
}
