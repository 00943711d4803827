package api_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/secret"
)

// openVault reads what the realm keeps sealed, by its records' names: keys that
// only a replica with the key-encryption key can have.
func openVault(t testing.TB, nc *nats.Conn) map[string][]byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(ctx, "MAIN_SECRETS")
	if err != nil {
		t.Fatal(err)
	}
	names, err := kv.Keys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := secret.ParseRing(secret.New(apitest.KeyRing))
	if err != nil {
		t.Fatal(err)
	}
	sealer, opened := ring.Sealer("key-material"), map[string][]byte{}
	for _, name := range names {
		entry, err := kv.Get(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if opened[name], err = sealer.Open(entry.Value(), []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	return opened
}

// A forger has the signing key of a realm and makes tokens as it likes.
type forger struct {
	key    *ecdsa.PrivateKey
	header map[string]any
	claims map[string]any
}

// newForger takes its pattern from a real token.
func newForger(t testing.TB, nc *nats.Conn, token string) forger {
	t.Helper()
	f := forger{claims: apitest.Claims(t, token)}
	decodeJSON(t, strings.Split(token, ".")[0], &f.header)
	kid, _ := f.header["kid"].(string)
	parsed, err := x509.ParsePKCS8PrivateKey(openVault(t, nc)["sig."+kid])
	if err != nil {
		t.Fatal(err)
	}
	f.key, _ = parsed.(*ecdsa.PrivateKey)
	return f
}

func decodeJSON(t testing.TB, part string, v any) {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func encodeJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// with is the pattern with members replaced; nil takes one out.
func with(pattern, changes map[string]any) map[string]any {
	changed := maps.Clone(pattern)
	for name, value := range changes {
		changed[name] = value
		if value == nil {
			delete(changed, name)
		}
	}
	return changed
}

// sign makes a token with a signature of the realm's own key, whatever its
// header says.
func (f forger) sign(t testing.TB, header, claims map[string]any) string {
	t.Helper()
	input := encodeJSON(t, with(f.header, header)) + "." + encodeJSON(t, with(f.claims, claims))
	return input + "." + base64.RawURLEncoding.EncodeToString(ecdsaSign(t, f.key, input))
}

func ecdsaSign(t testing.TB, key *ecdsa.PrivateKey, input string) []byte {
	t.Helper()
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signature
}

// mac makes a token whose signature is an HMAC, with what the world knows of
// the public key for a key.
func (f forger) mac(t testing.TB, key []byte) string {
	t.Helper()
	input := encodeJSON(t, with(f.header, map[string]any{"alg": "HS256"})) + "." + encodeJSON(t, f.claims)
	h := hmac.New(sha256.New, key)
	h.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// publicForms are the public key in the forms that it is passed around in.
func (f forger) publicForms(t testing.TB) map[string][]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(crypto.PublicKey(&f.key.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	point, err := f.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	pem := "-----BEGIN PUBLIC KEY-----\n" + base64.StdEncoding.EncodeToString(der) + "\n-----END PUBLIC KEY-----\n"
	return map[string][]byte{"DER": der, "PEM": []byte(pem), "point": point}
}
