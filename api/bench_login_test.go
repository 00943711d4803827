//go:build unix

package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/secret"
)

// BenchmarkLogin is a whole login by the pages: request, password where there is
// no session yet, code, tokens. Passwords cost what they cost in earnest.
func BenchmarkLogin(b *testing.B) {
	for _, workers := range []int{1, 8} {
		b.Run(fmt.Sprintf("password/%d", workers), func(b *testing.B) {
			r := loginBench(b)
			benchmark(b, workers, func(int) error {
				v := r.NewVisitor(b)
				p := v.Open(authorizeURL(apitest.DemoSPA))
				p = v.Submit(p, "username", authority.DemoUser, "password", authority.DemoPassword)
				return completeLogin(b, r, p)
			})
		})
		b.Run(fmt.Sprintf("session/%d", workers), func(b *testing.B) {
			r := loginBench(b)
			visitors := make([]*apitest.Visitor, workers)
			for i := range visitors {
				visitors[i] = r.NewVisitor(b)
				if err := completeLogin(b, r, signIn(b, visitors[i], visitors[i].Open(authorizeURL(apitest.DemoSPA)))); err != nil {
					b.Fatal(err)
				}
			}
			benchmark(b, workers, func(w int) error {
				return completeLogin(b, r, visitors[w].Open(authorizeURL(apitest.DemoSPA)))
			})
		})
	}
}

func loginBench(b *testing.B) *apitest.Replica {
	b.Helper()
	return apitest.Single(b, apitest.Options{
		Settings: patient, Passwords: secret.PasswordConfig{Cost: secret.DefaultPasswordCost()},
	})
}

// completeLogin exchanges the code that a page led to.
func completeLogin(b *testing.B, r *apitest.Replica, p apitest.Page) error {
	b.Helper()
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		return errBusy
	}
	if p.Outside == nil || p.Outside.Query().Get("code") == "" {
		return fmt.Errorf("no code: %d %q", p.Status, p.Heading())
	}
	if a := r.Exchange(b, apitest.DemoSPA, p.Outside.Query().Get("code")); a.Status != http.StatusOK {
		return errors.New(string(a.Body))
	}
	return nil
}
