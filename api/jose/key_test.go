package jose

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/events"
)

// publicForms are the texts of a public key that could be mistaken for a shared
// secret.
func publicForms(tb testing.TB, k SigningKey) map[string][]byte {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.private.Public())
	if err != nil {
		tb.Fatal(err)
	}
	jwk, err := json.Marshal(k.Public().JWK())
	if err != nil {
		tb.Fatal(err)
	}
	return map[string][]byte{
		"DER":        der,
		"PEM":        pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"JWK":        jwk,
		"kid":        []byte(k.Public().ID),
		"no secret":  {},
		"PEM, no LF": []byte(strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))),
	}
}

func forgeHMAC(header, payload string, secret []byte) string {
	input := encode([]byte(header)) + "." + encode([]byte(payload))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + encode(mac.Sum(nil))
}

// RFC 7638 §3.1 and RFC 8037 appendix A.3.
func TestThumbprint(t *testing.T) {
	for want, jwk := range map[string]string{
		"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs": `{"kty":"RSA",
			"n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
			"e":"AQAB","alg":"RS256","kid":"2011-04-29"}`,
		"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k": `{"kty":"OKP","crv":"Ed25519","alg":"EdDSA",
			"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
	} {
		k, err := ParseJWK([]byte(jwk))
		if err != nil {
			t.Fatal(err)
		}
		if got := k.Thumbprint(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	for _, a := range Algs() {
		k := testKey(t, a)
		if id := k.Public().ID; id != k.Public().Thumbprint() || !events.ValidID(id) || id[0] == '-' {
			t.Errorf("%s: kid %s", a, id)
		}
		der, err := k.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSigningKey(a, der)
		if err != nil || !reflect.DeepEqual(again.Public(), k.Public()) {
			t.Errorf("%s: got %v, %v", a, again, err)
		}
		for _, other := range Algs() {
			if _, err := ParseSigningKey(other, der); (err == nil) != (other == a) {
				t.Errorf("%s key for %s: got %v", a, other, err)
			}
		}
		if _, err := ParseSigningKey(a, der[1:]); err == nil {
			t.Errorf("%s: broken key taken", a)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			if got, want := fmt.Sprintf(verb, k), "signing key "+k.Public().ID+" REDACTED"; got != want {
				t.Errorf("%s: got %s", verb, got)
			}
		}
	}
	if _, err := GenerateKey("HS256"); err == nil {
		t.Error("generated an HS256 key")
	}
}

func TestParseAlg(t *testing.T) {
	for _, a := range Algs() {
		if got, err := ParseAlg(string(a)); got != a || err != nil {
			t.Errorf("got %s, %v", got, err)
		}
	}
	for _, name := range []string{"", "none", "HS256", "es256", "PS256"} {
		if _, err := ParseAlg(name); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

func TestJWKS(t *testing.T) {
	var keys []PublicKey
	for _, a := range Algs() {
		keys = append(keys, testKey(t, a).Public())
	}
	b, err := MarshalJWKS(keys)
	if err != nil {
		t.Fatal(err)
	}
	for _, private := range []string{`"d"`, `"p"`, `"q"`, `"k"`, `"oth"`} {
		if strings.Contains(string(b), private) {
			t.Errorf("the set has %s", private)
		}
	}
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(b, &set); err != nil || len(set.Keys) != len(keys) {
		t.Fatalf("got %s, %v", b, err)
	}
	for i, raw := range set.Keys {
		if k, err := ParseJWK(raw); err != nil || !reflect.DeepEqual(k, keys[i]) {
			t.Errorf("%s: got %+v, %v", raw, k, err)
		}
	}
	if b, err := MarshalJWKS(nil); err != nil || string(b) != `{"keys":[]}` {
		t.Errorf("no keys: got %s, %v", b, err)
	}
}

func TestParseJWKRefuses(t *testing.T) {
	ec, rsa, okp := jwkMembers(t, ES256), jwkMembers(t, RS256), jwkMembers(t, EdDSA)
	for what, try := range map[string]struct {
		base    map[string]any
		changed map[string]any
	}{
		"use enc":          {ec, map[string]any{"use": "enc"}},
		"use empty":        {ec, map[string]any{"use": ""}},
		"key_ops sign":     {ec, map[string]any{"key_ops": []string{"sign"}}},
		"key_ops encrypt":  {rsa, map[string]any{"key_ops": []string{"encrypt"}}},
		"key_ops of none":  {rsa, map[string]any{"key_ops": []string{}}},
		"key_ops a text":   {rsa, map[string]any{"key_ops": "verify"}},
		"no alg":           {rsa, map[string]any{"alg": nil}},
		"alg none":         {rsa, map[string]any{"alg": "none"}},
		"alg HS256":        {rsa, map[string]any{"alg": "HS256"}},
		"alg of another":   {rsa, map[string]any{"alg": "ES256"}},
		"EC for RS256":     {ec, map[string]any{"alg": "RS256"}},
		"OKP for ES256":    {okp, map[string]any{"alg": "ES256"}},
		"symmetric":        {okp, map[string]any{"kty": "oct", "k": "AAAA"}},
		"private EC":       {ec, map[string]any{"d": "AAAA"}},
		"private RSA":      {rsa, map[string]any{"p": "AAAA"}},
		"kty":              {ec, map[string]any{"kty": "ec"}},
		"no kty":           {ec, map[string]any{"kty": nil}},
		"P-384":            {ec, map[string]any{"crv": "P-384"}},
		"X25519":           {okp, map[string]any{"crv": "X25519"}},
		"off the curve":    {ec, map[string]any{"y": ec["x"]}},
		"x too short":      {ec, map[string]any{"x": "AAAA"}},
		"no y":             {ec, map[string]any{"y": nil}},
		"x padded":         {okp, map[string]any{"x": okp["x"].(string) + "="}},
		"weak RSA":         {rsa, map[string]any{"n": rsa["n"].(string)[:170]}},
		"huge RSA":         {rsa, map[string]any{"n": strings.Repeat("_", 1400)}},
		"exponent 1":       {rsa, map[string]any{"e": "AQ"}},
		"even exponent":    {rsa, map[string]any{"e": "Ag"}},
		"huge exponent":    {rsa, map[string]any{"e": "AQAAAAAB"}},
		"exponent missing": {rsa, map[string]any{"e": nil}},
	} {
		m := map[string]any{}
		for _, from := range []map[string]any{try.base, try.changed} {
			for name, value := range from {
				m[name] = value
				if value == nil {
					delete(m, name)
				}
			}
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseJWK(b); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	for _, text := range []string{"", "[]", "null", `{"kty":"EC","kty":"EC"}`} {
		if _, err := ParseJWK([]byte(text)); err == nil {
			t.Errorf("%s: taken", text)
		}
	}
}

func jwkMembers(t *testing.T, a Alg) map[string]any {
	t.Helper()
	b, err := json.Marshal(testKey(t, a).Public().JWK())
	if err != nil {
		t.Fatal(err)
	}
	return members(t, string(b))
}

func TestNewVerifierRefuses(t *testing.T) {
	k := testKey(t, ES256).Public()
	if _, err := NewVerifier(testIssuer, []PublicKey{k, k}); err == nil {
		t.Error("the same kid twice was taken")
	}
	k.ID = ""
	if _, err := NewVerifier(testIssuer, []PublicKey{k}); err == nil {
		t.Error("a key without kid was taken")
	}
}
