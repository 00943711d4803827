package jose

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

// An es256Case is a key and what to verify by it.
type es256Case struct {
	key *ecdsa.PrivateKey
	d   *big.Int
	own *ownES256
}

func newES256Case(t testing.TB, key *ecdsa.PrivateKey, err error) es256Case {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	own, err := newOwnES256(key)
	if err != nil {
		t.Fatal(err)
	}
	d, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return es256Case{key, new(big.Int).SetBytes(d), own}
}

// agree fails the test unless the private key and the public one decide alike, and says how.
func (c es256Case) agree(t *testing.T, input string, signature []byte) bool {
	t.Helper()
	want := ES256.method().Verify(input, signature, &c.key.PublicKey) == nil
	if got := c.own.verifies(input, signature); got != want {
		t.Fatalf("key %x, input %q, signature %x: %v by the private key, %v by the public one", c.d, input, signature, got, want)
	}
	return want
}

func es256Signature(r, s *big.Int) []byte {
	return append(r.FillBytes(make([]byte, p256Size)), s.FillBytes(make([]byte, p256Size))...)
}

func es256Digest(input string) *big.Int {
	digest := sha256.Sum256([]byte(input))
	return new(big.Int).SetBytes(digest[:])
}

// mulMod is the product of all modulo the order.
func mulMod(factors ...*big.Int) *big.Int {
	product := big.NewInt(1)
	for _, f := range factors {
		product.Mod(product.Mul(product, f), p256Order)
	}
	return product
}

func inverse(x *big.Int) *big.Int { return new(big.Int).ModInverse(x, p256Order) }

// baseX is r of the nonce k: the x of k·G.
func baseX(t *testing.T, k *big.Int) *big.Int {
	t.Helper()
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), k.FillBytes(make([]byte, p256Size)))
	if err != nil {
		t.Fatal(err)
	}
	return new(big.Int).Mod(key.X, p256Order)
}

func TestOwnES256(t *testing.T) {
	for range 5 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		c := newES256Case(t, key, err)
		input := rand.Text()
		signature, err := ES256.method().Sign(input, key)
		if err != nil {
			t.Fatal(err)
		}
		if !c.agree(t, input, signature) {
			t.Fatal("a signature was refused")
		}
		// RFC 6979 and FIPS 186-5 take n-s for s too.
		negated := es256Signature(new(big.Int).SetBytes(signature[:p256Size]),
			new(big.Int).Sub(p256Order, new(big.Int).SetBytes(signature[p256Size:])))
		if !c.agree(t, input, negated) {
			t.Fatal("the signature with n-s was refused")
		}
		if c.agree(t, input+"x", signature) {
			t.Fatal("a signature of another text was accepted")
		}
		for bit := range len(signature) * 8 {
			signature[bit/8] ^= 1 << (bit % 8)
			if c.agree(t, input, signature) {
				t.Fatalf("a signature with bit %d changed was accepted", bit)
			}
			signature[bit/8] ^= 1 << (bit % 8)
		}
	}
}

// Every pair of values that a range check could get wrong. An x between n and p, which
// is reduced, cannot be found.
func TestOwnES256AtTheEdges(t *testing.T) {
	const input = "header.payload"
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	c := newES256Case(t, key, err)
	e, one := es256Digest(input), big.NewInt(1)

	signature, err := ES256.method().Sign(input, key)
	if err != nil {
		t.Fatal(err)
	}
	values := []*big.Int{
		new(big.Int), one, big.NewInt(2), new(big.Int).Sub(p256Order, one), p256Order, new(big.Int).Add(p256Order, one),
		elliptic.P256().Params().P, elliptic.P256().Params().Gx, new(big.Int).Sub(new(big.Int).Lsh(one, 256), one),
		c.d, key.X, e, new(big.Int).SetBytes(signature[:p256Size]), new(big.Int).SetBytes(signature[p256Size:]),
	}
	accepted := 0
	for _, r := range values {
		for _, s := range values {
			if c.agree(t, input, es256Signature(r, s)) {
				accepted++
			}
		}
	}
	if accepted != 1 {
		t.Errorf("%d pairs accepted, want the signature alone", accepted)
	}

	for _, size := range []int{0, 1, 32, 63, 65, 128} {
		c.agree(t, input, make([]byte, size))
	}
	c.agree(t, input, append(signature, 0))

	// R = ±G, ±2G: the nonces that nobody draws.
	for _, k := range []*big.Int{one, big.NewInt(2), new(big.Int).Sub(p256Order, one), new(big.Int).Sub(p256Order, big.NewInt(2))} {
		r := baseX(t, k)
		s := mulMod(new(big.Int).Add(e, mulMod(r, c.d)), inverse(k))
		if !c.agree(t, input, es256Signature(r, s)) {
			t.Errorf("nonce %v: refused", k)
		}
	}

	// R is the point at infinity: e + r·d = 0.
	r := mulMod(new(big.Int).Sub(p256Order, e), inverse(c.d))
	if c.agree(t, input, es256Signature(r, big.NewInt(7))) {
		t.Error("infinity was accepted")
	}

	// A key by which a small s is right, and s+n fits into 32 bytes.
	k, s := big.NewInt(3), big.NewInt(5)
	r = baseX(t, k)
	d := mulMod(new(big.Int).Sub(mulMod(s, k), new(big.Int).Mod(e, p256Order)), inverse(r))
	small, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d.Mod(d, p256Order).FillBytes(make([]byte, p256Size)))
	c = newES256Case(t, small, err)
	if !c.agree(t, input, es256Signature(r, s)) {
		t.Error("a small s was refused")
	}
	if c.agree(t, input, es256Signature(r, new(big.Int).Add(s, p256Order))) {
		t.Error("s+n was accepted")
	}
}

// TestVerifierPrintsNoKey: who signs has its private keys in the verifier.
func TestVerifierPrintsNoKey(t *testing.T) {
	for _, a := range Algs() {
		k := testKey(t, a)
		var secrets [][]byte
		switch private := k.private.(type) {
		case *ecdsa.PrivateKey:
			d, err := private.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			secrets = append(secrets, d)
		case ed25519.PrivateKey:
			secrets = append(secrets, private.Seed())
		case *rsa.PrivateKey:
			for _, p := range private.Primes {
				secrets = append(secrets, p.Bytes())
			}
		}
		v := testVerifier(t, k)
		for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%d"} {
			text := fmt.Sprintf(verb, v) + fmt.Sprintf(verb, *v)
			for _, secret := range secrets {
				for _, as := range []string{"%x", "%d", "%#v"} {
					part := strings.Trim(fmt.Sprintf(as, secret[:8]), "[]{}byte")
					if strings.Contains(text, part) {
						t.Errorf("%s: %s prints the private key", a, verb)
					}
				}
			}
		}
	}
}

func FuzzOwnES256(f *testing.F) {
	k := testKey(f, ES256)
	private := k.private.(*ecdsa.PrivateKey)
	c := newES256Case(f, private, nil)
	signature, err := ES256.method().Sign("header.payload", private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("header.payload", signature)
	f.Add("", make([]byte, 64))
	f.Fuzz(func(t *testing.T, input string, signature []byte) {
		c.agree(t, input, signature)
	})
}
