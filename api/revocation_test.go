package api_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// A watch introspects one access token all the time, at several replicas.
type watch struct {
	stop    chan struct{}
	polling sync.WaitGroup

	mu sync.Mutex
	// sent is when the requests were sent that are answered by now, and
	// accepted of those the ones that found the token active.
	sent, accepted map[*apitest.Replica][]time.Time
}

// newWatch begins to watch, and returns when all replicas accept the token.
func newWatch(t *testing.T, token string, replicas ...*apitest.Replica) *watch {
	t.Helper()
	w := &watch{
		stop: make(chan struct{}),
		sent: map[*apitest.Replica][]time.Time{}, accepted: map[*apitest.Replica][]time.Time{},
	}
	for _, r := range replicas {
		w.polling.Go(func() { w.poll(t, r, token) })
	}
	w.wait(t, "the token to be accepted everywhere", func() bool { return len(w.accepted) == len(replicas) })
	return w
}

func (w *watch) poll(t *testing.T, r *apitest.Replica, token string) {
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-pace.C:
		case <-w.stop:
			return
		}
		sent := time.Now()
		a := introspect(t, r, token)
		w.mu.Lock()
		w.sent[r] = append(w.sent[r], sent)
		if isActive(a) {
			w.accepted[r] = append(w.accepted[r], sent)
		}
		w.mu.Unlock()
	}
}

func (w *watch) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	embeddedtest.Eventually(t, what, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return ok()
	})
}

// end watches until every replica has been asked twice more than the bound
// after the token was ended. None of them may have accepted it then.
func (w *watch) end(t *testing.T, ended time.Time, bound time.Duration) {
	t.Helper()
	late := func(sent []time.Time) (n int) {
		for _, at := range sent {
			if at.After(ended.Add(bound)) {
				n++
			}
		}
		return n
	}
	w.wait(t, "answers from after the bound", func() bool {
		for _, sent := range w.sent {
			if late(sent) < 2 {
				return false
			}
		}
		return true
	})
	close(w.stop)
	w.polling.Wait()
	for r, accepted := range w.accepted {
		newest := accepted[len(accepted)-1]
		t.Logf("%s: last accepted %v after the revocation", r.URL, newest.Sub(ended))
		if n := late(accepted); n > 0 {
			t.Errorf("accepted %d times later than the bound, last %v after the revocation", n, newest.Sub(ended))
		}
	}
}

// A revocation is one way to end access tokens. Each is made at one replica
// while others are asked about the token.
type revocation struct {
	do func(t *testing.T, r *apitest.Replica, c apitest.Client, tokens apitest.Answer)
	// undo, if it is not nil, must revive nothing.
	undo func(t *testing.T, r *apitest.Replica, c apitest.Client, tokens apitest.Answer)
	// spares says that the grant lives on, and later that refreshes are refused
	// within the bound and not at once.
	spares, later bool
}

var revocations = map[string]revocation{
	"by refresh token": {do: func(t *testing.T, r *apitest.Replica, c apitest.Client, tokens apitest.Answer) {
		revoke(t, r, c, tokens.Text("refresh_token"))
	}},
	"of the access token": {spares: true, do: func(t *testing.T, r *apitest.Replica, c apitest.Client, tokens apitest.Answer) {
		revoke(t, r, c, tokens.Text("access_token"))
	}},
	"of the grant": {do: func(t *testing.T, r *apitest.Replica, _ apitest.Client, tokens apitest.Answer) {
		administer(t, r, "/grants/"+grantOf(t, tokens)+"/revoke")
	}},
	"of the client": {
		later: true,
		do: func(t *testing.T, r *apitest.Replica, c apitest.Client, _ apitest.Answer) {
			administer(t, r, "/clients/"+c.ID+"/disable")
		},
		undo: func(t *testing.T, r *apitest.Replica, c apitest.Client, _ apitest.Answer) {
			administer(t, r, "/clients/"+c.ID+"/enable")
		},
	},
	"of the user": {
		later: true,
		do: func(t *testing.T, r *apitest.Replica, _ apitest.Client, tokens apitest.Answer) {
			administer(t, r, "/users/"+subject(t, tokens)+"/disable")
		},
		undo: func(t *testing.T, r *apitest.Replica, _ apitest.Client, tokens apitest.Answer) {
			administer(t, r, "/users/"+subject(t, tokens)+"/enable")
		},
	},
}

func administer(t *testing.T, r *apitest.Replica, path string) {
	t.Helper()
	a := apitest.Settled(t, func() apitest.Answer { return r.Admin(t, http.MethodPost, path, nil) })
	if a.Status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, a.Status, a.Body)
	}
}

// TestRevocationReachesEveryReplica ends tokens at one replica: the others
// refuse refreshes at once and access tokens within the bound.
func TestRevocationReachesEveryReplica(t *testing.T) {
	t.Parallel()
	c := apitest.NewCluster(t, 3)
	at, others := c.Replicas[0], c.Replicas[1:]
	for name, test := range revocations {
		t.Run(name, func(t *testing.T) {
			client := register(t, at, retryWindow(600))
			tokens := newTokens(t, at, client)
			refresh := func() []apitest.Answer {
				return apitest.Race(len(others), func(i int) apitest.Answer {
					return refreshed(t, others[i], client, tokens.Text("refresh_token"))
				})
			}
			w := newWatch(t, tokens.Text("access_token"), others...)
			test.do(t, at, client, tokens)
			ended := time.Now()
			if isActive(introspect(t, at, tokens.Text("access_token"))) {
				t.Error("accepted by the replica that ended it")
			}
			var answers []apitest.Answer
			if !test.later {
				answers = refresh()
			}
			w.end(t, ended, bound)
			for _, a := range append(answers, refresh()...) {
				if refused := a.Status != http.StatusOK; refused == test.spares {
					t.Errorf("refresh: %d %s", a.Status, a.Body)
				}
			}
			if test.undo == nil {
				return
			}
			test.undo(t, at, client, tokens)
			for _, r := range others {
				embeddedtest.Eventually(t, "the replica to hear of it", func() bool {
					return r.LoginAnswer(t, client, "read").Status == http.StatusOK
				})
				fresh := newTokens(t, r, client)
				if active(t, r, tokens.Text("access_token")) || !active(t, r, fresh.Text("access_token")) {
					t.Error("what ended was revived, or nothing is issued any more")
				}
				wantError(t, refreshed(t, r, client, tokens.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
			}
		})
	}
}
