package eventlog_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
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
		t.Run("in the registry", func(t *testing.T) {
			var units []eventlog.Unit
			for range crowd {
				units = append(units, eventlog.Unit{Event: event(realm.UserSubject(newGrant().ID()), events.UserRegistered{})})
			}
			seqs, errs := together(t, e.open(t), units)
			checkWhere(t, direct, units, seqs, errs)
		})
		t.Run("some lost", func(t *testing.T) { testSomeLost(t, e, direct) })
		t.Run("racers on few grants", func(t *testing.T) { testRacersTogether(t, e, direct) })
		for name, stored := range map[string]bool{"stored": true, "not stored": false} {
			t.Run("lost acks, "+name, func(t *testing.T) { testCrowdLosesAcks(t, e, direct, stored, together) })
			t.Run("lost ack of a batch, "+name, func(t *testing.T) { testCrowdLosesAcks(t, e, direct, stored, grouped) })
		}
		t.Run("given up while it waits", func(t *testing.T) { testGivenUp(t, e, direct) })
	})
}

// grouped appends all units as one batch.
func grouped(t *testing.T, l *eventlog.Log, units []eventlog.Unit) (seqs []uint64, errs []error) {
	t.Helper()
	return l.AppendGrouped(within(t, patience), units)
}

// testCrowdLosesAcks loses what is answered, or what is asked, and the connection
// with it. In the end every unit is stored once, where its receipt says.
func testCrowdLosesAcks(t *testing.T, e env, direct *eventlog.Log, stored bool,
	appendAll func(*testing.T, *eventlog.Log, []eventlog.Unit) ([]uint64, []error),
) {
	units := mixed(t, direct, crowd)
	far, proxy := e.openProxied(t)
	if stored {
		proxy.StallReplies()
	} else {
		proxy.StallRequests()
	}
	var seqs []uint64
	var errs []error
	done := make(chan struct{})
	go func() {
		defer close(done)
		seqs, errs = appendAll(t, far, units)
	}()
	eventually(t, "they are under way", func() bool {
		return proxy.Holds() && (!stored || anyStored(t, direct, units))
	})
	proxy.Drop()
	proxy.Heal()
	<-done
	checkWhere(t, direct, units, seqs, errs)
}

// testGivenUp has nothing get through, so that who comes late waits. Who gives up
// then was not sent and is told what all are told; nobody waits behind too many.
func testGivenUp(t *testing.T, e env, direct *eventlog.Log) {
	far, proxy := e.openProxied(t)
	proxy.StallRequests()
	ctx, cancel := context.WithCancel(within(t, patience))
	var alone, waiting sync.WaitGroup
	for range eventlog.AtOnce {
		alone.Go(func() { _, _ = far.Append(ctx, eventlog.Unit{Event: opened(newGrant())}) })
	}
	eventually(t, "the first to be on their way", proxy.Holds)
	late := eventlog.Unit{Event: opened(newGrant())}
	waits, stop := context.WithCancel(ctx)
	var refused, given atomic.Int32
	for i := range eventlog.MaxWaiting + 2*eventlog.AtOnce {
		u := late
		if i > 0 {
			u = eventlog.Unit{Event: opened(newGrant())}
		}
		waiting.Go(func() {
			switch _, err := far.Append(waits, u); {
			case errors.Is(err, eventlog.ErrBusy):
				refused.Add(1)
			case errors.Is(err, context.Canceled) && errors.Is(err, eventlog.ErrUnsettled):
				given.Add(1)
			}
		})
	}
	eventually(t, "some to be refused", func() bool { return refused.Load() >= eventlog.AtOnce })
	stop()
	waiting.Wait()
	if given.Load() < eventlog.MaxWaiting-eventlog.AtOnce {
		t.Errorf("%d of those that waited were told that nothing is known", given.Load())
	}
	cancel()
	alone.Wait()
	proxy.Drop()
	proxy.Heal()
	mustAppend(t, far, eventlog.Unit{Event: opened(newGrant())}) // and the way is free again
	if got := after(t, direct, late.Event.Subject, 0); len(got) > 0 {
		t.Errorf("stored %v", ids(got))
	}
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
