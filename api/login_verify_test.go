package api_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
)

const validatePath = "/api/token/validate"

func keysPath(project string) string { return "/api/projects/" + project + "/keys" }

func validate(t testing.TB, r *apitest.Replica, token string) apitest.Answer {
	t.Helper()
	return r.JSON(t, validatePath+"?engine=unity&sdk=login", map[string]any{"token": token, "more": 1})
}

func wantValid(t testing.TB, a apitest.Answer) {
	t.Helper()
	if a.Status != http.StatusNoContent || len(a.Body) != 0 {
		t.Errorf("answer %d %s, want 204", a.Status, a.Body)
	}
	wantNoStore(t, a)
}

// TestValidate ends tokens in every way.
func TestValidate(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := exchanger(t, r, nil, nil)
	newToken := func() string { return r.Tokens(t, apitest.DemoWeb, "read").Text("access_token") }
	end := map[string]func(token string) (ended string){
		"revoked": func(token string) string { revoke(t, r, apitest.DemoWeb, token); return token },
		"its grant revoked": func(token string) string {
			wantOK(t, r.Admin(t, http.MethodPost, "/grants/"+r.GrantOf(t, token)+"/revoke", nil))
			return token
		},
		"made from a revoked one": func(token string) string {
			exchanged := wantOK(t, swap(t, r, c, token)).Text("access_token")
			wantValid(t, validate(t, r, exchanged))
			revoke(t, r, apitest.DemoWeb, token)
			return exchanged
		},
		"of a disabled client": func(string) string {
			asleep := register(t, r, map[string]any{"grant_types": []string{"client_credentials"}})
			token := own(t, r, asleep)
			wantValid(t, validate(t, r, token))
			wantOK(t, r.Admin(t, http.MethodPost, "/clients/"+asleep.ID+"/disable", nil))
			return token
		},
		"another signature": func(token string) string {
			return token[:strings.LastIndexByte(token, '.')+1] + strings.Repeat("A", 86)
		},
		"a refresh token":    func(string) string { return r.Tokens(t, apitest.DemoWeb, "offline").Text("refresh_token") },
		"no token of anyone": func(string) string { return "no.to.ken" },
	}
	for name, how := range end {
		t.Run(name, func(t *testing.T) {
			token := newToken()
			wantValid(t, validate(t, r, token))
			a := validate(t, r, how(token))
			wantLoginError(t, a, http.StatusUnprocessableEntity, "002-016")
		})
	}
}

// TestValidateRequests is what is wrong with the request.
func TestValidateRequests(t *testing.T) {
	t.Parallel()
	r := single(t)
	const jsonType = "application/json"
	for name, q := range map[string]request{
		"no token":             {contentType: jsonType, body: `{}`},
		"an empty token":       {contentType: jsonType, body: `{"token":""}`},
		"a number":             {contentType: jsonType, body: `{"token":1}`},
		"two tokens":           {contentType: jsonType, body: `{"token":"a","token":"b"}`},
		"a form":               {body: "token=a"},
		"a token in the query": {path: "?token=a", contentType: jsonType, body: `{"token":"a"}`},
	} {
		t.Run(name, func(t *testing.T) {
			q.path = validatePath + q.path
			wantLoginError(t, q.send(t, r.URL), http.StatusBadRequest, "0")
		})
	}
}

// TestProjectKeys verifies tokens as real verifiers do: by the first key, whatever
// the kid.
func TestProjectKeys(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) {
		patient(s)
		s.SigningAlgorithms = []string{"ES256", "RS256", "EdDSA"}
	}})
	for _, alg := range []string{"", "ES256", "RS256", "EdDSA"} {
		t.Run("alg "+alg, func(t *testing.T) {
			c := register(t, r, map[string]any{"grant_types": []string{"client_credentials"}, "access_token_signing_alg": alg})
			a := wantOK(t, request{method: http.MethodGet, path: keysPath(c.ID) + "?engine=unity"}.send(t, r.URL))
			var keys []jwk
			if err := json.Unmarshal(a.Body, &keys); err != nil || len(keys) != 3 {
				t.Fatalf("%v: %s", err, a.Body)
			}
			if got := a.Header.Get("Cache-Control"); got != "public, max-age=300" || a.Header.Get("Pragma") != "" {
				t.Errorf("Cache-Control %q, Pragma %q", got, a.Header.Get("Pragma"))
			}
			first := keys[0]
			if first.Alg != or(alg, "ES256") || first.Use != "sig" || first.Kty == "" || first.Kid == "" {
				t.Errorf("first key %+v", first)
			}
			if first.Kty == "RSA" {
				first.N, first.E = fromHex(t, first.N), fromHex(t, "0"+first.E)
			}
			if token := own(t, r, c); !verified(t, first, token) {
				t.Error("the first key does not verify")
			}
			for _, k := range keys {
				if k.D+k.P+k.Q+k.K != "" {
					t.Errorf("key %s has a private member", k.Kid)
				}
			}
		})
	}
	t.Run("no such project", func(t *testing.T) {
		registerAs(t, r, "asleep", map[string]any{})
		wantOK(t, r.Admin(t, http.MethodPost, "/clients/asleep/disable", nil))
		for _, id := range []string{"nobody", "asleep", "%3Cb%3E"} {
			wantLoginError(t, request{method: http.MethodGet, path: keysPath(id)}.send(t, r.URL), http.StatusNotFound, "003-019")
		}
	})
}

// fromHex gives base64url for hexadecimal.
func fromHex(t testing.TB, text string) string {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}
