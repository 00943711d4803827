package eventlog_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// manyRevoked opens grants, and gives the units that revoke them.
func manyRevoked(t *testing.T, l *eventlog.Log, n int) (units []eventlog.Unit) {
	t.Helper()
	for range n {
		g := newGrant()
		units = append(units, eventlog.Unit{Event: revoked(g), Expect: mustAppend(t, l, eventlog.Unit{Event: opened(g)}), Marker: marker(g)})
	}
	return units
}

// checkAllOnce expects each unit in the log once, with its marker behind it.
func checkAllOnce(t *testing.T, l *eventlog.Log, units []eventlog.Unit, errs []error) {
	t.Helper()
	for i, u := range units {
		stored := after(t, l, u.Event.Subject, u.Expect)
		if errs[i] != nil || len(stored) != 1 || stored[0].ID != u.Event.ID {
			t.Fatalf("unit %d: %v, stored %v", i, errs[i], ids(stored))
		}
		checkMarked(t, l, u.Event.Subject, stored[0].Seq)
	}
}

func TestAppendAll(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, e env) {
		l := e.open(t)
		t.Run("all", func(t *testing.T) {
			units := manyRevoked(t, l, 20)
			checkAllOnce(t, l, units, l.AppendAll(within(t, patience), units))
			checkAllOnce(t, l, units, l.AppendAll(within(t, patience), units)) // again, as after a crash
		})
		t.Run("one lost", func(t *testing.T) {
			units := manyRevoked(t, l, 20)
			mustAppend(t, l, eventlog.Unit{Event: rotated(units[7].Event.Subject, 1), Expect: units[7].Expect})
			errs := l.AppendAll(within(t, patience), units)
			if !errors.Is(errs[7], eventlog.ErrConflict) {
				t.Errorf("the one: %v", errs[7])
			}
			checkAllOnce(t, l, slices.Delete(slices.Clone(units), 7, 8), slices.Delete(slices.Clone(errs), 7, 8))
			if got := after(t, l, units[7].Event.Subject, units[7].Expect); len(got) != 1 {
				t.Errorf("stored %v", ids(got))
			}
		})
		t.Run("one, and none", func(t *testing.T) {
			units := manyRevoked(t, l, 1)
			checkAllOnce(t, l, units, l.AppendAll(within(t, patience), units))
			if errs := l.AppendAll(within(t, patience), nil); len(errs) != 0 {
				t.Errorf("%v", errs)
			}
		})
		t.Run("what is no part of a batch", func(t *testing.T) {
			units := append(manyRevoked(t, l, 2), eventlog.Unit{Event: tick()})
			errs := l.AppendAll(within(t, patience), units)
			if errs[2] == nil {
				t.Error("a plain event was taken")
			}
			checkAllOnce(t, l, units[:2], errs[:2])
		})
		for name, stored := range map[string]bool{"lost ack, stored": true, "lost ack, not stored": false} {
			t.Run(name, func(t *testing.T) {
				units := manyRevoked(t, l, 5)
				far, proxy := e.openProxied(t)
				if stored {
					proxy.StallReplies()
				} else {
					proxy.StallRequests()
				}
				done := make(chan []error, 1)
				ctx := within(t, patience)
				go func() { done <- far.AppendAll(ctx, units) }()
				eventually(t, "the batch is under way", func() bool {
					return proxy.Holds() && (!stored || len(after(t, l, units[4].Event.Subject, units[4].Expect)) == 1)
				})
				proxy.Heal()
				proxy.Drop()
				checkAllOnce(t, l, units, <-done)
			})
		}
		if err := l.Failed(partition); err != nil {
			t.Error(err)
		}
	})
}

// BenchmarkAppendAll has grants end as a revocation in bulk ends them.
func BenchmarkAppendAll(b *testing.B) {
	l := open(b, embeddedtest.Single(b).Conn(), eventlog.Config{})
	for b.Loop() {
		units := make([]eventlog.Unit, 200)
		for i := range units {
			g := newGrant()
			units[i] = eventlog.Unit{Event: revoked(g), Marker: marker(g)}
		}
		if err := errors.Join(l.AppendAll(b.Context(), units)...); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(200*float64(b.N)/b.Elapsed().Seconds(), "units/s")
}
