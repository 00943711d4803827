package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

const (
	// racers is how many requests meet over one token.
	racers = 100
	// bound is how late a replica may know of a revocation.
	bound = time.Second
)

// retryWindow is a client's settings with a window of its own.
func retryWindow(seconds int) map[string]any {
	return map[string]any{"refresh_token_retry_window": seconds}
}

// newCode is a fresh code, however loaded the machine is.
func newCode(t testing.TB, r *apitest.Replica, c apitest.Client) string {
	t.Helper()
	return apitest.CodeOf(t, apitest.Settled(t, func() apitest.Answer {
		return r.LoginAnswer(t, c, "read offline_access")
	}))
}

// newTokens are those of a fresh grant.
func newTokens(t testing.TB, r *apitest.Replica, c apitest.Client) apitest.Answer {
	t.Helper()
	a := apitest.Settled(t, func() apitest.Answer { return r.Exchange(t, c, newCode(t, r, c)) })
	if a.Status != http.StatusOK {
		t.Fatalf("exchange: %d %s", a.Status, a.Body)
	}
	return a
}

// refreshed refreshes until there is an answer.
func refreshed(t testing.TB, r *apitest.Replica, c apitest.Client, token string) apitest.Answer {
	t.Helper()
	return apitest.Settled(t, func() apitest.Answer { return r.Refresh(t, c, token) })
}

// TestRefreshRace presents one refresh token a hundred times at once, at three
// replicas: one successor, and everybody gets it.
func TestRefreshRace(t *testing.T) {
	t.Parallel()
	c := apitest.NewCluster(t, 3)
	client := register(t, c.Replicas[0], retryWindow(600))
	first := newTokens(t, c.Replicas[0], client)
	spent := first.Text("refresh_token")
	race := func() []apitest.Answer {
		return apitest.Race(racers, func(i int) apitest.Answer {
			return refreshed(t, c.Replicas[i%len(c.Replicas)], client, spent)
		})
	}
	var ledger apitest.Ledger
	jtis := map[any]bool{}
	for _, a := range append(race(), race()...) {
		if a.Status != http.StatusOK {
			t.Fatalf("refresh: %d %s", a.Status, a.Body)
		}
		ledger.Refreshed(t, spent, a)
		jtis[apitest.Claims(t, a.Text("access_token"))["jti"]] = true
	}
	if len(jtis) != 1 {
		t.Errorf("%d access tokens were issued", len(jtis))
	}
	wantEvents(t, c.Replicas[1], grantOf(t, first), opened, redeemed, rotated, repeated)
}

// TestReuseRace does the same with a token that was spent before its retry
// window: the grant is revoked, once, and nobody gets anything.
func TestReuseRace(t *testing.T) {
	t.Parallel()
	const window, slack = 1, 3 * time.Second
	c := apitest.NewCluster(t, 3)
	client := register(t, c.Replicas[0], retryWindow(window))
	first := newTokens(t, c.Replicas[0], client)
	second := refreshed(t, c.Replicas[1], client, first.Text("refresh_token"))
	spent := time.Now()
	if second.Status != http.StatusOK {
		t.Fatalf("refresh: %d %s", second.Status, second.Body)
	}
	embeddedtest.Eventually(t, "the retry window to close", func() bool {
		return time.Since(spent) > window*time.Second+slack
	})
	for _, a := range apitest.Race(racers, func(i int) apitest.Answer {
		return refreshed(t, c.Replicas[i%len(c.Replicas)], client, first.Text("refresh_token"))
	}) {
		wantError(t, a, http.StatusBadRequest, "invalid_grant")
	}
	for _, r := range c.Replicas {
		wantError(t, refreshed(t, r, client, second.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	}
	wantEvents(t, c.Replicas[2], grantOf(t, first), opened, redeemed, rotated, revoked)
}

// TestCodeRace redeems one code a hundred times at once, at three replicas: at
// most one succeeds. With PKCE the others are taken for retries; without,
// for a thief.
func TestCodeRace(t *testing.T) {
	t.Parallel()
	c := apitest.NewCluster(t, 3)
	tests := map[string]struct {
		pkce bool
		want []string
	}{
		"with PKCE":    {true, []string{opened, redeemed}},
		"without PKCE": {false, []string{opened, redeemed, revoked}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			exchange := []string{"grant_type", "authorization_code", "redirect_uri", authority.DemoRedirect}
			query := apitest.CodeQuery(apitest.DemoWeb.ID, "read offline_access")
			if test.pkce {
				exchange = append(exchange, "code_verifier", apitest.Verifier)
			} else {
				query.Del("code_challenge")
				query.Del("code_challenge_method")
			}
			code := apitest.CodeOf(t, apitest.Settled(t, func() apitest.Answer { return c.Replicas[0].LoginWith(t, query) }))
			exchange = append(exchange, "code", code)

			var ledger apitest.Ledger
			var won apitest.Answer
			for _, a := range apitest.Race(racers, func(i int) apitest.Answer {
				return c.Replicas[i%len(c.Replicas)].Token(t, apitest.DemoWeb, exchange...)
			}) {
				ledger.Redeemed(t, code, a)
				switch {
				case a.Status == http.StatusOK:
					won = a
				case !a.Unavailable():
					wantError(t, a, http.StatusBadRequest, "invalid_grant")
				case a.Header.Get("Retry-After") != "":
					t.Errorf("a code exchange was told to come again: %s", a.Body)
				}
			}
			if won.Status != http.StatusOK {
				t.Fatal("nobody got anything")
			}
			wantEvents(t, c.Replicas[1], grantOf(t, won), test.want...)
			a := refreshed(t, c.Replicas[2], apitest.DemoWeb, won.Text("refresh_token"))
			if test.pkce != (a.Status == http.StatusOK) {
				t.Errorf("refresh afterwards: %d %s", a.Status, a.Body)
			}
		})
	}
}
