//go:build unix

package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/secret"
)

// floodRate is how many bad requests come in a second, whatever becomes of
// them.
const floodRate = 400

// floodAddresses are what they come from.
const floodAddresses = 10

// floodPassword costs what one does in production.
var floodPassword = secret.PasswordConfig{Cost: secret.DefaultPasswordCost()}

// BenchmarkFlood asks for tokens while others send wrong secrets and wrong
// passwords from ten addresses, held up by the default limits or by none.
func BenchmarkFlood(b *testing.B) {
	defaults := config.Default()
	for _, limits := range []bool{true, false} {
		r := apitest.Single(b, apitest.Options{Passwords: floodPassword, Settings: func(s *config.Settings) {
			s.TrustedProxies = loopback
			if limits {
				s.FailureLimit, s.AddressFailureLimit = defaults.FailureLimit, defaults.AddressFailureLimit
			}
		}})
		for _, kind := range []string{"none", "secrets", "passwords"} {
			b.Run(fmt.Sprintf("limits=%v/flood=%s", limits, kind), func(b *testing.B) {
				if limits {
					useUp(b, r, kind)
				}
				stop := flood(b, r, kind)
				defer stop()
				benchmark(b, 4, askForToken(b, r))
			})
		}
	}
}

// useUp fails from every address until all have to wait, as they would soon.
func useUp(b *testing.B, r *apitest.Replica, kind string) {
	b.Helper()
	for i := range floodAddresses {
		for kind != "none" && sendBad(b.Context(), http.DefaultTransport, r.URL, kind, i) != http.StatusTooManyRequests {
			if b.Context().Err() != nil {
				b.Fatal(b.Context().Err())
			}
		}
	}
}

func askForToken(b *testing.B, r *apitest.Replica) benchRequest {
	b.Helper()
	c := newBenchClient(b, r)
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}}
	return func(int) error {
		return c.post(b, tokenPath, apitest.DemoService, form, &struct{}{})
	}
}

// flood sends bad requests until stop, each when it is due: those that are
// still open do not hold back the next.
func flood(b *testing.B, r *apitest.Replica, kind string) (stop func()) {
	b.Helper()
	if kind == "none" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(b.Context())
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	open := make(chan struct{}, 64)
	var running sync.WaitGroup
	running.Go(func() {
		due := time.NewTicker(time.Second / floodRate)
		defer due.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			select {
			case <-ctx.Done():
				return
			case <-due.C:
			}
			select {
			case open <- struct{}{}:
				running.Go(func() { sendBad(ctx, transport, r.URL, kind, i); <-open })
			default:
			}
		}
	})
	return func() { cancel(); running.Wait(); transport.CloseIdleConnections() }
}

// sendBad gives the status of the answer, 0 if there was none.
func sendBad(ctx context.Context, transport http.RoundTripper, base, kind string, i int) (status int) {
	path, contentType, body := tokenPath, "application/x-www-form-urlencoded", "grant_type=client_credentials&client_id=demo-service&client_secret=wrong"
	if kind == "passwords" {
		path, contentType, body = passwordPath+"?client_id=demo-spa", "application/json", `{"username":"alice","password":"looking-glass"}`
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, strings.NewReader(body))
	if err != nil {
		return 0
	}
	q.Header.Set("Content-Type", contentType)
	q.Header.Set("X-Forwarded-For", fmt.Sprintf("203.0.113.%d", i%floodAddresses))
	a, err := transport.RoundTrip(q)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, a.Body)
	_ = a.Body.Close()
	return a.StatusCode
}
