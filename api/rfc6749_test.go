package api_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
)

// TestClientAuthentication is RFC 6749 §2.3 at every endpoint that has it.
func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	r := single(t)
	service, wrong := apitest.DemoService, apitest.Client{ID: "demo-service", Secret: "wrong"}
	escaped := apitest.Client{ID: service.ID}
	for _, b := range []byte(service.Secret) {
		escaped.Secret += fmt.Sprintf("%%%02x", b)
	}
	raw := func(c apitest.Client) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.ID+":"+c.Secret))
	}
	post := form("client_id", service.ID, "client_secret", service.Secret)
	for _, test := range []struct {
		name   string
		query  string
		header []string
		body   string
		status int
		code   string
	}{
		{"Basic", "", []string{"Authorization", basic(service)}, "", 200, ""},
		{"Basic, scheme in another case", "", []string{"Authorization", "b" + basic(service)[1:]}, "", 200, ""},
		{"Basic is form-decoded", "", []string{"Authorization", raw(escaped)}, "", 200, ""},
		{"Basic, and its client_id", "", []string{"Authorization", basic(service)}, "client_id=demo-service", 200, ""},
		{"post", "", nil, post, 200, ""},
		{"Basic and post", "", []string{"Authorization", basic(service)}, post, 400, "invalid_request"},
		{"Basic, and another client_id", "", []string{"Authorization", basic(service)}, "client_id=demo-web", 400, "invalid_request"},
		{"Basic twice", "", []string{"Authorization", basic(service), "Authorization", basic(service)}, "", 400, "invalid_request"},
		{"Basic, wrong secret", "", []string{"Authorization", basic(wrong)}, "", 401, "invalid_client"},
		{"Basic, secret of another client", "", []string{"Authorization", basic(apitest.Client{ID: service.ID, Secret: apitest.DemoWeb.Secret})}, "", 401, "invalid_client"},
		{"Basic, no secret", "", []string{"Authorization", basic(apitest.Client{ID: service.ID})}, "", 401, "invalid_client"},
		{"Basic, bad escape", "", []string{"Authorization", raw(apitest.Client{ID: service.ID, Secret: "%zz"})}, "", 401, "invalid_client"},
		{"Basic, no base64", "", []string{"Authorization", "Basic %%%"}, "", 401, "invalid_client"},
		{"Basic, unknown client", "", []string{"Authorization", basic(apitest.Client{ID: "nobody", Secret: "x"})}, "", 401, "invalid_client"},
		{"Basic, client id with NUL", "", []string{"Authorization", basic(apitest.Client{ID: "demo-service\x00", Secret: "x"})}, "", 401, "invalid_client"},
		{"post, wrong secret", "", nil, "client_id=demo-service&client_secret=wrong", 401, "invalid_client"},
		{"post, empty secret", "", nil, "client_id=demo-service&client_secret=", 401, "invalid_client"},
		{"post, unknown client", "", nil, "client_id=nobody&client_secret=x", 401, "invalid_client"},
		{"post, secret twice", "", nil, post + "&client_secret=x", 400, "invalid_request"},
		{"post, no client_id", "", nil, "client_secret=demo-service-secret", 400, "invalid_request"},
		{"confidential client without a secret", "", nil, "client_id=demo-service", 401, "invalid_client"},
		{"public client with a secret", "", nil, "client_id=demo-spa&client_secret=x", 401, "invalid_client"},
		{"public client by Basic", "", []string{"Authorization", basic(apitest.DemoSPA)}, "", 401, "invalid_client"},
		{"none at all", "", nil, "", 401, "invalid_client"},
		{"another scheme", "", []string{"Authorization", "Bearer x"}, "", 401, "invalid_client"},
		{"another scheme, and post", "", []string{"Authorization", "Bearer x"}, post, 401, "invalid_client"},
		{"an assertion", "", nil, "client_assertion=x&client_assertion_type=x", 401, "invalid_client"},
		{"the secret in the query", "?client_secret=demo-service-secret", nil, "client_id=demo-service", 400, "invalid_request"},
		{"all in the query", "?" + post, nil, "", 400, "invalid_request"},
		{"the id in the query", "?client_id=demo-service", []string{"Authorization", basic(service)}, "", 400, "invalid_request"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, path := range []string{tokenPath, introspectPath, revokePath} {
				body := strings.TrimSuffix("grant_type=client_credentials&token=x&"+test.body, "&")
				a := request{path: path + test.query, header: test.header, body: body}.send(t, r.URL)
				if test.status != http.StatusOK {
					wantError(t, a, test.status, test.code)
				} else if a.Status != test.status {
					t.Errorf("%s: %d %s", path, a.Status, a.Body)
				}
				if test.status == http.StatusUnauthorized && !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Basic ") {
					t.Errorf("%s: WWW-Authenticate = %q", path, a.Header.Get("WWW-Authenticate"))
				}
			}
		})
	}
}

// TestFailedAuthenticationsLookAlike compares all but the request id.
func TestFailedAuthenticationsLookAlike(t *testing.T) {
	t.Parallel()
	r := single(t)
	disabled := register(t, r, nil)
	wantOK(t, r.Admin(t, http.MethodPost, "/clients/"+disabled.ID+"/disable", nil))
	var first []byte
	for _, c := range []apitest.Client{
		disabled, {ID: "nobody", Secret: "x"}, {ID: "demo-web", Secret: "x"}, {ID: "demo-spa", Secret: "x"}, {ID: "demo-web"},
	} {
		a := r.Token(t, c, "grant_type", "client_credentials")
		body := bytes.ReplaceAll(a.Body, []byte(a.Text("request_id")), nil)
		if first == nil {
			first = body
		}
		if a.Status != http.StatusUnauthorized || !bytes.Equal(body, first) {
			t.Errorf("%s: %d %s, want %s", c.ID, a.Status, body, first)
		}
	}
}

// TestTokenRequestErrors is RFC 6749 §3.2 and §5.2, of an authenticated client.
func TestTokenRequestErrors(t *testing.T) {
	t.Parallel()
	r := single(t)
	for _, test := range []struct {
		name   string
		q      request
		status int
		code   string
	}{
		{"no grant_type", request{body: "scope=read"}, 400, "invalid_request"},
		{"an empty grant_type", request{body: "grant_type="}, 400, "invalid_request"},
		{"grant_type twice", request{body: "grant_type=client_credentials&grant_type=client_credentials"}, 400, "invalid_request"},
		{"grant_type in the query", request{path: tokenPath + "?grant_type=client_credentials"}, 400, "invalid_request"},
		{"the password grant", request{body: "grant_type=password&username=alice&password=wonderland"}, 400, "unsupported_grant_type"},
		{"an unknown grant", request{body: "grant_type=nonsense"}, 400, "unsupported_grant_type"},
		{"grant_type in another case", request{body: "grant_type=Client_Credentials"}, 400, "unsupported_grant_type"},
		{"a grant the client may not use", request{body: "grant_type=authorization_code&code=x"}, 400, "unauthorized_client"},
		{"a scope beyond the client's", request{body: "grant_type=client_credentials&scope=read+admin"}, 400, "invalid_scope"},
		{"a scope in another case", request{body: "grant_type=client_credentials&scope=READ"}, 400, "invalid_scope"},
		{"a scope with a quote", request{body: "grant_type=client_credentials&scope=%22read%22"}, 400, "invalid_scope"},
		{"a scope with a backslash", request{body: "grant_type=client_credentials&scope=read%5C"}, 400, "invalid_scope"},
		{"a scope that is not ASCII", request{body: "grant_type=client_credentials&scope=r%C3%A9ad"}, 400, "invalid_scope"},
		{"a scope with a line break", request{body: "grant_type=client_credentials&scope=read%0Aadmin"}, 400, "invalid_request"},
		{"scope twice", request{body: "grant_type=client_credentials&scope=read&scope=write"}, 400, "invalid_request"},
		{"GET", request{method: http.MethodGet, path: tokenPath + "?grant_type=client_credentials"}, 405, "invalid_request"},
		{"PUT", request{method: http.MethodPut, body: "grant_type=client_credentials"}, 405, "invalid_request"},
		{"another path", request{method: http.MethodGet, path: "/oauth2/nothing"}, 404, "not_found"},
		{"a slash too many", request{path: tokenPath + "/", body: "grant_type=client_credentials"}, 404, "not_found"},
		{"JSON", request{contentType: "application/json", body: `{"grant_type":"client_credentials"}`}, 400, "invalid_request"},
		{"a form called text", request{contentType: "text/plain", body: "grant_type=client_credentials"}, 400, "invalid_request"},
		{"multipart", request{contentType: "multipart/form-data; boundary=x", body: "--x\r\nContent-Disposition: form-data; name=\"grant_type\"\r\n\r\nclient_credentials\r\n--x--"}, 400, "invalid_request"},
		{"another charset", request{contentType: "application/x-www-form-urlencoded; charset=utf-16", body: "grant_type=client_credentials"}, 400, "invalid_request"},
		{"two content types", request{header: []string{"Content-Type", "application/json"}, body: "grant_type=client_credentials"}, 400, "invalid_request"},
		{"compressed", request{header: []string{"Content-Encoding", "gzip"}, body: "grant_type=client_credentials"}, 400, "invalid_request"},
		{"a bad escape", request{body: "grant_type=client_credentials&scope=%zz"}, 400, "invalid_request"},
		{"semicolons", request{body: "grant_type=client_credentials;scope=read"}, 400, "invalid_request"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.q.header = append(test.q.header, "Authorization", basic(apitest.DemoService))
			a := test.q.send(t, r.URL)
			wantError(t, a, test.status, test.code)
			if allow := a.Header.Get("Allow"); (test.status == 405) != (allow != "") {
				t.Errorf("Allow = %q", allow)
			}
		})
	}
}

// TestGETIsNoWayIn is RFC 6749 §3.2, RFC 7009 §2.1 and RFC 7662 §2.1.
func TestGETIsNoWayIn(t *testing.T) {
	t.Parallel()
	r := single(t)
	for _, path := range []string{tokenPath, introspectPath, revokePath} {
		a := request{method: http.MethodGet, path: path, header: []string{"Authorization", basic(apitest.DemoService)}}.send(t, r.URL)
		wantError(t, a, http.StatusMethodNotAllowed, "invalid_request")
	}
}

// TestClientCredentialsGrant is RFC 6749 §4.4 and §5.1.
func TestClientCredentialsGrant(t *testing.T) {
	t.Parallel()
	r := single(t)
	for _, test := range []struct{ name, body, scope string }{
		{"no scope is all of it", "", "read write"},
		{"an empty scope is no scope", "&scope=", "read write"},
		{"narrowed", "&scope=write", "write"},
		{"in any order", "&scope=write+read", "write read"},
		{"repeated", "&scope=read+read", "read"},
		{"what gives no refresh token is left out", "&scope=read+offline_access", "read"},
		{"unknown parameters are ignored", "&scope=read&nonsense=1&state=x", "read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := wantOK(t, request{
				body: "grant_type=client_credentials" + test.body, header: []string{"Authorization", basic(apitest.DemoService)},
			}.send(t, r.URL))
			wantNoStore(t, a)
			if a.Header.Get("Pragma") != "no-cache" || a.Text("token_type") != "Bearer" || a.JSON["expires_in"] != 3600.0 {
				t.Errorf("answer %v %s", a.Header, a.Body)
			}
			if _, ok := a.JSON["refresh_token"]; ok || a.Text("scope") != test.scope {
				t.Errorf("answer %s, want scope %q and no refresh token", a.Body, test.scope)
			}
		})
	}
}

// TestCodeBinding is RFC 6749 §4.1.3: who has only a part of what a code is
// bound to gets nothing, and changes nothing for who has all of it.
func TestCodeBinding(t *testing.T) {
	t.Parallel()
	r := single(t)
	other := register(t, r, nil)
	code := r.Login(t, apitest.DemoWeb, "read offline_access")
	for _, test := range []struct {
		name   string
		client apitest.Client
		pairs  []string
		code   string
	}{
		{"another client", other, nil, "invalid_grant"},
		{"a public client", apitest.DemoSPA, nil, "invalid_grant"},
		{"no redirect_uri", apitest.DemoWeb, []string{"redirect_uri", ""}, "invalid_grant"},
		{"another redirect_uri", apitest.DemoWeb, []string{"redirect_uri", "http://127.0.0.1:9999/callback/"}, "invalid_grant"},
		{"no verifier", apitest.DemoWeb, []string{"code_verifier", ""}, "invalid_grant"},
		{"another verifier", apitest.DemoWeb, []string{"code_verifier", strings.Repeat("a", 43)}, "invalid_grant"},
		{"no code", apitest.DemoWeb, []string{"code", ""}, "invalid_request"},
		{"a wider scope", apitest.DemoWeb, []string{"scope", "read write"}, "invalid_scope"},
		{"another audience", apitest.DemoWeb, []string{"audience", "https://api.example"}, "invalid_target"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantError(t, r.Token(t, test.client, exchange(code, test.pairs...)...), http.StatusBadRequest, test.code)
		})
	}
	a := wantOK(t, r.Exchange(t, apitest.DemoWeb, code))
	wantNoStore(t, a)
	grant := r.GrantOf(t, a.Text("access_token"))
	// Nor do they harm after the redemption (I3).
	wantError(t, r.Token(t, other, exchange(code)...), http.StatusBadRequest, "invalid_grant")
	wantError(t, r.Token(t, apitest.DemoWeb, exchange(code, "code_verifier", strings.Repeat("a", 43))...), http.StatusBadRequest, "invalid_grant")
	wantEvents(t, r, grant, opened, redeemed)
}

// exchange is the parameters of a code exchange; pairs replace some.
func exchange(code string, pairs ...string) []string {
	all := []string{
		"grant_type", "authorization_code", "code", code,
		"redirect_uri", "http://127.0.0.1:9999/callback", "code_verifier", apitest.Verifier,
	}
	return replace(all, pairs)
}

// replace puts the values of pairs into all, and what is new at its end.
func replace(all, pairs []string) []string {
	for i := 0; i < len(pairs); i += 2 {
		found := false
		for j := 0; j < len(all); j += 2 {
			if all[j] == pairs[i] {
				all[j+1], found = pairs[i+1], true
			}
		}
		if !found {
			all = append(all, pairs[i], pairs[i+1])
		}
	}
	return all
}

// TestRefreshBinding is RFC 6749 §6: a refresh token is its client's, and never
// widens what was granted.
func TestRefreshBinding(t *testing.T) {
	t.Parallel()
	r := single(t)
	other := register(t, r, nil)
	first := r.Tokens(t, apitest.DemoWeb, "read offline_access")
	token := first.Text("refresh_token")
	for _, test := range []struct {
		name   string
		client apitest.Client
		pairs  []string
		code   string
	}{
		{"another client", other, nil, "invalid_grant"},
		{"a public client", apitest.DemoSPA, nil, "invalid_grant"},
		{"a client without the grant", apitest.DemoService, nil, "unauthorized_client"},
		{"a wider scope", apitest.DemoWeb, []string{"scope", "read write"}, "invalid_scope"},
		{"an unknown scope", apitest.DemoWeb, []string{"scope", "admin"}, "invalid_scope"},
		{"another resource", apitest.DemoWeb, []string{"resource", "https://api.example"}, "invalid_target"},
		{"an access token", apitest.DemoWeb, []string{"refresh_token", first.Text("access_token")}, "invalid_grant"},
		{"no token", apitest.DemoWeb, []string{"refresh_token", ""}, "invalid_request"},
	} {
		t.Run(test.name, func(t *testing.T) {
			pairs := replace([]string{"grant_type", "refresh_token", "refresh_token", token}, test.pairs)
			wantError(t, r.Token(t, test.client, pairs...), http.StatusBadRequest, test.code)
		})
	}
	narrow := wantOK(t, r.Refresh(t, apitest.DemoWeb, token, "scope", "read", "redirect_uri", "https://ignored.example"))
	if narrow.Text("scope") != "read" {
		t.Errorf("narrowed to %q", narrow.Text("scope"))
	}
	// Narrowing one answer does not narrow the grant.
	if a := wantOK(t, r.Refresh(t, apitest.DemoWeb, narrow.Text("refresh_token"))); a.Text("scope") != "read offline_access" {
		t.Errorf("after narrowing: scope %q", a.Text("scope"))
	}
	wantEvents(t, r, r.GrantOf(t, first.Text("access_token")), opened, redeemed, rotated, rotated)
}
