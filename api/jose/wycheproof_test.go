package jose

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"os"
	"testing"
)

type wycheproofGroup struct {
	Comment string
	// Public is missing where the key is symmetric.
	Public, Private json.RawMessage
	Tests           []struct {
		TcID    int
		Comment string
		JWS     json.RawMessage // a text, or an object in JSON serialization
		Result  string
	}
}

func wycheproof(t *testing.T) []wycheproofGroup {
	t.Helper()
	data, err := os.ReadFile("testdata/wycheproof_json_web_signature_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		NumberOfTests int
		TestGroups    []wycheproofGroup
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range file.TestGroups {
		n += len(g.Tests)
	}
	if n != 401 || n != file.NumberOfTests {
		t.Fatalf("the file has %d tests, want 401", n)
	}
	return file.TestGroups
}

// algOf is the algorithm of the group's key.
func (g wycheproofGroup) algOf() string {
	var key struct{ Alg, Kty string }
	for _, raw := range []json.RawMessage{g.Private, g.Public} {
		_ = json.Unmarshal(raw, &key)
	}
	if key.Alg == "" {
		return key.Kty + " without alg"
	}
	return key.Alg
}

func jwsText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return string(raw)
	}
	return text
}

func verifyText(key PublicKey, text string) error {
	t, err := parseJWS(text)
	if err != nil {
		return err
	}
	_, err = key.verify(t, nil)
	return err
}

// All 401 vectors. Every invalid one is refused, and every valid one of ES256 and
// RS256 verifies (the file has none of EdDSA). The only divergence is deliberate:
// 36 valid vectors are refused because nothing here is signed with their
// algorithm, and a verifier that knows fewer algorithms is confused by fewer.
func TestWycheproof(t *testing.T) {
	type outcome struct{ alg, result string }
	refused, accepted := map[outcome]int{}, map[outcome]int{}
	for _, g := range wycheproof(t) {
		jwk := g.Public
		if jwk == nil {
			jwk = g.Private
		}
		key, keyErr := ParseJWK(jwk)
		for _, tc := range g.Tests {
			err := keyErr
			if err == nil {
				err = verifyText(key, jwsText(tc.JWS))
			}
			switch o := (outcome{g.algOf(), tc.Result}); {
			case err != nil:
				refused[o]++
			case tc.Result != "valid":
				t.Errorf("%s %d (%s): accepted", g.Comment, tc.TcID, tc.Comment)
			default:
				accepted[o]++
			}
		}
	}
	if want := (map[outcome]int{{"ES256", "valid"}: 2, {"RS256", "valid"}: 8}); !maps.Equal(accepted, want) {
		t.Errorf("accepted %v, want %v", accepted, want)
	}
	want := map[outcome]int{
		{"ES256", "invalid"}: 37, {"RS256", "invalid"}: 225,
		{"EC without alg", "invalid"}: 2, {"RSA without alg", "invalid"}: 2, // use or key_ops forbid it
		{"PS256", "invalid"}: 42, {"PS384", "invalid"}: 1, {"PS512", "invalid"}: 16, {"HS256", "invalid"}: 30,
		// The 36 divergences.
		{"HS256", "valid"}: 10, {"RS384", "valid"}: 4, {"RS512", "valid"}: 4,
		{"PS256", "valid"}: 8, {"PS384", "valid"}: 4, {"PS512", "valid"}: 4,
		{"ES521", "valid"}: 2, // the file's name for ES512
	}
	if !maps.Equal(refused, want) {
		t.Errorf("refused %v, want %v", refused, want)
	}
}

// hmacText verifies HS256 as no code here does, to see what the parser lets pass.
func hmacText(key []byte, text string) error {
	t, err := parseJWS(text)
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(t.input))
	if t.header.alg != "HS256" || !hmac.Equal(mac.Sum(nil), t.signature) {
		return ErrInvalid
	}
	_, err = decode(t.payload)
	return err
}

// The vectors on encoding have HS256 keys, which TestWycheproof refuses outright.
// Here they meet the parser, with the MAC computed by the test.
func TestWycheproofEncoding(t *testing.T) {
	diverges := map[int]string{
		367: "labeled invalid, but it is the text of 357, which is valid",
		370: "labeled invalid, but it is the text of 357, which is valid",
		372: "labeled valid, but has a ? inside base64url",
		373: "labeled valid, but has a ? inside base64url",
	}
	seen := 0
	for _, g := range wycheproof(t) {
		if g.algOf() != "HS256" {
			continue
		}
		var jwk struct{ K string }
		if err := json.Unmarshal(g.Private, &jwk); err != nil {
			t.Fatal(err)
		}
		key, err := decode(jwk.K)
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range g.Tests {
			seen++
			ok := hmacText(key, jwsText(tc.JWS)) == nil
			if _, deliberate := diverges[tc.TcID]; ok != (tc.Result == "valid") != deliberate {
				t.Errorf("%s %d (%s): accepted %v, labeled %s", g.Comment, tc.TcID, tc.Comment, ok, tc.Result)
			}
		}
	}
	if seen != 40 {
		t.Errorf("%d vectors, want 40", seen)
	}
}
