package jose

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/events"
)

func testIDClaims() IDClaims {
	return IDClaims{
		Issuer: testIssuer, Subject: "4c0f6b4e", ClientID: "demo-web", Expires: testNow.Unix() + 300, IssuedAt: testNow.Unix(),
		AuthTime: testNow.Unix() - 10, AccessToken: "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y",
	}
}

func signID(t *testing.T, k SigningKey, c IDClaims) string {
	t.Helper()
	text, err := SignIDToken(k, c)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestIDToken has exactly the claims it was made with. The hash of the access
// token is that of OIDC Core's appendix A.3; EdDSA's is by SHA-512.
func TestIDToken(t *testing.T) {
	hash := map[Alg]string{
		ES256: "77QmUPtjPfzWtF2AnpK9RQ", RS256: "77QmUPtjPfzWtF2AnpK9RQ",
		EdDSA: "q7nS86GgvvFaZkzALLWqJYaJIKw2wCDAVfCAsm5CrBM",
	}
	for _, a := range Algs() {
		k := testKey(t, a)
		least := map[string]any{
			"iss": testIssuer, "sub": "4c0f6b4e", "aud": "demo-web", "exp": 1_800_000_300.0, "iat": 1_800_000_000.0,
			"auth_time": 1_799_999_990.0, "at_hash": hash[a],
		}
		header, payload := split(t, signID(t, k, testIDClaims()))
		if got := members(t, payload); !reflect.DeepEqual(got, least) {
			t.Errorf("%s: claims %v, want %v", a, got, least)
		}
		if h := members(t, header); h["typ"] != "JWT" || h["alg"] != string(a) || h["kid"] != k.Public().ID || len(h) != 3 {
			t.Errorf("%s: header %v", a, h)
		}
		all := testIDClaims()
		all.Nonce, all.ACR, all.AMR, all.Session = "n", "silver", []string{"pwd"}, events.NewGrantID(2, [16]byte{15: 1})
		_, payload = split(t, signID(t, k, all))
		got := members(t, payload)
		for name, want := range map[string]any{"nonce": "n", "acr": "silver", "amr": []any{"pwd"}, "sid": all.Session.String()} {
			if !reflect.DeepEqual(got[name], want) {
				t.Errorf("%s: %s = %v, want %v", a, name, got[name], want)
			}
			delete(got, name)
		}
		if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(least))) {
			t.Errorf("%s: further claims %v", a, got)
		}
	}
}

// TestIDTokenIsNoAccessToken, not even with all of one's claims.
func TestIDTokenIsNoAccessToken(t *testing.T) {
	k := testKey(t, ES256)
	v := testVerifier(t, k)
	wantInvalid(t, v, signID(t, k, testIDClaims()), "an ID token")
	header, _ := split(t, signID(t, k, testIDClaims()))
	access := sign(t, k, testClaims())
	_, payload := split(t, access)
	wantInvalid(t, v, forge(t, k, header, payload), "an access token under an ID token's header")
	if head, _ := split(t, access); members(t, head)["typ"] == members(t, header)["typ"] {
		t.Error("both have one typ")
	}
	if _, err := v.Verify(access, testNow); err != nil {
		t.Error(err)
	}
}

// TestVerifyIDToken reads what was signed, also after its end, and nothing else.
func TestVerifyIDToken(t *testing.T) {
	k, other := testKey(t, EdDSA), testKey(t, ES256)
	v := testVerifier(t, k)
	c := testIDClaims()
	c.Nonce, c.ACR, c.AMR, c.Session = "n", "silver", []string{"pwd"}, events.NewGrantID(2, [16]byte{15: 1})
	c.IssuedAt, c.Expires = 1000, 2000
	text := signID(t, k, c)
	want := c
	want.AccessToken = ""
	if got, err := v.VerifyIDToken(text); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	foreign, bare := c, c
	foreign.Issuer = "https://evil.example"
	bare.Session = events.SessionID{}
	header, payload := split(t, text)
	for name, text := range map[string]string{
		"an access token":    sign(t, k, testClaims()),
		"a logout token":     forge(t, k, strings.Replace(header, `"JWT"`, `"logout+jwt"`, 1), payload),
		"another key":        signID(t, other, c),
		"another issuer":     signID(t, k, foreign),
		"damaged":            text[:len(text)-4],
		"no sub":             forge(t, k, header, strings.Replace(payload, `"sub"`, `"sab"`, 1)),
		"several audiences":  forge(t, k, header, strings.Replace(payload, `"demo-web"`, `["demo-web","x"]`, 1)),
		"no session's id":    forge(t, k, header, strings.Replace(payload, c.Session.String(), "x", 1)),
		"no object":          forge(t, k, header, `[]`),
		"nothing":            "",
		"the payload's text": payload,
	} {
		if got, err := v.VerifyIDToken(text); !errors.Is(err, ErrInvalid) || got.Subject != "" {
			t.Errorf("%s: got %+v, %v, want ErrInvalid", name, got, err)
		}
	}
	if got, err := v.VerifyIDToken(signID(t, k, bare)); err != nil || !got.Session.IsZero() {
		t.Errorf("without a session: %+v, %v", got, err)
	}
}

func TestIDTokenThatLacksSomething(t *testing.T) {
	for name, drop := range map[string]func(*IDClaims){
		"iss":          func(c *IDClaims) { c.Issuer = "" },
		"sub":          func(c *IDClaims) { c.Subject = "" },
		"aud":          func(c *IDClaims) { c.ClientID = "" },
		"access token": func(c *IDClaims) { c.AccessToken = "" },
	} {
		c := testIDClaims()
		drop(&c)
		if _, err := SignIDToken(testKey(t, ES256), c); err == nil {
			t.Errorf("signed without %s", name)
		}
	}
	if _, err := SignIDToken(SigningKey{}, testIDClaims()); err == nil {
		t.Error("signed without a key")
	}
}
