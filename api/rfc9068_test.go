package api_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
)

// A jwk is a public key as RFC 7518 §6 and RFC 8037 §2 have it.
type jwk struct{ Kty, Kid, Use, Alg, Crv, X, Y, N, E, D, P, Q, K string }

func publishedKeys(t testing.TB, r *apitest.Replica) map[string]jwk {
	t.Helper()
	a := wantOK(t, request{method: http.MethodGet, path: "/oauth2/jwks"}.send(t, r.URL))
	var set struct{ Keys []jwk }
	if err := json.Unmarshal(a.Body, &set); err != nil {
		t.Fatal(err)
	}
	keys := map[string]jwk{}
	for _, k := range set.Keys {
		if _, twice := keys[k.Kid]; twice || k.Use != "sig" || k.D+k.P+k.Q+k.K != "" {
			t.Errorf("key %+v", k)
		}
		keys[k.Kid] = k
	}
	return keys
}

func decoded(t testing.TB, text string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// verified reports whether a published key signed the token, by the standard
// library alone.
func verified(t testing.TB, k jwk, token string) bool {
	t.Helper()
	cut := strings.LastIndexByte(token, '.')
	input, signature := token[:cut], decoded(t, token[cut+1:])
	digest := sha256.Sum256([]byte(input))
	switch k.Alg {
	case "ES256":
		point := slices.Concat([]byte{4}, decoded(t, k.X), decoded(t, k.Y))
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		half := len(signature) / 2
		return err == nil && ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:]))
	case "RS256":
		e := new(big.Int).SetBytes(decoded(t, k.E))
		key := rsa.PublicKey{N: new(big.Int).SetBytes(decoded(t, k.N)), E: int(e.Int64())}
		return rsa.VerifyPKCS1v15(&key, crypto.SHA256, digest[:], signature) == nil
	case "EdDSA":
		return ed25519.Verify(decoded(t, k.X), []byte(input), signature)
	}
	return false
}

// TestAccessTokenProfile is RFC 9068 §2, for every algorithm.
func TestAccessTokenProfile(t *testing.T) {
	t.Parallel()
	algs := []string{"ES256", "RS256", "EdDSA"}
	r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) { patient(s); s.SigningAlgorithms = algs }})
	keys := publishedKeys(t, r)
	for _, alg := range append(algs, "") {
		t.Run("alg "+alg, func(t *testing.T) {
			c := register(t, r, map[string]any{"access_token_signing_alg": alg, "audience": []string{api1}})
			token := wantOK(t, r.Exchange(t, c, r.Login(t, c, "read"))).Text("access_token")
			parts := strings.Split(token, ".")
			var header map[string]any
			decodeJSON(t, parts[0], &header)
			claims := apitest.Claims(t, token)
			if header["typ"] != "at+jwt" || header["alg"] != or(alg, "ES256") {
				t.Errorf("header %v", header)
			}
			if kid, _ := header["kid"].(string); !verified(t, keys[kid], token) {
				t.Errorf("key %s of the published ones did not sign it", kid)
			}
			for name, want := range map[string]any{"iss": apitest.Issuer, "client_id": c.ID, "scope": "read"} {
				if claims[name] != want {
					t.Errorf("%s = %v, want %v", name, claims[name], want)
				}
			}
			for _, name := range []string{"exp", "iat", "jti", "sub", "auth_time"} {
				if claims[name] == nil || claims[name] == "" {
					t.Errorf("no %s", name)
				}
			}
			if aud, _ := claims["aud"].([]any); len(aud) != 1 || aud[0] != api1 {
				t.Errorf("aud = %v", claims["aud"])
			}
			if claims["exp"].(float64)-claims["iat"].(float64) != 3600 {
				t.Errorf("lives from %v to %v", claims["iat"], claims["exp"])
			}
		})
	}
}

// TestSubjectOfAClient is RFC 9068 §5 and RFC 9700 §4.15: a client cannot get
// a sub that is, or could be, a user's.
func TestSubjectOfAClient(t *testing.T) {
	t.Parallel()
	r := single(t)
	a := wantOK(t, r.Post(t, introspectPath, apitest.DemoService, "token", r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")))
	for _, id := range []string{a.Text("sub"), strings.ToUpper(a.Text("sub")), "123e4567-e89b-12d3-a456-426614174000"} {
		answer := r.Admin(t, http.MethodPost, "/clients", map[string]any{"client_id": id, "grant_types": []string{"client_credentials"}})
		wantError(t, answer, http.StatusBadRequest, "invalid_request")
	}
	own := wantOK(t, r.Token(t, apitest.DemoService, "grant_type", "client_credentials"))
	claims := apitest.Claims(t, own.Text("access_token"))
	if claims["sub"] != "demo-service" || claims["client_id"] != "demo-service" || claims["auth_time"] != nil || claims["grant"] != nil {
		t.Errorf("claims %v", claims)
	}
}

// TestJWKSIsPublic keeps everything but public keys out, and lets it be cached.
func TestJWKSIsPublic(t *testing.T) {
	t.Parallel()
	r := single(t)
	a := wantOK(t, request{method: http.MethodGet, path: "/oauth2/jwks"}.send(t, r.URL))
	if !strings.Contains(a.Header.Get("Cache-Control"), "max-age=") || a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", a.Header)
	}
	if len(publishedKeys(t, r)) != 1 || bytes.Contains(a.Body, []byte("mac")) {
		t.Errorf("keys %s", a.Body)
	}
}
