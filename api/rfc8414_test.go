package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
)

const metadataPath = "/.well-known/oauth-authorization-server"

// TestMetadata is RFC 8414 §2 and §3: only what works, no empty arrays, and
// every endpoint below the issuer.
func TestMetadata(t *testing.T) {
	t.Parallel()
	r := single(t)
	a := wantOK(t, request{method: http.MethodGet, path: metadataPath}.send(t, r.URL))
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type = %q", got)
	}
	if a.Text("issuer") != apitest.Issuer {
		t.Errorf("issuer = %q", a.Text("issuer"))
	}
	for name, value := range a.JSON {
		if list, ok := value.([]any); ok && len(list) == 0 {
			t.Errorf("%s is empty", name)
		}
		if text, ok := value.(string); ok && strings.HasPrefix(text, "http") && !strings.HasPrefix(text, apitest.Issuer) {
			t.Errorf("%s = %q", name, text)
		}
	}
	for name, method := range map[string]string{
		"token_endpoint": http.MethodPost, "introspection_endpoint": http.MethodPost,
		"revocation_endpoint": http.MethodPost, "jwks_uri": http.MethodGet, "userinfo_endpoint": http.MethodGet,
	} {
		u, err := url.Parse(a.Text(name))
		if err != nil {
			t.Fatal(err)
		}
		if got := (request{method: method, path: u.Path}).send(t, r.URL).Status; got == http.StatusNotFound || got == http.StatusMethodNotAllowed {
			t.Errorf("%s %s: %d", method, u.Path, got)
		}
	}
	head := request{method: http.MethodHead, path: metadataPath}.send(t, r.URL)
	if head.Status != http.StatusOK || len(head.Body) != 0 || head.Header.Get("Content-Type") != a.Header.Get("Content-Type") {
		t.Errorf("HEAD: %d %v", head.Status, head.Header)
	}
	t.Run("grant types", func(t *testing.T) {
		for _, grant := range a.JSON["grant_types_supported"].([]any) {
			body := form("grant_type", fmt.Sprint(grant))
			answer := request{body: body, header: []string{"Authorization", basic(apitest.DemoService)}}.send(t, r.URL)
			if answer.Text("error") == "unsupported_grant_type" {
				t.Errorf("%v is advertised and not supported", grant)
			}
		}
	})
}

// TestIssuerWithAPath puts the well-known part between host and path (RFC 8414
// §3), and everything else below the path.
func TestIssuerWithAPath(t *testing.T) {
	t.Parallel()
	const issuer = "https://as.example/tenants/one"
	r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) { patient(s); s.Issuer = issuer }})
	a := wantOK(t, request{method: http.MethodGet, path: metadataPath + "/tenants/one"}.send(t, r.URL))
	if a.Text("issuer") != issuer || a.Text("token_endpoint") != issuer+"/oauth2/token" {
		t.Errorf("metadata: %s", a.Body)
	}
	wantOK(t, request{method: http.MethodGet, path: "/tenants/one/oauth2/jwks"}.send(t, r.URL))
	wantOK(t, r.Post(t, "/tenants/one"+tokenPath, apitest.DemoService, "grant_type", "client_credentials"))
	for _, path := range []string{metadataPath, "/tenants/one" + metadataPath, "/oauth2/jwks"} {
		if got := (request{method: http.MethodGet, path: path}).send(t, r.URL).Status; got != http.StatusNotFound {
			t.Errorf("%s: %d", path, got)
		}
	}
}

// TestHostDoesNotDecideTheIssuer is CVE-2025-64101.
func TestHostDoesNotDecideTheIssuer(t *testing.T) {
	t.Parallel()
	r := single(t)
	lies := []string{
		"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https", "Forwarded", "host=evil.example;proto=https",
		"X-Original-Host", "evil.example", "X-Forwarded-Prefix", "/evil", "X-Original-URL", "/evil", "X-Rewrite-URL", "/evil",
	}
	lied := func(q request) apitest.Answer {
		q.header = append(q.header, lies...)
		built := q.build(t, r.URL)
		built.Host = "evil.example"
		a := wantOK(t, apitest.Do(t, built))
		if strings.Contains(string(a.Body), "evil") {
			t.Errorf("%s: %s", q.path, a.Body)
		}
		return a
	}
	if a := lied(request{method: http.MethodGet, path: metadataPath}); a.Text("issuer") != apitest.Issuer {
		t.Errorf("issuer = %q", a.Text("issuer"))
	}
	token := lied(request{body: "grant_type=client_credentials", header: []string{"Authorization", basic(apitest.DemoService)}})
	if iss := claim(t, token, "iss"); iss != apitest.Issuer {
		t.Errorf("iss = %q", iss)
	}
	body, _ := json.Marshal(alice)
	query := apitest.CodeQuery("demo-web", "read").Encode()
	lied(request{path: loginPath + "?" + query, contentType: "application/json", body: string(body)})
}
