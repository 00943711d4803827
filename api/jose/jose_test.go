package jose

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events"
)

const testIssuer = "https://as.example"

var testNow = time.Unix(1_800_000_000, 0)

// testKeys are generated once for all tests: RSA takes its time.
var testKeys = sync.OnceValues(func() (map[Alg]SigningKey, error) {
	keys := map[Alg]SigningKey{}
	for _, a := range Algs() {
		k, err := GenerateKey(a)
		if err != nil {
			return nil, err
		}
		keys[a] = k
	}
	return keys, nil
})

func testKey(tb testing.TB, a Alg) SigningKey {
	tb.Helper()
	keys, err := testKeys()
	if err != nil {
		tb.Fatal(err)
	}
	return keys[a]
}

func testVerifier(tb testing.TB, keys ...SigningKey) *Verifier {
	tb.Helper()
	v, err := NewOwnVerifier(testIssuer, keys)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func testClaims() Claims {
	return Claims{
		Issuer: testIssuer, Subject: "4c0f6b4e", Audience: []string{"https://api.example"},
		Expires: testNow.Unix() + 300, IssuedAt: testNow.Unix(), JTI: "jti-1", ClientID: "demo-web",
		Scope: Scope{"read", "write"}, AuthTime: testNow.Unix() - 10, AMR: []string{"pwd"},
		Grant: events.NewGrantID(2, [16]byte{15: 1}), Partition: 2, ClientEpoch: 3, UserEpoch: 4,
		Extra: map[string]any{"username": "alice <&>", "groups": []any{"a"}},
	}
}

func sign(tb testing.TB, k SigningKey, c Claims) string {
	tb.Helper()
	text, err := Sign(k, c)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// forge signs any header and payload, as a broken or hostile issuer with the
// right key would.
func forge(tb testing.TB, k SigningKey, header, payload string) string {
	tb.Helper()
	input := encode([]byte(header)) + "." + encode([]byte(payload))
	signature, err := k.public.Alg.method().Sign(input, k.private)
	if err != nil {
		tb.Fatal(err)
	}
	return input + "." + encode(signature)
}

// split gives the header and payload of a token as JSON text.
func split(tb testing.TB, text string) (header, payload string) {
	tb.Helper()
	parts := strings.Split(text, ".")
	h, errH := decode(parts[0])
	p, errP := decode(parts[1])
	if err := errors.Join(errH, errP); err != nil {
		tb.Fatal(err)
	}
	return string(h), string(p)
}

// members decodes a JSON object.
func members(tb testing.TB, text string) map[string]any {
	tb.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		tb.Fatal(err)
	}
	return m
}

func wantInvalid(t *testing.T, v *Verifier, text, what string) {
	t.Helper()
	c, err := v.Verify(text, testNow)
	if !errors.Is(err, ErrInvalid) {
		t.Errorf("%s: got %v, want ErrInvalid", what, err)
	}
	if c.JTI != "" || c.Subject != "" {
		t.Errorf("%s: got claims with the error", what)
	}
}
