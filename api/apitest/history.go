package apitest

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// Race sends n requests at once, the i-th by send.
func Race(n int, send func(i int) Answer) []Answer {
	answers := make([]Answer, n)
	var ready, sent sync.WaitGroup
	ready.Add(1)
	for i := range n {
		sent.Go(func() {
			ready.Wait()
			answers[i] = send(i)
		})
	}
	ready.Done()
	sent.Wait()
	return answers
}

// Unavailable reports whether an answer says nothing but to come again.
func (a Answer) Unavailable() bool {
	return a.Status == http.StatusServiceUnavailable || a.Status == http.StatusTeapot // of the Login API
}

// Settled repeats a request until its answer says something. It may be called
// from any goroutine.
func Settled(t testing.TB, send func() Answer) Answer {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(embeddedtest.Patience); ; <-again.C {
		a := send()
		if !a.Unavailable() || t.Failed() {
			return a
		}
		if time.Now().After(deadline) {
			t.Errorf("unavailable for %v: %s", embeddedtest.Patience, a.Body)
			return a
		}
	}
}

// A Ledger has what clients were told about codes and refresh tokens, by
// whichever replica, and fails the test when two answers contradict each
// other. It may be written from any goroutine.
type Ledger struct {
	mu         sync.Mutex
	codes      map[string]bool
	successors map[string]string
	access     []string
}

// Redeemed notes the answer to a code exchange.
func (l *Ledger) Redeemed(t testing.TB, code string, a Answer) {
	t.Helper()
	if a.Status != http.StatusOK {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.codes[code] {
		t.Errorf("a code was redeemed twice: %s", a.Header.Get("X-Request-Id"))
	}
	if l.codes == nil {
		l.codes = map[string]bool{}
	}
	l.codes[code] = true
	l.access = append(l.access, a.Text("access_token"))
}

// Refreshed notes the answer to a refresh.
func (l *Ledger) Refreshed(t testing.TB, token string, a Answer) {
	t.Helper()
	if a.Status != http.StatusOK {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	successor := a.Text("refresh_token")
	if had, ok := l.successors[token]; ok && had != successor || successor == token || successor == "" {
		t.Errorf("a refresh token has another successor: %s", a.Header.Get("X-Request-Id"))
	}
	if l.successors == nil {
		l.successors = map[string]string{}
	}
	l.successors[token] = successor
	l.access = append(l.access, a.Text("access_token"))
}

// AccessTokens are all that clients were given.
func (l *Ledger) AccessTokens() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.access)
}

// History is every event of every grant, in order, as the log has it.
func (r *Replica) History(t testing.TB) map[events.GrantID][]events.Recorded {
	t.Helper()
	history := map[events.GrantID][]events.Recorded{}
	for _, p := range r.Log.Partitions() {
		from := eventlog.From{Subjects: []string{string(r.Log.Realm()) + ".grant.>"}}
		err := r.Log.Replay(t.Context(), r.Log.Realm().PartitionStream(p), from, func(batch []eventlog.Entry) error {
			for _, e := range batch {
				recorded, err := e.Recorded()
				if err != nil {
					return err
				}
				id, err := events.ParseGrantID(recorded.Subject.ID())
				if err != nil {
					return err
				}
				history[id] = append(history[id], recorded)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return history
}

// Refused is every event of refusals that is in the log now.
func (r *Replica) Refused(t testing.TB) []events.Recorded {
	t.Helper()
	var all []events.Recorded
	for _, p := range r.Log.Partitions() {
		recorded, err := r.Log.After(t.Context(), r.Log.Realm().RefusedSubject(p), 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, recorded...)
	}
	return all
}

// Refusals waits until the log has n refusals, and gives their events. More of
// them fail the test.
func (r *Replica) Refusals(t testing.TB, n int64) []events.Recorded {
	t.Helper()
	var all []events.Recorded
	var sum int64
	embeddedtest.Eventually(t, "the refusals to be in the log", func() bool {
		all, sum = r.Refused(t), 0
		for _, e := range all {
			if f, ok := e.Fact.(events.RequestRefused); ok {
				sum += f.Count
			}
		}
		return sum >= n
	})
	if sum != n {
		t.Errorf("%d refusals in the log, want %d", sum, n)
	}
	return all
}

// Issued are the jtis of a history's issuances. It fails the test for a code
// that was redeemed twice, a generation that was issued twice or left out, an
// access token's id that was used twice, and anything after a revocation.
func Issued(t testing.TB, history map[events.GrantID][]events.Recorded) map[string]bool {
	t.Helper()
	jtis := map[string]bool{}
	for id, recorded := range history {
		generation, revoked := uint32(0), false
		for _, r := range recorded {
			if revoked {
				t.Errorf("grant %s: %s at %d after its revocation", id, r.Fact.Type(), r.Seq)
			}
			var issued *events.Issuance
			switch f := r.Fact.(type) {
			case events.GrantOpened:
				issued = f.Issued
			case events.CodeRedeemed:
				issued = &f.Issuance
			case events.RefreshTokenRotated:
				issued = &f.Issuance
			case events.GrantRevoked:
				revoked = true
			}
			if issued == nil {
				continue
			}
			if issued.Generation != generation+1 || jtis[issued.JTI] {
				t.Errorf("grant %s: generation %d at %d follows %d", id, issued.Generation, r.Seq, generation)
			}
			generation = issued.Generation
			jtis[issued.JTI] = true
		}
	}
	return jtis
}
