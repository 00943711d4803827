package jose

import (
	"errors"
	"testing"
	"time"
)

func FuzzVerify(f *testing.F) {
	k := testKey(f, ES256)
	v := testVerifier(f, k)
	good := sign(f, k, testClaims())
	f.Add(good)
	f.Add("..")
	f.Add(forge(f, k, `{"alg":"ES256","typ":"at+jwt","kid":"x"}`, `{}`))
	public, err := NewVerifier(testIssuer, []PublicKey{k.Public()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := v.Verify(text, testNow)
		if _, other := public.Verify(text, testNow); (err == nil) != (other == nil) {
			t.Fatalf("by the private key %v, by the public one %v: %q", err, other, text)
		}
		if err == nil && text != good {
			t.Fatalf("accepted %q", text)
		} else if err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatalf("got %v", err)
		}
	})
}

func FuzzClaims(f *testing.F) {
	_, payload := split(f, sign(f, testKey(f, EdDSA), testClaims()))
	f.Add([]byte(payload))
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := parseClaims(payload)
		if err != nil {
			return
		}
		again, err := Sign(testKey(t, EdDSA), c)
		if err != nil {
			t.Fatalf("read but cannot be signed: %v", err)
		}
		if got, err := testVerifier(t, testKey(t, EdDSA)).Verify(again, time.Unix(c.IssuedAt, 0)); c.Issuer == testIssuer && (err != nil || got.JTI != c.JTI) {
			t.Fatalf("signed but not verified: %v", err)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	for _, a := range Algs() {
		k, c := testKey(b, a), testClaims()
		b.Run(string(a), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Sign(k, c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, a := range Algs() {
		k := testKey(b, a)
		text := sign(b, k, testClaims())
		public, err := NewVerifier(testIssuer, []PublicKey{k.Public()})
		if err != nil {
			b.Fatal(err)
		}
		for name, v := range map[string]*Verifier{"own": testVerifier(b, k), "public": public} {
			b.Run(string(a)+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := v.Verify(text, testNow); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
