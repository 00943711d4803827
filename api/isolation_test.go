package api_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// TestIsolatedReplica cuts a server off with a replica and a projector that
// know no other. It learns of nothing any more, and must not act on what it
// knew: neither beside a leader that goes on without it, nor with the old
// leader that still answers it.
func TestIsolatedReplica(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"with a follower", "with the leader"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			c := apitest.NewCluster(t, 3)
			var leaders []int
			for _, p := range c.Replicas[0].Log.Partitions() {
				leaders = append(leaders, c.WaitLeader(c.Replicas[0].Log.Realm().PartitionStream(p)))
			}
			node := leaders[0]
			for name == "with a follower" && slices.Contains(leaders, node) {
				node = (node + 1) % embeddedtest.Nodes
			}
			testIsolated(t, c, node)
		})
	}
}

func testIsolated(t *testing.T, c *apitest.Cluster, node int) {
	// Its reads are answered, from the past.
	apitest.StartProjector(t, c.Connect(node), embeddedtest.Nodes)
	isolated := c.Join(t, c.Connect(node))
	healthy := c.Replicas[(node+1)%embeddedtest.Nodes]
	client := register(t, healthy, retryWindow(600))
	waitKnown(t, isolated, client)
	kept, dead := newTokens(t, isolated, client), newTokens(t, isolated, client)
	rotated := refreshed(t, isolated, client, kept.Text("refresh_token"))
	unused := newCode(t, isolated, client)

	// Some requests are on their way when it is cut off.
	l := startLoad(t, []*apitest.Replica{healthy, isolated}, client, 2)
	l.wait(t, 10)
	w := newWatch(t, dead.Text("access_token"), isolated)
	c.Isolate(node)
	cut := time.Now()
	revoke(t, healthy, client, dead.Text("refresh_token"))
	revoked := time.Now()
	t.Logf("revoked %v after the cut", revoked.Sub(cut))
	embeddedtest.Eventually(t, "the bound to pass", func() bool { return time.Since(cut) > bound })
	asks := map[string]func() apitest.Answer{
		"refresh":            func() apitest.Answer { return isolated.Refresh(t, client, rotated.Text("refresh_token")) },
		"repeat":             func() apitest.Answer { return isolated.Refresh(t, client, kept.Text("refresh_token")) },
		"refresh of revoked": func() apitest.Answer { return isolated.Refresh(t, client, dead.Text("refresh_token")) },
		"code exchange":      func() apitest.Answer { return isolated.Exchange(t, client, unused) },
		"introspection":      func() apitest.Answer { return introspect(t, isolated, kept.Text("access_token")) },
		"introspection of a refresh token": func() apitest.Answer {
			return introspect(t, isolated, rotated.Text("refresh_token"))
		},
		"client credentials": func() apitest.Answer {
			return isolated.Token(t, apitest.DemoService, "grant_type", "client_credentials")
		},
		"login": func() apitest.Answer { return isolated.LoginAnswer(t, client, "read") },
	}
	wantAllUnavailable(t, asks)
	// The others go on meanwhile with what it holds.
	next := refreshed(t, healthy, client, rotated.Text("refresh_token"))
	if next.Status != http.StatusOK {
		t.Errorf("refresh at a healthy replica: %d %s", next.Status, next.Body)
	}
	wantAllUnavailable(t, asks)
	w.end(t, revoked, bound)

	c.Heal(node)
	again := refreshed(t, isolated, client, rotated.Text("refresh_token"))
	if again.Text("refresh_token") != next.Text("refresh_token") {
		t.Errorf("the healed replica has another successor: %d %s", again.Status, again.Body)
	}
	wantError(t, refreshed(t, isolated, client, dead.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	if active(t, isolated, dead.Text("access_token")) || !active(t, isolated, kept.Text("access_token")) {
		t.Error("the healed replica does not know what happened")
	}
	l.wait(t, 10)
	l.end(t)
}

// wantAllUnavailable sends requests all at once, of which none is answered.
func wantAllUnavailable(t *testing.T, asks map[string]func() apitest.Answer) {
	t.Helper()
	var names []string
	for name := range asks {
		names = append(names, name)
	}
	apitest.Race(len(names), func(i int) apitest.Answer {
		a := asks[names[i]]()
		if !a.Unavailable() {
			t.Errorf("%s while cut off: %d %s, want 503", names[i], a.Status, a.Body)
		}
		return a
	})
}
