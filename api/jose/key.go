// Package jose signs and verifies access tokens, RFC 9068 JWTs under ES256,
// RS256 or EdDSA, and signs ID tokens. It is the only package that imports
// golang-jwt, which does the cryptography but for what own.go has; everything around
// it is stricter than the library, because the only tokens to accept are those this
// authority made.
package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"

	"github.com/golang-jwt/jwt/v5"
)

// An Alg is a JWS algorithm (RFC 7518 §3.1, RFC 8037 §3.1).
type Alg string

// The algorithms. All are asymmetric: no verifier can sign, and a public key
// can never be taken for a shared one.
const (
	ES256 Alg = "ES256" // P-256; the default
	RS256 Alg = "RS256" // 2048 bits; signing is 20 times slower
	EdDSA Alg = "EdDSA" // Ed25519
)

// Algs are all algorithms, the default first.
func Algs() []Alg { return []Alg{ES256, RS256, EdDSA} }

// ParseAlg reads the name of an algorithm. Case matters (RFC 7515 §4.1.1).
func ParseAlg(name string) (Alg, error) {
	for _, a := range Algs() {
		if string(a) == name {
			return a, nil
		}
	}
	return "", fmt.Errorf("signing algorithm %.20q: want ES256, RS256 or EdDSA", name)
}

func (a Alg) method() jwt.SigningMethod {
	switch a {
	case ES256:
		return jwt.SigningMethodES256
	case RS256:
		return jwt.SigningMethodRS256
	case EdDSA:
		return jwt.SigningMethodEdDSA
	}
	return nil
}

// rsaBits is what new RSA keys have. 3072 would cost three times the 1 ms that
// a signature takes; whoever wants more strength takes ES256.
const rsaBits = 2048

// A PublicKey verifies signatures of one algorithm.
type PublicKey struct {
	// ID is the kid. New keys have their thumbprint for it.
	ID  string
	Alg Alg
	key crypto.PublicKey
}

// A SigningKey signs under one algorithm. It never prints its private part.
type SigningKey struct {
	public  PublicKey
	private crypto.Signer
}

// Public is the part that verifies.
func (k SigningKey) Public() PublicKey { return k.public }

// Format keeps the private part out of whatever the key is printed to.
func (k SigningKey) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "signing key "+k.public.ID+" REDACTED")
}

// GenerateKey makes a key, whose id is its thumbprint (RFC 7638).
func GenerateKey(a Alg) (SigningKey, error) {
	for {
		private, err := generate(a)
		if err != nil {
			return SigningKey{}, fmt.Errorf("generating an %s key: %w", a, err)
		}
		k, err := newSigningKey(a, private)
		// An id that looks like a flag is a nuisance on every command line.
		if err != nil || k.public.ID[0] != '-' {
			return k, err
		}
	}
}

func generate(a Alg) (crypto.Signer, error) {
	switch a {
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RS256:
		return rsa.GenerateKey(rand.Reader, rsaBits)
	case EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return nil, errors.New("unknown algorithm")
}

// Marshal is the private key in PKCS #8, DER. It is a secret.
func (k SigningKey) Marshal() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("marshaling signing key %s: %w", k.public.ID, err)
	}
	return der, nil
}

// ParseSigningKey reads what Marshal gave for a key of algorithm a.
func ParseSigningKey(a Alg, der []byte) (SigningKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return SigningKey{}, errors.New("parsing a signing key: not PKCS #8")
	}
	private, ok := key.(crypto.Signer)
	if !ok {
		return SigningKey{}, errors.New("parsing a signing key: it cannot sign")
	}
	return newSigningKey(a, private)
}

func newSigningKey(a Alg, private crypto.Signer) (SigningKey, error) {
	public, err := newPublicKey(a, private.Public())
	if err != nil {
		return SigningKey{}, err
	}
	public.ID = public.Thumbprint()
	return SigningKey{public: public, private: private}, nil
}

// newPublicKey makes sure that key is one that a is used with.
func newPublicKey(a Alg, key crypto.PublicKey) (PublicKey, error) {
	var err error
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if a != ES256 || k.Curve != elliptic.P256() {
			err = errors.New("not a P-256 key for ES256")
		}
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); a != RS256 || bits < 2048 || bits > 8192 || k.E < 3 || k.E%2 == 0 {
			err = errors.New("not an RSA key of 2048 to 8192 bits for RS256")
		}
	case ed25519.PublicKey:
		if a != EdDSA || len(k) != ed25519.PublicKeySize {
			err = errors.New("not an Ed25519 key for EdDSA")
		}
	default:
		err = errors.New("unknown kind of key")
	}
	if err != nil {
		return PublicKey{}, fmt.Errorf("key of algorithm %.20q: %w", string(a), err)
	}
	return PublicKey{Alg: a, key: key}, nil
}
