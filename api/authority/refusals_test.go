package authority

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
)

// A fakeLog takes events, or fails as it is told.
type fakeLog struct {
	mu     sync.Mutex
	fail   func(ctx context.Context, e events.Event) error
	stored []events.RequestRefused
	ids    map[string]int
	made   int
}

func (l *fakeLog) event(r refused, t tally) events.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made++
	return events.Event{ID: fmt.Sprint(l.made), Fact: events.RequestRefused{
		What: r.what, Client: r.client, Grant: r.grant, Reason: string(r.reason), Count: t.count, First: t.first, Last: t.last,
	}}
}

func (l *fakeLog) append(ctx context.Context, e events.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		if err := l.fail(ctx, e); err != nil {
			return err
		}
	}
	if l.ids == nil {
		l.ids = map[string]int{}
	}
	if l.ids[e.ID]++; l.ids[e.ID] == 1 { // as the log knows an id
		l.stored = append(l.stored, e.Fact.(events.RequestRefused))
	}
	return nil
}

func (l *fakeLog) failing(f func(context.Context, events.Event) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = f
}

// counted is how many events there are and how many refusals they count.
func (l *fakeLog) counted() (n int, sum int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.stored {
		sum += f.Count
	}
	return len(l.stored), sum
}

func (l *fakeLog) want(t *testing.T, most int, sum int64) {
	t.Helper()
	if n, got := l.counted(); n > most || got != sum {
		t.Errorf("%d events count %d, want at most %d that count %d", n, got, most, sum)
	}
}

func startRefusals(t *testing.T, l *fakeLog, logger *slog.Logger) *refusals {
	t.Helper()
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	r := newRefusals(l.event, l.append, logger)
	r.start(t.Context())
	return r
}

func by(client string) refused { return refused{what: "refresh_token", client: client, reason: "no"} }

func TestAlikeRefusalsAreFewEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l fakeLog
		r := startRefusals(t, &l, nil)
		for i := range 10_000 {
			r.add(by("web"), Attempt{}, int64(i))
			pass(300 * time.Microsecond) // three seconds in all
		}
		pass(refusalPause)
		l.want(t, 4, 10_000)
		r.close()
		l.want(t, 4, 10_000)
		next := int64(0)
		for _, f := range l.stored {
			if f.First != next || f.Last != f.First+f.Count-1 {
				t.Errorf("%d refusals from %d to %d, want them from %d", f.Count, f.First, f.Last, next)
			}
			next = f.Last + 1
		}
	})
}

// TestRefusalsAreBounded has a million that differ: in memory, and in the log
// by the second.
func TestRefusalsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l fakeLog
		r := startRefusals(t, &l, nil)
		const all = 1_000_000
		for i := range all {
			k := by(fmt.Sprint("client-", i))
			k.grant[15], k.user, k.parameter = byte(i), fmt.Sprint(i), "refresh_token"
			if i%2 == 0 {
				k.reason = "never"
			}
			r.add(k, Attempt{}, 0)
		}
		r.mu.Lock()
		n := len(r.tallies)
		r.mu.Unlock()
		if n > refusalsKept+2 {
			t.Errorf("%d are kept apart", n)
		}
		pass(refusalPause + refusalPause/2)
		if n, _ := l.counted(); n != refusalBurst {
			t.Errorf("%d events at once, want %d", n, refusalBurst)
		}
		pass(10 * refusalPause)
		if n, _ := l.counted(); n != refusalBurst+10*refusalEvents {
			t.Errorf("%d events after ten seconds more, want %d more", n, 10*refusalEvents)
		}
		r.close()
		l.want(t, refusalsKept+2, all)
		folded := map[string]int64{}
		for _, f := range l.stored {
			if f.Client == "" && f.Grant.IsZero() {
				folded[f.Reason] += f.Count
			}
		}
		if folded["no"]+folded["never"] != all-refusalsKept || folded["no"] == 0 {
			t.Errorf("folded %v", folded)
		}
		if len(r.tallies) != 0 || len(r.order) != 0 {
			t.Errorf("%d kinds and %d in order are left", len(r.tallies), len(r.order))
		}
	})
}

// TestRefusalsOutlastTheLog has writes fail, stored and not stored. Counts wait,
// and what may be stored is sent again as it was.
func TestRefusalsOutlastTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l fakeLog
		var out strings.Builder
		r := startRefusals(t, &l, slog.New(slog.NewTextHandler(&out, nil)))
		lost := errors.New("lost")
		for _, stored := range []bool{false, true} {
			l.failing(func(_ context.Context, e events.Event) error {
				if stored {
					if l.ids[e.ID]++; l.ids[e.ID] == 1 {
						l.stored = append(l.stored, e.Fact.(events.RequestRefused))
					}
				}
				return lost
			})
			for range 100 {
				r.add(by("web"), Attempt{}, 1)
				r.add(by("spa"), Attempt{}, 1)
				pass(refusalPause / 10)
			}
			l.failing(nil)
			pass(3 * refusalPause)
		}
		l.want(t, 8, 400)
		if n := strings.Count(out.String(), "refusals wait"); n != 1 {
			t.Errorf("told %d times:\n%s", n, &out)
		}
		r.close()
		l.want(t, 8, 400)
	})
}

// TestRefusalsOfOnePartition has some fail for good, which must not hold up the
// others.
func TestRefusalsOfOnePartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l fakeLog
		l.failing(func(_ context.Context, e events.Event) error {
			if strings.HasPrefix(e.Fact.(events.RequestRefused).Client, "bad") {
				return errors.New("partition failed closed")
			}
			return nil
		})
		r := startRefusals(t, &l, nil)
		for i := range 50 {
			r.add(by(fmt.Sprint("bad", i)), Attempt{}, 0)
		}
		pass(20 * refusalPause)
		r.add(by("good"), Attempt{}, 0)
		pass(10 * refusalPause)
		l.want(t, 1, 1)
		r.close()
		l.want(t, 1, 1)
	})
}

func TestRefusalsAreWrittenAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l fakeLog
		r := startRefusals(t, &l, nil)
		for i := range 500 {
			r.add(by(fmt.Sprint(i)), Attempt{}, 0)
		}
		r.close()
		l.want(t, 500, 500)
	})
}

// TestRefusalsEndInTime closes on a log that does not answer.
func TestRefusalsEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l fakeLog
		l.failing(func(ctx context.Context, _ events.Event) error {
			<-ctx.Done()
			return ctx.Err()
		})
		var out strings.Builder
		r := startRefusals(t, &l, slog.New(slog.NewTextHandler(&out, nil)))
		r.add(by("web"), Attempt{}, 0)
		r.add(by("spa"), Attempt{}, 0)
		pass(2 * refusalPause)
		began := time.Now()
		r.close()
		if took := time.Since(began); took > refusalClosing {
			t.Errorf("took %s", took)
		}
		if !strings.Contains(out.String(), "refusals are missing in the log") {
			t.Errorf("nobody was told:\n%s", &out)
		}
	})
}

// TestRefusalsAreCountedFromEverywhere counts while it writes.
func TestRefusalsAreCountedFromEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l fakeLog
		r := startRefusals(t, &l, nil)
		var adding sync.WaitGroup
		for i := range 20 {
			adding.Go(func() {
				for range 500 {
					r.add(by(fmt.Sprint(i%7)), Attempt{}, 0)
					pass(refusalPause / 100)
				}
			})
		}
		adding.Wait()
		r.close()
		l.want(t, 7*6, 20*500)
	})
}

// TestWhatIsNotRecorded leaves out what may be otherwise in a moment, and what
// is no refusal.
func TestWhatIsNotRecorded(t *testing.T) {
	a := &Authority{refusals: newRefusals(nil, nil, nil)}
	for _, err := range []error{
		errors.New("broken"), nil, unavailable("append", errors.New("no log")),
		unavailable("find", &rules.Refusal{Reason: rules.BehindTheToken}), &rules.Refusal{Reason: Busy}, &rules.Refusal{Reason: ServerError},
	} {
		a.Refused(Attempt{What: "refresh_token"}, err)
	}
	if n := len(a.refusals.tallies); n != 0 {
		t.Errorf("%d are recorded", n)
	}
}

// pass lets time pass, which costs none in a bubble.
func pass(d time.Duration) { <-time.After(d) }
