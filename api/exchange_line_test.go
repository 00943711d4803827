package api_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// A line is a token of a user and three that were made from it, one from the
// other, by three clients. In the first and the last somebody acts.
type line struct {
	root       apitest.Answer
	rootClient apitest.Client
	clients    []apitest.Client
	tokens     []string
	// actor is the one of the first exchange, with the token that it acts by.
	actor      apitest.Client
	actorToken string
}

func newLine(t *testing.T, r *apitest.Replica) line {
	t.Helper()
	l := line{rootClient: register(t, r, retryWindow(600)), actor: registerService(t, r)}
	l.root = newTokens(t, r, l.rootClient)
	l.actorToken = own(t, r, l.actor)
	subject := l.root.Text("access_token")
	for _, acting := range [][]string{actingBy(l.actorToken), nil, actingBy(own(t, r, apitest.DemoService))} {
		c := exchanger(t, r, nil, nil)
		subject = wantOK(t, swap(t, r, c, subject, acting...)).Text("access_token")
		l.clients, l.tokens = append(l.clients, c), append(l.tokens, subject)
	}
	return l
}

// A lineEnd is a way to end a line, and how many of its four tokens, from the
// root, live on.
type lineEnd struct {
	end    func(t *testing.T, r *apitest.Replica, l line)
	living int
}

func lineEnds() map[string]lineEnd {
	ways := map[string]lineEnd{
		"reuse of the root's refresh token": {func(t *testing.T, r *apitest.Replica, l line) {
			next := wantOK(t, refreshed(t, r, l.rootClient, l.root.Text("refresh_token")))
			wantOK(t, refreshed(t, r, l.rootClient, next.Text("refresh_token")))
			wantError(t, refreshed(t, r, l.rootClient, l.root.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
		}, 0},
		"of the first exchanged token": {func(t *testing.T, r *apitest.Replica, l line) {
			revoke(t, r, l.clients[0], l.tokens[0])
		}, 1},
		"of the last one": {func(t *testing.T, r *apitest.Replica, l line) { revoke(t, r, l.clients[2], l.tokens[2]) }, 3},
		"of the actor token": {func(t *testing.T, r *apitest.Replica, l line) {
			revoke(t, r, l.actor, l.actorToken)
		}, 1},
		"of the actor's client": {func(t *testing.T, r *apitest.Replica, l line) {
			administer(t, r, "/clients/"+l.actor.ID+"/disable")
		}, 1},
		"of the second client": {func(t *testing.T, r *apitest.Replica, l line) {
			administer(t, r, "/clients/"+l.clients[1].ID+"/disable")
			administer(t, r, "/clients/"+l.clients[1].ID+"/enable")
		}, 2},
	}
	for name, v := range revocations { // of the root
		ways["root, "+name] = lineEnd{func(t *testing.T, r *apitest.Replica, l line) {
			v.do(t, r, l.rootClient, l.root)
			if v.undo != nil {
				v.undo(t, r, l.rootClient, l.root)
			}
		}, 0}
	}
	return ways
}

// TestRevocationEndsWhatWasExchanged ends a token somewhere in a line three
// exchanges deep, at one replica: within the bound no other accepts what was
// made from it, and what it was made from lives on.
func TestRevocationEndsWhatWasExchanged(t *testing.T) {
	t.Parallel()
	c := apitest.NewCluster(t, 3)
	at, others := c.Replicas[0], c.Replicas[1:]
	for name, test := range lineEnds() {
		t.Run(name, func(t *testing.T) {
			l := newLine(t, at)
			w := newWatch(t, l.tokens[2], others...)
			test.end(t, at, l)
			w.end(t, time.Now(), bound)
			for _, r := range c.Replicas {
				for i, token := range append([]string{l.root.Text("access_token")}, l.tokens...) {
					if got, want := active(t, r, token), i < test.living; got != want {
						t.Errorf("%d exchanges away from the root: active is %v, want %v", i, got, want)
					}
				}
			}
		})
	}
}

// TestRevocationInAnotherPartition ends an actor token whose revocation is in
// another partition than the token that was made with it, and is held back from
// a replica: that one cannot say that the token is good.
func TestRevocationInAnotherPartition(t *testing.T) {
	t.Parallel()
	const partitions, short = 4, 300 * time.Millisecond
	node := embeddedtest.Single(t)
	other := apitest.Start(t, node.Conn(), apitest.Options{Partitions: partitions})
	other.Seed(t)
	actor, c := registerService(t, other), exchanger(t, other, nil, nil)
	held := events.SpreadPartition(actor.ID, []events.Partition{0, 1, 2, 3})
	var gate apitest.Gate
	r := apitest.Start(t, node.Conn(), apitest.Options{
		Partitions: partitions,
		Settings:   func(s *config.Settings) { s.FreshnessBound = short },
		FeedGate: func(ctx context.Context, stream string) error {
			if stream != other.Log.Realm().PartitionStream(held) {
				return nil
			}
			return gate.Pass(ctx, stream)
		},
	})
	acting, alices := own(t, other, actor), newTokens(t, other, apitest.DemoWeb).Text("access_token")
	for apitest.Claims(t, alices)["part"] == float64(held) {
		alices = newTokens(t, other, apitest.DemoWeb).Text("access_token")
	}
	token := wantOK(t, swap(t, other, c, alices, actingBy(acting)...)).Text("access_token")
	w := newWatch(t, token, r)
	gate.Shut()
	revoke(t, other, actor, acting)
	w.end(t, time.Now(), short)
	if a := introspect(t, r, token); a.Status != http.StatusServiceUnavailable {
		t.Errorf("while its actor's partition is held back: %d %s", a.Status, a.Body)
	}
	if !active(t, r, alices) {
		t.Error("what no actor was part in is not active")
	}
	gate.Open()
	if active(t, r, token) {
		t.Error("active after its actor token was revoked")
	}
}

// TestLostExchange loses the write of an exchange: neither success nor failure
// is told, and the next one succeeds.
func TestLostExchange(t *testing.T) {
	for _, l := range losses {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			c := exchanger(t, f.Replica, nil, nil)
			alices := f.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
			request := func() apitest.Answer { return f.Token(t, c, exchangeForm(alices)...) }
			if a := f.lose(t, l, request); a.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			wantOK(t, apitest.Settled(t, request))
		})
	}
}
