package resource_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/endings"
	"github.com/chancery-authority/chancery/api/rules"
)

// BenchmarkVerify is a local verdict against the authority's own over HTTP.
func BenchmarkVerify(b *testing.B) {
	r := start(b)
	v := open(b, r)
	token := r.Tokens(b, apitest.DemoWeb, "read").Text("access_token")
	for range 100 {
		revoke(b, r, apitest.DemoWeb, r.Tokens(b, apitest.DemoWeb, "read").Text("access_token"))
	}
	b.Run("local", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(b.Context(), token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("introspection", func(b *testing.B) {
		for b.Loop() {
			if !r.Active(b, token) {
				b.Fatal("not active")
			}
		}
	})
}

// BenchmarkRevocation is how long after a revocation was acknowledged the token is
// refused.
func BenchmarkRevocation(b *testing.B) {
	r := start(b)
	v := open(b, r)
	var took []time.Duration
	for range b.N {
		token := r.Tokens(b, apitest.DemoWeb, "read").Text("access_token")
		revoke(b, r, apitest.DemoWeb, token)
		acknowledged := time.Now()
		for accepts(b, v, token) {
		}
		took = append(took, time.Since(acknowledged))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkSet looks a token up, and forgets, among many endings.
func BenchmarkSet(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		var s endings.Set
		for i := range n {
			s.Add(endings.Entry{Kind: endings.Token, ID: endings.DigestOf(endings.Token, fmt.Sprint(i)), Until: 1 << 50})
		}
		links := []rules.Link{{JTI: "j", Grant: [16]byte{1}, IssuedTo: rules.IssuedTo{Client: "c", User: "u"}}}
		b.Run(fmt.Sprintf("ended/of=%d", n), func(b *testing.B) {
			for b.Loop() {
				s.Ended("kid", links)
			}
		})
		b.Run(fmt.Sprintf("forget/of=%d", n), func(b *testing.B) {
			now := int64(0) // nothing is over
			for b.Loop() {
				now += 120
				s.Forget(now)
			}
		})
	}
}
