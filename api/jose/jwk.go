package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
)

// A JWK is a public key for the world (RFC 7517, RFC 7518 §6, RFC 8037 §2).
// Binary members are base64url.
type JWK struct {
	Kty string `json:"kty"`
	Kid string `json:"kid"`
	Use string `json:"use"`
	Alg string `json:"alg"`
	Crv string `json:"crv,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
	N   string `json:"n,omitempty"`
	E   string `json:"e,omitempty"`
}

// JWK gives the key's public form.
func (k PublicKey) JWK() JWK {
	j := JWK{Kid: k.ID, Use: "sig", Alg: string(k.Alg)}
	switch key := k.key.(type) {
	case *ecdsa.PublicKey:
		point, _ := key.Bytes() // no error: newPublicKey saw the curve
		j.Kty, j.Crv, j.X, j.Y = "EC", "P-256", encode(point[1:33]), encode(point[33:])
	case *rsa.PublicKey:
		j.Kty, j.N, j.E = "RSA", encode(key.N.Bytes()), encode(big.NewInt(int64(key.E)).Bytes())
	case ed25519.PublicKey:
		j.Kty, j.Crv, j.X = "OKP", "Ed25519", encode(key)
	}
	return j
}

// HexJWK is JWK with an RSA key's n and e in hexadecimal, as the Login API has
// them.
func (k PublicKey) HexJWK() JWK {
	j := k.JWK()
	if key, ok := k.key.(*rsa.PublicKey); ok {
		j.N, j.E = key.N.Text(16), strconv.FormatInt(int64(key.E), 16)
	}
	return j
}

// Thumbprint is the key's SHA-256 thumbprint in base64url (RFC 7638 §3, RFC
// 8037 §2).
func (k PublicKey) Thumbprint() string {
	j := k.JWK()
	required := map[string]string{"kty": j.Kty}
	for name, value := range map[string]string{"crv": j.Crv, "x": j.X, "y": j.Y, "n": j.N, "e": j.E} {
		if value != "" {
			required[name] = value
		}
	}
	b, _ := json.Marshal(required) // sorted, without spaces: the canonical form
	sum := sha256.Sum256(b)
	return encode(sum[:])
}

// MarshalJWKS is the JWK Set (RFC 7517 §5) of keys, in their order.
func MarshalJWKS(keys []PublicKey) ([]byte, error) {
	set := struct {
		Keys []JWK `json:"keys"`
	}{Keys: make([]JWK, 0, len(keys))}
	for _, k := range keys {
		set.Keys = append(set.Keys, k.JWK())
	}
	return json.Marshal(set)
}

// ParseJWK reads a public key that may verify signatures: alg is required, use
// and key_ops must allow it (RFC 7517 §4.2, §4.3), and private or symmetric key
// material is refused.
func ParseJWK(data []byte) (PublicKey, error) {
	m, err := parseObject(data)
	if err != nil {
		return PublicKey{}, fmt.Errorf("parsing a JWK: %w", err)
	}
	k, err := m.publicKey()
	if err != nil {
		return PublicKey{}, fmt.Errorf("parsing a JWK: %w", err)
	}
	return k, nil
}

func (m object) publicKey() (PublicKey, error) {
	for _, private := range [...]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if _, ok := m[private]; ok {
			return PublicKey{}, errors.New("it holds a private key")
		}
	}
	var kid, alg, use string
	var ops []string
	err := errors.Join(m.get("kid", &kid), m.get("alg", &alg), m.get("use", &use), m.get("key_ops", &ops))
	if err != nil {
		return PublicKey{}, err
	}
	if m["use"] != nil && use != "sig" || m["key_ops"] != nil && !slices.Contains(ops, "verify") {
		return PublicKey{}, errors.New("it is not for verifying signatures")
	}
	a, err := ParseAlg(alg)
	if err != nil {
		return PublicKey{}, err
	}
	key, err := m.keyMaterial()
	if err != nil {
		return PublicKey{}, err
	}
	k, err := newPublicKey(a, key)
	k.ID = kid
	return k, err
}

func (m object) keyMaterial() (crypto.PublicKey, error) {
	var kty, crv string
	if err := errors.Join(m.get("kty", &kty), m.get("crv", &crv)); err != nil {
		return nil, err
	}
	switch {
	case kty == "EC" && crv == "P-256":
		x, errX := m.binary("x", 32)
		y, errY := m.binary("y", 32)
		if err := errors.Join(errX, errY); err != nil {
			return nil, err
		}
		point := slices.Concat([]byte{4}, x, y)
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	case kty == "OKP" && crv == "Ed25519":
		x, err := m.binary("x", ed25519.PublicKeySize)
		return ed25519.PublicKey(x), err
	case kty == "RSA":
		return m.rsaKey()
	}
	return nil, errors.New("unknown kty or crv")
}

func (m object) rsaKey() (crypto.PublicKey, error) {
	n, errN := m.binary("n", 0)
	e, errE := m.binary("e", 0)
	if err := errors.Join(errN, errE); err != nil {
		return nil, err
	}
	exponent := new(big.Int).SetBytes(e)
	if exponent.BitLen() > 31 {
		return nil, errors.New("e is over 31 bits")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}, nil
}

// binary reads a base64url member of size bytes, or of any when size is 0.
func (m object) binary(name string, size int) ([]byte, error) {
	var text string
	if err := m.get(name, &text); err != nil {
		return nil, err
	}
	b, err := decode(text)
	if err != nil || len(b) == 0 || size != 0 && len(b) != size {
		return nil, fmt.Errorf("member %s is malformed", name)
	}
	return b, nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// decode reads base64url without padding whose spare bits are zero, so that one
// value has one text. The caller keeps line breaks out, which Go's decoder skips.
func decode(s string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(s) }
