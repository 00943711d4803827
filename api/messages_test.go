package api_test

import (
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/projector"
)

// TestMessagesOfRequests counts what a replica sends to NATS for each kind of
// request: one read and one append at most for a refresh, the append alone for client
// credentials, and nothing to introspect an access token.
func TestMessagesOfRequests(t *testing.T) {
	t.Parallel()
	const requests = 100
	node := embeddedtest.Single(t)
	p := apitest.StartProjector(t, node.Conn(), 1)
	remote := func() (*apitest.Replica, func() uint64) {
		nc := node.Conn()
		r := apitest.Start(t, nc, apitest.Options{Reader: projector.NewRemote(nc, events.DefaultRealm), NoCheckpoints: true})
		return r, func() uint64 { return nc.Stats().OutMsgs }
	}
	other, _ := remote()
	other.Seed(t)
	r, sent := remote()
	waitKnown(t, r, apitest.DemoWeb)
	tokens := make([]apitest.Answer, requests)
	for i := range tokens {
		tokens[i] = newTokens(t, other, apitest.DemoWeb)
	}
	embeddedtest.Eventually(t, "the projector to have folded them", func() bool {
		g, err := p.Local.Grant(t.Context(), grantIDOf(t, tokens[requests-1]))
		return err == nil && g.Redeemed()
	})
	for _, request := range []struct {
		name string
		want uint64
		do   func(i int) apitest.Answer
	}{
		{"introspection", 0, func(i int) apitest.Answer {
			return r.Post(t, "/oauth2/introspect", apitest.DemoService, "token", tokens[i].Text("access_token"))
		}},
		{"client credentials", 1, func(int) apitest.Answer {
			return r.Token(t, apitest.DemoService, "grant_type", "client_credentials")
		}},
		{"refresh", 2, func(i int) apitest.Answer {
			return r.Refresh(t, apitest.DemoWeb, tokens[i].Text("refresh_token"))
		}},
	} {
		before, began := sent(), time.Now()
		for i := range requests {
			wantOK(t, request.do(i))
		}
		// A few each second are of the replica itself, that it is there.
		n, own := sent()-before, uint64(10+10*time.Since(began).Seconds())
		if n < request.want*requests || n > request.want*requests+own {
			t.Errorf("%s: %d messages for %d requests", request.name, n, requests)
		}
	}
}
