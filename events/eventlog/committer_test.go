package eventlog_test

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// crowd is how many append at once: more than go alone, so that they are grouped.
const crowd = 120

// together appends all units at once and gives what became of each.
func together(t *testing.T, l *eventlog.Log, units []eventlog.Unit) (seqs []uint64, errs []error) {
	t.Helper()
	seqs, errs = make([]uint64, len(units)), make([]error, len(units))
	ctx := within(t, patience)
	start := make(chan struct{})
	var appending sync.WaitGroup
	for i, u := range units {
		appending.Go(func() {
			<-start
			r, err := l.Append(ctx, u)
			seqs[i], errs[i] = r.Seq, err
		})
	}
	close(start)
	appending.Wait()
	return seqs, errs
}

// mixed are units of all kinds: first events and further ones, plain ones, and some
// with a marker.
func mixed(t *testing.T, l *eventlog.Log, n int) (units []eventlog.Unit) {
	t.Helper()
	for i := range n {
		g := newGrant()
		switch i % 4 {
		case 0:
			units = append(units, eventlog.Unit{Event: opened(g)})
		case 1:
			units = append(units, eventlog.Unit{Event: rotated(g, 1), Expect: mustAppend(t, l, eventlog.Unit{Event: opened(g)})})
		case 2:
			units = append(units, eventlog.Unit{Event: event(realm.IssuedSubject(0, "crowd"+g.ID()), events.AccessTokenIssued{})})
		case 3:
			units = append(units, eventlog.Unit{
				Event: revoked(g), Expect: mustAppend(t, l, eventlog.Unit{Event: opened(g)}), Marker: marker(g),
			})
		}
	}
	return units
}

// checkWhere expects each unit once in the log, where its receipt says.
func checkWhere(t *testing.T, l *eventlog.Log, units []eventlog.Unit, seqs []uint64, errs []error) {
	t.Helper()
	for i, u := range units {
		stored := after(t, l, u.Event.Subject, u.Expect)
		if errs[i] != nil || len(stored) != 1 || stored[0].ID != u.Event.ID || stored[0].Seq != seqs[i] {
			t.Fatalf("unit %d: %d, %v, stored %v", i, seqs[i], errs[i], ids(stored))
		}
		if u.Marker != nil {
			checkMarked(t, l, u.Event.Subject, seqs[i])
		}
	}
}

// TestAppendTogether is the contract of appends that come together, the same on one
// server and on a cluster.
func TestAppendTogether(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, e env) {
		direct := e.open(t)
		t.Run("all", func(t *testing.T) {
			l := e.open(t)
			units := mixed(t, direct, crowd)
			seqs, errs := together(t, l, units)
			checkWhere(t, direct, units, seqs, errs)
			again, errs := together(t, l, units) // as after a crash: this replica knows that it has moved on
			checkWhere(t, direct, units, again, errs)
		})
		t.Run("some lost", func(t *testing.T) { testSomeLost(t, e, direct) })
		t.Run("racers on few grants", func(t *testing.T) { testRacersTogether(t, e, direct) })
		for name, stored := range map[string]bool{"lost ack, stored": true, "lost ack, not stored": false} {
			t.Run(name, func(t *testing.T) {
				units := mixed(t, direct, crowd)
				far, proxy := e.openProxied(t)
				if stored {
					proxy.StallReplies()
				} else {
					proxy.StallRequests()
				}
				type outcome struct {
					seqs []uint64
					errs []error
				}
				done := make(chan outcome, 1)
				go func() {
					seqs, errs := together(t, far, units)
					done <- outcome{seqs, errs}
				}()
				eventually(t, "they are under way", func() bool {
					return proxy.Holds() && (!stored || anyStored(t, direct, units))
				})
				proxy.Heal()
				proxy.Drop()
				got := <-done
				checkWhere(t, direct, units, got.seqs, got.errs)
			})
		}
	})
}

func anyStored(t *testing.T, l *eventlog.Log, units []eventlog.Unit) bool {
	t.Helper()
	return slices.ContainsFunc(units, func(u eventlog.Unit) bool { return len(after(t, l, u.Event.Subject, u.Expect)) == 1 })
}

// testSomeLost has another replica be first on some subjects. Those are lost, and
// nothing else is.
func testSomeLost(t *testing.T, e env, direct *eventlog.Log) {
	l := e.open(t)
	units := mixed(t, direct, crowd)
	taken := map[int]bool{5: true, 6 + 7: true, 41: true, 81: true}
	for i := range taken {
		mustAppend(t, direct, eventlog.Unit{Event: rotated(units[i].Event.Subject, 9), Expect: units[i].Expect})
	}
	seqs, errs := together(t, l, units)
	var kept []eventlog.Unit
	var at []uint64
	var none []error
	for i, u := range units {
		if !taken[i] {
			kept, at, none = append(kept, u), append(at, seqs[i]), append(none, errs[i])
			continue
		}
		if !errors.Is(errs[i], eventlog.ErrConflict) {
			t.Errorf("unit %d: %v", i, errs[i])
		}
		if got := after(t, direct, u.Event.Subject, u.Expect); len(got) != 1 || got[0].ID == u.Event.ID {
			t.Errorf("unit %d: stored %v", i, ids(got))
		}
	}
	checkWhere(t, direct, kept, at, none)
}

// testRacersTogether has many decide on the same state of few grants, at two
// replicas.
func testRacersTogether(t *testing.T, e env, direct *eventlog.Log) {
	logs := []*eventlog.Log{e.open(t), e.open(t)}
	const grants = 8
	var units [2][]eventlog.Unit
	opening := map[events.Subject]uint64{}
	for range grants {
		g := newGrant()
		opening[g] = mustAppend(t, direct, eventlog.Unit{Event: opened(g)})
		for i := range crowd / 2 {
			units[i%2] = append(units[i%2], eventlog.Unit{Event: rotated(g, 1), Expect: opening[g]})
		}
	}
	var wins sync.Map
	var racing sync.WaitGroup
	for i, l := range logs {
		racing.Go(func() {
			seqs, errs := together(t, l, units[i])
			for j, err := range errs {
				switch {
				case err == nil:
					if _, twice := wins.LoadOrStore(units[i][j].Event.Subject, seqs[j]); twice {
						t.Errorf("%s was won twice", units[i][j].Event.Subject)
					}
				case !errors.Is(err, eventlog.ErrConflict):
					t.Errorf("racer: %v", err)
				}
			}
		})
	}
	racing.Wait()
	for g, seq := range opening {
		at, won := wins.Load(g)
		if got := after(t, direct, g, seq); !won || len(got) != 1 || got[0].Seq != at {
			t.Errorf("%s: won %v, stored %v", g, at, ids(got))
		}
	}
}
