package resource_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/resource"
	"github.com/chancery-authority/chancery/api/resource/echoresource"
)

// protected is the same resource by both middlewares: it answers with the subject.
func protected(v *resource.Verifier) map[string]http.Handler {
	plain := v.Require("read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(resource.ClaimsOf(r.Context()).Subject))
	}))
	e := echo.New()
	e.Any("/*", func(c echo.Context) error { return c.String(http.StatusOK, echoresource.Claims(c).Subject) }, echoresource.Require(v, "read"))
	return map[string]http.Handler{"net/http": plain, "Echo": e}
}

// TestMiddleware answers as RFC 6750 §3 has it.
func TestMiddleware(t *testing.T) {
	t.Parallel()
	r := start(t)
	v := open(t, r)
	token := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	write := r.Tokens(t, apitest.DemoWeb, "write").Text("access_token")
	subject, _ := apitest.Claims(t, token)["sub"].(string)
	for name, test := range map[string]struct {
		headers   []string
		path      string
		status    int
		challenge string
		body      string
	}{
		"good":                {[]string{"Bearer " + token}, "/", http.StatusOK, "", subject},
		"scheme in any case":  {[]string{"bEaReR   " + token}, "/", http.StatusOK, "", subject},
		"nothing":             {nil, "/", http.StatusUnauthorized, `Bearer realm="chancery"`, ""},
		"another scheme":      {[]string{"Basic eDp5"}, "/", http.StatusUnauthorized, `Bearer realm="chancery"`, ""},
		"in the query":        {nil, "/?access_token=" + token, http.StatusUnauthorized, `Bearer realm="chancery"`, ""},
		"two":                 {[]string{"Bearer " + token, "Bearer " + token}, "/", http.StatusBadRequest, `Bearer realm="chancery", error="invalid_request"`, "{\"error\":\"invalid_request\"}\n"},
		"no token":            {[]string{"Bearer "}, "/", http.StatusBadRequest, `Bearer realm="chancery", error="invalid_request"`, "{\"error\":\"invalid_request\"}\n"},
		"two in one":          {[]string{"Bearer " + token + " " + token}, "/", http.StatusBadRequest, `Bearer realm="chancery", error="invalid_request"`, "{\"error\":\"invalid_request\"}\n"},
		"not ours":            {[]string{"Bearer AAAA"}, "/", http.StatusUnauthorized, `Bearer realm="chancery", error="invalid_token"`, "{\"error\":\"invalid_token\"}\n"},
		"for something else":  {[]string{"Bearer " + write}, "/", http.StatusForbidden, `Bearer realm="chancery", error="insufficient_scope", scope="read"`, "{\"error\":\"insufficient_scope\"}\n"},
		"with what is no b64": {[]string{"Bearer a\"b"}, "/", http.StatusBadRequest, `Bearer realm="chancery", error="invalid_request"`, "{\"error\":\"invalid_request\"}\n"},
	} {
		for kind, h := range protected(v) {
			q := httptest.NewRequestWithContext(t.Context(), http.MethodGet, test.path, nil)
			q.Header["Authorization"] = test.headers
			w := httptest.NewRecorder()
			h.ServeHTTP(w, q)
			if got := w.Header().Get("WWW-Authenticate"); w.Code != test.status || got != test.challenge || w.Body.String() != test.body {
				t.Errorf("%s, %s: %d %q %q", name, kind, w.Code, got, w.Body)
			}
		}
	}
	if resource.ClaimsOf(t.Context()) != nil {
		t.Error("claims of nobody")
	}
}

// TestMiddlewareWithoutAuthority asks to come again: a 401 would have clients throw
// good tokens away.
func TestMiddlewareWithoutAuthority(t *testing.T) {
	t.Parallel()
	v, err := resource.Open(t.Context(), resource.Config{
		Issuer: "http://127.0.0.1:1", Audience: []string{"a"}, ClientID: "c", ClientSecret: "s",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	for kind, h := range protected(v) {
		q := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		q.Header.Set("Authorization", "Bearer a.b.c")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, q)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || w.Header().Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %d %v", kind, w.Code, w.Header())
		}
	}
	w := httptest.NewRecorder()
	v.Metadata("https://api.example", "read").ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	var told map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &told); err != nil || told["resource"] != "https://api.example" {
		t.Errorf("metadata %s: %v", w.Body, err)
	}
}
