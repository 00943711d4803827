package pages_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http/httptest"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/text/language"
)

// sourceOf is the hash of an element's text as it arrives.
func sourceOf(t *testing.T, document, element string) string {
	t.Helper()
	found := ""
	each(parse(t, document), func(n *html.Node) {
		if n.Data == element {
			sum := sha256.Sum256([]byte(text(n)))
			found = "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
		}
	})
	return found
}

func TestPolicies(t *testing.T) {
	const toClient, toUs, noForm, script = "", "; form-action 'self'", "; form-action 'none'", "; script-src "
	want := map[string]string{
		"login": toClient, "login-hinted": toUs, "login-wrong": toClient, "register": toClient, "register-wrong": toClient,
		"consent": toClient, "consent-until": toClient, "consent-long": toClient, "select-account": toClient,
		"account": toUs, "account-empty": toUs, "device-code": toUs, "device-code-wrong": toUs, "device-confirm": toUs,
		"device-confirm-nothing": toUs, "done-allowed": noForm, "done-denied": noForm, "logout": toClient, "logged-out": noForm,
		"error": noForm, "error-expired": noForm, "error-client": noForm, "error-unforeseen": noForm, "form-post": script,
	}
	for name, page := range samples() {
		w := write(t, renderer(t), language.English, page)
		document := w.Body.String()
		policy := "default-src 'none'; style-src " + sourceOf(t, document, "style") +
			"; img-src data:; base-uri 'none'; frame-ancestors 'none'" + want[name]
		if want[name] == script {
			policy += sourceOf(t, document, "script")
		}
		if got := w.Header().Get("Content-Security-Policy"); got != policy {
			t.Errorf("%s: the policy is\n%s, want\n%s", name, got, policy)
		}
	}
}

func TestHeaders(t *testing.T) {
	own := map[string]bool{
		"account": true, "account-empty": true, "device-code": true, "device-code-wrong": true, "device-confirm": true,
		"device-confirm-nothing": true, "done-allowed": true, "done-denied": true,
	}
	for name, page := range samples() {
		w := httptest.NewRecorder()
		for _, key := range []string{"Content-Security-Policy", "Referrer-Policy", "Cross-Origin-Opener-Policy"} {
			w.Header().Set(key, "what the middleware says")
		}
		if err := renderer(t).Write(w, 418, language.German, page); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"Content-Type": "text/html; charset=utf-8", "Content-Language": "de", "Cache-Control": "no-store",
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin",
			"Cross-Origin-Opener-Policy": "",
		}
		if own[name] {
			want["Cross-Origin-Opener-Policy"] = "same-origin"
		}
		if name == "form-post" {
			want["Referrer-Policy"] = "strict-origin"
		}
		for key, value := range want {
			if got := w.Header().Get(key); got != value {
				t.Errorf("%s: %s is %q, want %q", name, key, got, value)
			}
		}
		if w.Code != 418 {
			t.Errorf("%s: status %d", name, w.Code)
		}
	}
}
