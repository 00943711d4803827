package jose

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"fmt"
	"io"
	"math/big"

	"filippo.io/bigmod"
)

// The order n of the P-256 group, for each of the two libraries.
var (
	p256Order   = elliptic.P256().Params().N
	p256Modulus = must(bigmod.NewModulus(p256Order.Bytes()))
)

const p256Size = 32 // bytes of a scalar and of a coordinate

// An ownES256 verifies the ES256 signatures of a key whose private part d is at hand.
//
// (r, s) is a signature of the digest e if the point R = (e/s)·G + (r/s)·Q has an x that is r modulo n (FIPS 186-5
// §6.4.2). Q is d·G, and so R = (e/s + r·d/s)·G: one multiplication of the base point, for which crypto/ecdh has
// tables, and none of Q. It decides as crypto/ecdsa does, in a fifth of the time, which was more than half of an introspection.
//
// A caller may choose e, r and s, so nothing that depends on d may take a time that does: the scalar is computed by
// bigmod and multiplied by crypto/ecdh, which are made for that. What math/big does is about the token alone, and R is a
// point that anybody can compute from Q.
type ownES256 struct{ d *bigmod.Nat }

// Format keeps d out of whatever the verifier is printed to.
func (k *ownES256) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "signing key REDACTED") }

func newOwnES256(k *ecdsa.PrivateKey) (*ownES256, error) {
	d, err := k.Bytes()
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	nat, err := bigmod.NewNat().SetBytes(d, p256Modulus)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return &ownES256{d: nat}, nil
}

// verifies reports whether signature, r and s one after the other (RFC 7518 §3.4), is one of input.
func (k *ownES256) verifies(input string, signature []byte) bool {
	if len(signature) != 2*p256Size {
		return false
	}
	r := new(big.Int).SetBytes(signature[:p256Size])
	s := new(big.Int).SetBytes(signature[p256Size:])
	if r.Sign() == 0 || r.Cmp(p256Order) >= 0 || s.Sign() == 0 || s.Cmp(p256Order) >= 0 {
		return false
	}
	digest := sha256.Sum256([]byte(input))
	inverse := s.ModInverse(s, p256Order)
	u1 := new(big.Int).SetBytes(digest[:])
	u1.Mod(u1.Mul(u1, inverse), p256Order)
	u2 := new(big.Int).Mul(r, inverse)
	u2.Mod(u2, p256Order)

	// u1 + u2·d, which is as secret as d is to whoever knows the token.
	scalar := natOf(u2).Mul(k.d, p256Modulus).Add(natOf(u1), p256Modulus)
	// The error is that of a zero: R is no point with an x.
	point, err := ecdh.P256().NewPrivateKey(scalar.Bytes(p256Modulus))
	if err != nil {
		return false
	}
	// Uncompressed (SEC 1 §2.3.3): 4, x, y.
	x := new(big.Int).SetBytes(point.PublicKey().Bytes()[1 : 1+p256Size])
	return x.Mod(x, p256Order).Cmp(r) == 0
}

// natOf is x, which is below the order.
func natOf(x *big.Int) *bigmod.Nat {
	return must(bigmod.NewNat().SetBytes(x.FillBytes(make([]byte, p256Size)), p256Modulus))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
