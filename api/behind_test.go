package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// TestReadModelHeldBack asks a replica whose read model stands still for what
// other replicas did in the meantime. No client may notice.
func TestReadModelHeldBack(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	ahead := apitest.Start(t, node.Conn(), apitest.Options{})
	ahead.Seed(t)
	var gate apitest.Gate
	behind := apitest.Start(t, node.Conn(), apitest.Options{Gate: gate.Pass})
	client := register(t, ahead, retryWindow(600))
	known := newTokens(t, ahead, client)
	// Two grants of which the row says that a retry may be answered again.
	ended, used := newRepeated(t, ahead, client), newRepeated(t, ahead, client)
	behind.WaitFolded(t)
	gate.Shut()
	position := behind.Local.Status()[0].Position

	// A grant whose row is old, and one that has no row.
	for name, first := range map[string]apitest.Answer{"known": known, "unknown": newTokens(t, ahead, client)} {
		t.Run(name, func(t *testing.T) {
			tokens := []string{first.Text("refresh_token")}
			for range 5 {
				a := refreshed(t, ahead, client, tokens[len(tokens)-1])
				tokens = append(tokens, a.Text("refresh_token"))
			}
			newest := tokens[len(tokens)-1]
			if !active(t, behind, newest) || active(t, behind, tokens[3]) {
				t.Error("introspection of refresh tokens tells the past")
			}
			repeated := refreshed(t, behind, client, tokens[4])
			if repeated.Text("refresh_token") != newest {
				t.Errorf("a retry got another successor: %d %s", repeated.Status, repeated.Body)
			}
			began := time.Now()
			a := refreshed(t, behind, client, newest)
			if a.Status != http.StatusOK {
				t.Fatalf("refresh: %d %s", a.Status, a.Body)
			}
			a = refreshed(t, behind, client, a.Text("refresh_token"))
			if a.Status != http.StatusOK {
				t.Fatalf("second refresh: %d %s", a.Status, a.Body)
			}
			t.Logf("two refreshes took %v", time.Since(began))
			wantError(t, refreshed(t, behind, client, tokens[1]), http.StatusBadRequest, "invalid_grant")
			wantError(t, refreshed(t, ahead, client, a.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
		})
	}
	t.Run("code", func(t *testing.T) {
		a := apitest.Settled(t, func() apitest.Answer { return behind.Exchange(t, client, newCode(t, ahead, client)) })
		if a.Status != http.StatusOK {
			t.Errorf("exchange: %d %s", a.Status, a.Body)
		}
	})
	t.Run("revoked", func(t *testing.T) {
		first := newTokens(t, ahead, client)
		revoke(t, ahead, client, first.Text("refresh_token"))
		wantError(t, refreshed(t, behind, client, first.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("repeat of a revoked grant", func(t *testing.T) {
		revoke(t, ahead, client, ended.current)
		wantError(t, refreshed(t, behind, client, ended.spent), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("repeat after its successor was used", func(t *testing.T) {
		next := wantOK(t, refreshed(t, ahead, client, used.current))
		wantError(t, refreshed(t, behind, client, used.spent), http.StatusBadRequest, "invalid_grant")
		wantError(t, refreshed(t, ahead, client, next.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	})
	if now := behind.Local.Status()[0].Position; now != position {
		t.Errorf("the read model went on from %d to %d", position, now)
	}
	gate.Open()
	behind.WaitFolded(t)
	if a := newTokens(t, behind, client); !active(t, behind, a.Text("access_token")) {
		t.Error("nothing works after it has caught up")
	}
}

// A repeatedGrant has answered the retry of a refresh.
type repeatedGrant struct{ spent, current string }

func newRepeated(t *testing.T, r *apitest.Replica, c apitest.Client) repeatedGrant {
	t.Helper()
	spent := newTokens(t, r, c).Text("refresh_token")
	wantOK(t, refreshed(t, r, c, spent))
	again := wantOK(t, refreshed(t, r, c, spent))
	return repeatedGrant{spent, again.Text("refresh_token")}
}

// active introspects, as the demonstration service, until there is an answer.
func active(t testing.TB, r *apitest.Replica, token string) bool {
	t.Helper()
	a := apitest.Settled(t, func() apitest.Answer { return introspect(t, r, token) })
	if a.Status != http.StatusOK {
		t.Fatalf("introspect: %d %s", a.Status, a.Body)
	}
	return isActive(a)
}

func introspect(t testing.TB, r *apitest.Replica, token string) apitest.Answer {
	t.Helper()
	return r.Post(t, "/oauth2/introspect", apitest.DemoService, "token", token)
}

func isActive(a apitest.Answer) bool {
	active, _ := a.JSON["active"].(bool)
	return active
}

func revoke(t testing.TB, r *apitest.Replica, c apitest.Client, token string) {
	t.Helper()
	a := apitest.Settled(t, func() apitest.Answer { return r.Post(t, "/oauth2/revoke", c, "token", token) })
	if a.Status != http.StatusOK {
		t.Fatalf("revoke: %d %s", a.Status, a.Body)
	}
}

// TestFeedHeldBack asks a replica that does not hear of revocations any more.
// It answers 503 as soon as that is older than the bound.
func TestFeedHeldBack(t *testing.T) {
	t.Parallel()
	const short = 300 * time.Millisecond // a bound of the replica's own
	node := embeddedtest.Single(t)
	other := apitest.Start(t, node.Conn(), apitest.Options{})
	other.Seed(t)
	registry, partition := other.Log.Realm().RegistryStream(), other.Log.Realm().PartitionStream(0)
	tests := map[string]struct {
		held, revocation string
		// decides says that the log alone is enough to decide on a grant.
		decides bool
	}{
		"registry":  {held: registry, revocation: "of the client"},
		"partition": {held: partition, revocation: "of the grant", decides: true},
		"both":      {held: registry + " " + partition, revocation: "by refresh token"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			var gate apitest.Gate
			r := apitest.Start(t, node.Conn(), apitest.Options{
				Settings: func(s *config.Settings) { s.FreshnessBound = short },
				FeedGate: func(ctx context.Context, stream string) error {
					if !strings.Contains(test.held, stream) {
						return nil
					}
					return gate.Pass(ctx, stream)
				},
			})
			client, ended := register(t, other, retryWindow(600)), register(t, other, retryWindow(600))
			waitKnown(t, r, client, ended)
			kept, dead := newTokens(t, r, client), newTokens(t, r, ended)
			unused := newCode(t, r, client)

			w := newWatch(t, dead.Text("access_token"), r)
			gate.Shut()
			revocations[test.revocation].do(t, other, ended, dead)
			w.end(t, time.Now(), short)
			wantUnavailable(t, r, client, kept, unused, test.decides)
			gate.Open()
			if active(t, r, dead.Text("access_token")) || !active(t, r, kept.Text("access_token")) {
				t.Error("the replica did not get over it")
			}
		})
	}
}

// waitKnown waits until a replica has heard of clients.
func waitKnown(t *testing.T, r *apitest.Replica, clients ...apitest.Client) {
	t.Helper()
	for _, c := range clients {
		embeddedtest.Eventually(t, "the replica to know the client", func() bool {
			return r.Admin(t, http.MethodGet, "/clients/"+c.ID, nil).Status == http.StatusOK
		})
	}
}

// wantUnavailable asks a replica that is not fresh for everything at once.
func wantUnavailable(t *testing.T, r *apitest.Replica, client apitest.Client, tokens apitest.Answer, code string, decides bool) {
	t.Helper()
	asks := []struct {
		what  string
		retry bool
		// guarded requests are decided on the log, if the client is known.
		guarded bool
		send    func() apitest.Answer
	}{
		{"refresh", true, true, func() apitest.Answer { return r.Refresh(t, client, tokens.Text("refresh_token")) }},
		{"code exchange", false, true, func() apitest.Answer { return r.Exchange(t, client, code) }},
		{"client credentials", true, true, func() apitest.Answer {
			return r.Token(t, apitest.DemoService, "grant_type", "client_credentials")
		}},
		{"login", true, true, func() apitest.Answer { return r.LoginAnswer(t, client, "read") }},
		{"introspection", true, false, func() apitest.Answer { return introspect(t, r, tokens.Text("access_token")) }},
		{"introspection of a refresh token", true, false, func() apitest.Answer {
			return introspect(t, r, tokens.Text("refresh_token"))
		}},
	}
	apitest.Race(len(asks), func(i int) apitest.Answer {
		ask := asks[i]
		if decides && ask.guarded {
			a := apitest.Settled(t, ask.send)
			if a.Status != http.StatusOK {
				t.Errorf("%s: %d %s, want 200", ask.what, a.Status, a.Body)
			}
			return a
		}
		a := ask.send()
		if retry := a.Header.Get("Retry-After") != ""; !a.Unavailable() || retry != ask.retry {
			t.Errorf("%s: %d %s, Retry-After %v; want 503", ask.what, a.Status, a.Body, retry)
		}
		return a
	})
}
