package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// TestIntrospectionIsForTheEntitled is RFC 7662 §2.1 and §4: everybody else
// hears the same as about a token that never was.
func TestIntrospectionIsForTheEntitled(t *testing.T) {
	t.Parallel()
	r := single(t)
	const api = "api-1"
	issued := register(t, r, map[string]any{"audience": []string{api, "https://other.example"}})
	resource := registerAs(t, r, api, map[string]any{"grant_types": []string{}, "redirect_uris": []string{}})
	stranger := register(t, r, nil)
	forAPI := wantOK(t, r.Token(t, issued, exchange(r.Login(t, issued, "read offline_access"), "audience", api)...))
	notForAPI := wantOK(t, r.Refresh(t, issued, forAPI.Text("refresh_token"), "audience", "https://other.example"))
	for _, test := range []struct {
		name   string
		caller apitest.Client
		token  string
		active bool
	}{
		{"its own client", issued, forAPI.Text("access_token"), true},
		{"a client in its aud", resource, forAPI.Text("access_token"), true},
		{"a named introspector", apitest.DemoService, forAPI.Text("access_token"), true},
		{"a client not in its aud", resource, notForAPI.Text("access_token"), false},
		{"another client", stranger, forAPI.Text("access_token"), false},
		{"a public client", apitest.DemoSPA, forAPI.Text("access_token"), false},
		{"a refresh token, its own client", issued, notForAPI.Text("refresh_token"), true},
		{"a refresh token, a client in its aud", resource, notForAPI.Text("refresh_token"), false},
		{"a refresh token, another client", stranger, notForAPI.Text("refresh_token"), false},
		{"a spent refresh token", issued, forAPI.Text("refresh_token"), false},
		{"no token of ours", issued, "nonsense", false},
		{"a client secret", issued, issued.Secret, false},
		{"a code", issued, r.Login(t, issued, "read"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !test.active {
				wantInactive(t, r, test.caller, test.token)
				return
			}
			a := wantOK(t, r.Post(t, introspectPath, test.caller, "token", test.token, "token_type_hint", "nonsense"))
			wantNoStore(t, a)
			if a.JSON["active"] != true {
				t.Errorf("introspection: %s", a.Body)
			}
		})
	}
	t.Run("no token", func(t *testing.T) {
		wantError(t, r.Post(t, introspectPath, issued), http.StatusBadRequest, "invalid_request")
	})
	t.Run("changes nothing", func(t *testing.T) {
		wantEvents(t, r, r.GrantOf(t, forAPI.Text("access_token")), opened, redeemed, rotated)
	})
}

// registerAs is register under an id.
func registerAs(t testing.TB, r *apitest.Replica, id string, settings map[string]any) apitest.Client {
	t.Helper()
	settings["client_id"] = id
	return register(t, r, settings)
}

// TestIntrospectionMembers is RFC 7662 §2.2.
func TestIntrospectionMembers(t *testing.T) {
	t.Parallel()
	r := single(t)
	tokens := r.Tokens(t, apitest.DemoWeb, "read offline_access")
	members := func(token string) []string {
		var names []string
		for name := range wantOK(t, r.Post(t, introspectPath, apitest.DemoWeb, "token", token)).JSON {
			names = append(names, name)
		}
		slices.Sort(names)
		return names
	}
	access := []string{"active", "aud", "auth_time", "client_id", "exp", "grant", "iat", "iss", "jti", "scope", "sub", "token_type"}
	if got := members(tokens.Text("access_token")); !slices.Equal(got, access) {
		t.Errorf("access token: %q", got)
	}
	refresh := []string{"active", "auth_time", "client_id", "exp", "grant", "iat", "iss", "scope", "sub"}
	if got := members(tokens.Text("refresh_token")); !slices.Equal(got, refresh) {
		t.Errorf("refresh token: %q", got)
	}
}

// TestForgedTokens presents what must not pass for an access token
// (RFC 7662 §4, RFC 8725 §2, RFC 9068 §4). Those that are signed are signed
// with the authority's own key.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	nc := embeddedtest.Single(t).Conn()
	r := apitest.Start(t, nc, apitest.Options{Settings: patient})
	r.Seed(t)
	genuine := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	f := newForger(t, nc, genuine)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(genuine, ".")
	unsigned := func(alg string) string {
		return encodeJSON(t, with(f.header, map[string]any{"alg": alg})) + "." + parts[1] + "."
	}
	head := func(header map[string]any) string { return f.sign(t, header, nil) }
	body := func(claims map[string]any) string { return f.sign(t, nil, claims) }
	now := time.Now().Unix()
	if !r.Active(t, head(nil)) || !r.Active(t, body(map[string]any{"nbf": now})) {
		t.Fatal("an unchanged forgery is not active, so nothing below means anything")
	}
	tokens := map[string]string{
		"alg none":               unsigned("none"),
		"alg None":               unsigned("None"),
		"alg none, signed":       head(map[string]any{"alg": "none"}),
		"alg in another case":    head(map[string]any{"alg": "es256"}),
		"no alg":                 head(map[string]any{"alg": nil}),
		"alg of another family":  head(map[string]any{"alg": "EdDSA"}),
		"an ID token":            head(map[string]any{"typ": "JWT"}),
		"no typ":                 head(map[string]any{"typ": nil}),
		"a logout token":         head(map[string]any{"typ": "logout+jwt"}),
		"no kid":                 head(map[string]any{"kid": nil}),
		"a kid that is a path":   head(map[string]any{"kid": "../../../../dev/null"}),
		"a kid with NUL":         head(map[string]any{"kid": f.header["kid"].(string) + "\x00"}),
		"a kid that is a query":  head(map[string]any{"kid": "x' UNION SELECT 'key"}),
		"a kid of 10 KB":         head(map[string]any{"kid": strings.Repeat("k", 10_000)}),
		"a kid that is a number": head(map[string]any{"kid": 1}),
		"an unknown crit":        head(map[string]any{"crit": []string{"x"}, "x": 1}),
		"its own key":            head(map[string]any{"jwk": map[string]string{"kty": "EC"}}),
		"a jku":                  head(map[string]any{"jku": "http://127.0.0.1:1/jwks"}),
		"an x5u":                 head(map[string]any{"x5u": "http://127.0.0.1:1/cert"}),
		"another issuer":         body(map[string]any{"iss": "https://evil.example"}),
		"the issuer and a slash": body(map[string]any{"iss": apitest.Issuer + "/"}),
		"no issuer":              body(map[string]any{"iss": nil}),
		"expired":                body(map[string]any{"iat": now - 60, "exp": now - 1}),
		"no exp":                 body(map[string]any{"exp": nil}),
		"exp as text":            body(map[string]any{"exp": "9999999999"}),
		"longer than the cap":    body(map[string]any{"exp": now + 25*3600}),
		"from the future":        body(map[string]any{"iat": now + 600}),
		"not valid yet":          body(map[string]any{"nbf": now + 600}),
		"nbf as text":            body(map[string]any{"nbf": "now"}),
		"no jti":                 body(map[string]any{"jti": nil}),
		"no sub":                 body(map[string]any{"sub": nil}),
		"no partition":           body(map[string]any{"part": nil}),
		"another key":            forger{stranger, f.header, f.claims}.sign(t, nil, nil),
		"no signature":           parts[0] + "." + parts[1] + ".",
		"two parts":              parts[0] + "." + parts[1],
		"four parts":             genuine + ".",
		"five parts, as a JWE":   genuine + "." + parts[0] + "." + parts[1],
		"a zero signature":       parts[0] + "." + parts[1] + "." + strings.Repeat("A", 86),
		"padded":                 genuine + "==",
		"standard base64":        strings.NewReplacer("-", "+", "_", "/").Replace(genuine) + "+",
		"a space before it":      " " + genuine,
		"with its scheme":        "Bearer " + genuine,
	}
	for form, key := range f.publicForms(t) {
		tokens["HS256 with the public key as "+form] = f.mac(t, key)
	}
	for name, token := range tokens {
		t.Run(name, func(t *testing.T) { wantInactive(t, r, apitest.DemoService, token) })
	}
	// Under a right signature these were made here: who does not know them is
	// behind, and not the one to say that they are dead.
	for name, token := range map[string]string{
		"an unknown user":      body(map[string]any{"sub": "nobody"}),
		"an unknown client":    body(map[string]any{"client_id": "nobody"}),
		"an unknown partition": body(map[string]any{"part": 200}),
	} {
		t.Run(name, func(t *testing.T) {
			a := r.Post(t, introspectPath, apitest.DemoService, "token", token)
			wantError(t, a, http.StatusServiceUnavailable, "temporarily_unavailable")
		})
	}
	for name, token := range map[string]string{"a line break in it": parts[0] + "\n." + parts[1] + "." + parts[2], "NUL behind it": genuine + "\x00"} {
		t.Run(name, func(t *testing.T) {
			wantError(t, r.Post(t, introspectPath, apitest.DemoService, "token", token), http.StatusBadRequest, "invalid_request")
		})
	}
}
