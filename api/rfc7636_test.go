package api_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
)

var alice = map[string]string{"username": "alice", "password": "wonderland"}

func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// TestCodeVerifier is RFC 7636 §4.1 and §4.6.
func TestCodeVerifier(t *testing.T) {
	t.Parallel()
	r := single(t)
	for _, test := range []struct{ name, verifier, code string }{
		{"42 characters", strings.Repeat("a", 42), "invalid_request"},
		{"43", strings.Repeat("a", 43), ""},
		{"128", strings.Repeat("a", 128), ""},
		{"129", strings.Repeat("a", 129), "invalid_request"},
		{"every unreserved character", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~", ""},
		{"a reserved character", strings.Repeat("a", 42) + "+", "invalid_request"},
		{"not ASCII", strings.Repeat("a", 42) + "é", "invalid_request"},
		{"with padding", strings.Repeat("a", 43) + "=", "invalid_request"},
	} {
		t.Run(test.name, func(t *testing.T) {
			q := apitest.CodeQuery(apitest.DemoSPA.ID, "read")
			q.Set("code_challenge", s256(test.verifier))
			code := apitest.CodeOf(t, r.JSON(t, loginPath+"?"+q.Encode(), alice))
			a := r.Token(t, apitest.DemoSPA, exchange(code, "code_verifier", test.verifier)...)
			if test.code != "" {
				wantError(t, a, http.StatusBadRequest, test.code)
				return
			}
			wantOK(t, a)
		})
	}
}

// TestCodeChallenge is RFC 7636 §4.3 and §4.4.1, and the downgrades of RFC 9700
// §2.1.1: a challenge is asked of public clients, and only S256 is one.
func TestCodeChallenge(t *testing.T) {
	t.Parallel()
	r := single(t)
	strict := register(t, r, map[string]any{"require_pkce": true})
	for _, test := range []struct {
		name              string
		client            apitest.Client
		challenge, method string
		status            int
	}{
		{"S256", apitest.DemoSPA, apitest.Challenge, "S256", 200},
		{"no challenge, public client", apitest.DemoSPA, "", "", 400},
		{"no challenge, client that requires it", strict, "", "", 400},
		{"no challenge, confidential client", apitest.DemoWeb, "", "", 200},
		{"an empty challenge", apitest.DemoWeb, "", "S256", 400},
		{"no method, which is plain", apitest.DemoSPA, apitest.Challenge, "", 400},
		{"plain", apitest.DemoSPA, apitest.Verifier, "plain", 400},
		{"S256 in another case", apitest.DemoSPA, apitest.Challenge, "s256", 400},
		{"an unknown method", apitest.DemoWeb, apitest.Challenge, "S512", 400},
		{"too short", apitest.DemoSPA, apitest.Challenge[1:], "S256", 400},
		{"too long", apitest.DemoSPA, apitest.Challenge + "A", "S256", 400},
		{"padded", apitest.DemoSPA, apitest.Challenge + "=", "S256", 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			q := apitest.CodeQuery(test.client.ID, "read")
			q.Set("code_challenge", test.challenge)
			q.Set("code_challenge_method", test.method)
			for _, path := range []string{loginPath, registerPath} {
				if path == registerPath && test.status == http.StatusOK {
					continue
				}
				a := r.JSON(t, path+"?"+q.Encode(), alice)
				if test.status != http.StatusOK {
					wantLoginError(t, a, test.status, "0")
				} else if a.Status != test.status {
					t.Errorf("%s: %d %s", path, a.Status, a.Body)
				}
			}
		})
	}
}

// TestVerifierWithoutChallenge is the other half of "present iff": a verifier
// for a code that had no challenge is refused (RFC 9700 §4.8.2), so that a
// challenge that was taken out on the way is noticed.
func TestVerifierWithoutChallenge(t *testing.T) {
	t.Parallel()
	r := single(t)
	q := apitest.CodeQuery(apitest.DemoWeb.ID, "read")
	q.Del("code_challenge")
	q.Del("code_challenge_method")
	code := apitest.CodeOf(t, r.JSON(t, loginPath+"?"+q.Encode(), alice))
	wantError(t, r.Token(t, apitest.DemoWeb, exchange(code)...), http.StatusBadRequest, "invalid_grant")
	wantOK(t, r.Token(t, apitest.DemoWeb, exchange(code, "code_verifier", "")...))
}
