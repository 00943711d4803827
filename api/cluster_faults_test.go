package api_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// TestProjectorDies ends one projector, then the other, under replicas that
// ask them.
func TestProjectorDies(t *testing.T) {
	c := apitest.NewCluster(t, 3)
	client := register(t, c.Replicas[0], retryWindow(600))
	stream := c.Replicas[0].Log.Realm().PartitionStream(0)
	first := newTokens(t, c.Replicas[0], client)
	token := first.Text("refresh_token")
	var ledger apitest.Ledger
	refreshAll := func(times int) {
		t.Helper()
		for i := range times {
			a := refreshed(t, c.Replicas[i%len(c.Replicas)], client, token)
			if a.Status != http.StatusOK {
				t.Fatalf("refresh: %d %s", a.Status, a.Body)
			}
			ledger.Refreshed(t, token, a)
			token = a.Text("refresh_token")
		}
	}
	refreshAll(10)
	dying, other := c.Projectors[0], c.Projectors[1]
	l := startLoad(t, c.Replicas, client, 2)
	other.Gate.Shut() // half of the reads are of the past
	l.wait(t, 20)
	other.Gate.Open()
	dying.Die()
	stopped := dying.Position(stream)
	l.wait(t, 20)
	l.end(t)
	refreshAll(20)

	// Each of another replica: what a replica wrote a moment ago it does not read.
	elsewhere := make([]string, len(c.Replicas))
	for i := range c.Replicas {
		elsewhere[i] = newTokens(t, c.Replicas[(i+1)%len(c.Replicas)], client).Text("refresh_token")
	}
	other.Stop()
	embeddedtest.Eventually(t, "reads to find nobody", func() bool {
		a := c.Replicas[0].Post(t, introspectPath, client, "token", elsewhere[0])
		return a.Status == http.StatusServiceUnavailable
	})
	for i, r := range c.Replicas {
		if a := r.Refresh(t, client, elsewhere[i]); a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("refresh without a projector: %d %s", a.Status, a.Body)
		}
		if !active(t, r, first.Text("access_token")) {
			t.Error("introspection needs a projector")
		}
	}

	dying.Gate.Shut()
	dying.Start(c.Prefer(t, 0), embeddedtest.Nodes)
	if at := dying.Position(stream); at == 0 || at != stopped {
		t.Errorf("it goes on at %d, and had stopped at %d", at, stopped)
	}
	if a := c.Replicas[1].Refresh(t, client, elsewhere[1]); a.Status != http.StatusServiceUnavailable {
		t.Errorf("a projector that has not caught up answers: %d %s", a.Status, a.Body)
	}
	dying.Gate.Open()
	refreshAll(10)
	apitest.Issued(t, c.Replicas[2].History(t))
}

// A load is clients that refresh and redeem at all replicas, several requests
// for each token at once, for as long as it runs.
type load struct {
	replicas []*apitest.Replica
	client   apitest.Client
	ledger   apitest.Ledger
	// steps counts answered rounds.
	steps atomic.Int64
	stop  chan struct{}
	done  sync.WaitGroup

	mu sync.Mutex
	// last are the refresh tokens that clients hold.
	last []string
}

func startLoad(t *testing.T, replicas []*apitest.Replica, client apitest.Client, chains int) *load {
	t.Helper()
	l := &load{replicas: replicas, client: client, stop: make(chan struct{})}
	for range chains {
		l.done.Go(func() { l.run(t) })
	}
	return l
}

// run opens grants and refreshes each a few times.
func (l *load) run(t *testing.T) {
	for !l.over(t) {
		token := l.open(t)
		for range 10 {
			if token == "" || l.over(t) {
				break
			}
			token = l.refresh(t, token)
		}
		l.mu.Lock()
		l.last = append(l.last, token)
		l.mu.Unlock()
	}
}

func (l *load) over(t *testing.T) bool {
	select {
	case <-l.stop:
		return true
	default:
		return t.Failed()
	}
}

// open redeems a code at all replicas at once. Where the answer was lost, so
// is the grant.
func (l *load) open(t *testing.T) (token string) {
	code := apitest.CodeOf(t, apitest.Settled(t, func() apitest.Answer {
		return l.replicas[0].LoginAnswer(t, l.client, "read offline_access")
	}))
	for _, a := range apitest.Race(len(l.replicas), func(i int) apitest.Answer {
		return l.replicas[i].Exchange(t, l.client, code)
	}) {
		l.ledger.Redeemed(t, code, a)
		switch {
		case a.Status == http.StatusOK:
			token = a.Text("refresh_token")
		case !a.Unavailable():
			wantError(t, a, http.StatusBadRequest, "invalid_grant")
		}
	}
	l.steps.Add(1)
	return token
}

// refresh refreshes at all replicas at once. All of them give the same.
func (l *load) refresh(t *testing.T, token string) (successor string) {
	for _, a := range apitest.Race(len(l.replicas), func(i int) apitest.Answer {
		return refreshed(t, l.replicas[i], l.client, token)
	}) {
		l.ledger.Refreshed(t, token, a)
		if a.Status != http.StatusOK {
			t.Errorf("refresh: %d %s", a.Status, a.Body)
		}
		successor = a.Text("refresh_token")
	}
	l.steps.Add(1)
	return successor
}

// wait waits for n more answered rounds.
func (l *load) wait(t *testing.T, n int64) {
	t.Helper()
	until := l.steps.Load() + n
	embeddedtest.Eventually(t, "clients to be answered", func() bool { return l.steps.Load() >= until || t.Failed() })
}

// end stops the load and checks that nothing that was acknowledged is lost and
// nothing was spent twice.
func (l *load) end(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.done.Wait()
	for i, token := range l.last {
		if token == "" {
			continue
		}
		if a := refreshed(t, l.replicas[i%len(l.replicas)], l.client, token); a.Status != http.StatusOK {
			t.Errorf("an acknowledged token does not refresh: %d %s", a.Status, a.Body)
		}
	}
	issued := apitest.Issued(t, l.replicas[0].History(t))
	for i, token := range l.ledger.AccessTokens() {
		if !issued[apitest.Claims(t, token)["jti"].(string)] {
			t.Error("an acknowledged token is not in the log")
		}
		if !active(t, l.replicas[i%len(l.replicas)], token) {
			t.Error("an acknowledged token is not active")
		}
	}
	t.Logf("%d answered rounds, %d grants, %d tokens", l.steps.Load(), len(l.last), len(issued))
}

// TestLeaderKilledInMidLoad kills the server that leads the grants' stream
// while clients refresh and redeem, and brings it back.
func TestLeaderKilledInMidLoad(t *testing.T) {
	c := apitest.NewCluster(t, 3)
	client := register(t, c.Replicas[0], retryWindow(600))
	stream := c.Replicas[0].Log.Realm().PartitionStream(0)
	l := startLoad(t, c.Replicas, client, 4)
	l.wait(t, 40)
	leader := c.WaitLeader(stream)
	c.Kill(leader)
	killed := time.Now()
	l.wait(t, 40)
	t.Logf("40 rounds took %v from the kill", time.Since(killed))
	c.Start(leader)
	back := time.Now()
	l.wait(t, 40)
	t.Logf("40 rounds took %v from its return", time.Since(back))
	l.end(t)
}
