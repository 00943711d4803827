package eventlog_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// TestAppend is the contract of Append, the same on one server and on a
// cluster.
func TestAppend(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, e env) {
		t.Run("one winner", func(t *testing.T) { testOneWinner(t, e) })
		t.Run("one winner with a marker", func(t *testing.T) { testOneWinnerWithMarker(t, e) })
		t.Run("conflict", func(t *testing.T) { testConflict(t, e) })
		t.Run("same event again", func(t *testing.T) { testSameAgain(t, e) })
		t.Run("ahead of the log", func(t *testing.T) { testAheadOfTheLog(t, e) })
		t.Run("plain", func(t *testing.T) { testPlain(t, e) })
		t.Run("refused", func(t *testing.T) { testRefused(t, e) })
		t.Run("registry", func(t *testing.T) { testRegistry(t, e) })
		t.Run("lost acks", func(t *testing.T) { testLostAcks(t, e) })
	})
}

// race appends one unit per racer, all at once, and returns the sequences of
// those that won.
func race(t *testing.T, logs []*eventlog.Log, racers int, unit func() eventlog.Unit) []uint64 {
	t.Helper()
	var wins []uint64
	var mu sync.Mutex
	var racing sync.WaitGroup
	start := make(chan struct{})
	ctx := within(t, patience)
	for i := range racers {
		racing.Go(func() {
			u := unit()
			<-start
			r, err := logs[i%len(logs)].Append(ctx, u)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				wins = append(wins, r.Seq)
			} else if !errors.Is(err, eventlog.ErrConflict) {
				t.Errorf("racer %d: %v", i, err)
			}
		})
	}
	close(start)
	racing.Wait()
	return wins
}

func testOneWinner(t *testing.T, e env) {
	logs := []*eventlog.Log{e.open(t), e.open(t), e.open(t)}
	g, seq := newGrant(), uint64(0)
	for round := range uint32(8) {
		wins := race(t, logs, 64, func() eventlog.Unit { return eventlog.Unit{Event: rotated(g, round), Expect: seq} })
		if len(wins) != 1 {
			t.Fatalf("round %d: %d winners", round, len(wins))
		}
		if got := after(t, logs[0], g, seq); len(got) != 1 || got[0].Seq != wins[0] {
			t.Fatalf("round %d: won with %d, stored %v", round, wins[0], got)
		}
		seq = wins[0]
	}
}

func testOneWinnerWithMarker(t *testing.T, e env) {
	logs := []*eventlog.Log{e.open(t), e.open(t), e.open(t)}
	for range 4 {
		g := newGrant()
		opening := mustAppend(t, logs[0], eventlog.Unit{Event: opened(g)})
		wins := race(t, logs, 16, func() eventlog.Unit {
			return eventlog.Unit{Event: revoked(g), Expect: opening, Marker: marker(g)}
		})
		if len(wins) != 1 {
			t.Fatalf("%d winners", len(wins))
		}
		checkMarked(t, logs[1], g, wins[0])
	}
}

// checkMarked checks that the event at seq has its marker right behind it, and
// that the grant has no other.
func checkMarked(t *testing.T, l *eventlog.Log, g events.Subject, seq uint64) {
	t.Helper()
	var at []uint64
	for _, en := range replay(t, l, partition, eventlog.From{Subjects: []string{string(realm.RevokedSubject(0))}}) {
		r, err := en.Recorded()
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := r.Fact.(events.GrantRevocationMarked); ok && m.Grant.String() == g.ID() {
			at = append(at, r.Seq)
		}
	}
	if !slices.Equal(at, []uint64{seq + 1}) {
		t.Errorf("the event is at %d, its markers at %v", seq, at)
	}
}

func testConflict(t *testing.T, e env) {
	l, g := e.open(t), newGrant()
	seq := mustAppend(t, l, eventlog.Unit{Event: opened(g)})
	for name, u := range map[string]eventlog.Unit{
		"opened already": {Event: opened(g)},
		"with a marker":  {Event: revoked(g), Marker: marker(g)},
	} {
		if _, err := l.Append(t.Context(), u); !errors.Is(err, eventlog.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	mustAppend(t, l, eventlog.Unit{Event: rotated(g, 1), Expect: seq})
	if _, err := l.Append(t.Context(), eventlog.Unit{Event: rotated(g, 1), Expect: seq}); !errors.Is(err, eventlog.ErrConflict) {
		t.Errorf("stale: %v", err)
	}
	if got := after(t, l, g, 0); len(got) != 2 {
		t.Errorf("stored %v", ids(got))
	}
}

// A caller that asks again after a crash gets the same answer, also when the
// grant has moved on since.
func testSameAgain(t *testing.T, e env) {
	l, g := e.open(t), newGrant()
	u := eventlog.Unit{Event: opened(g)}
	seq := mustAppend(t, l, u)
	mustAppend(t, l, eventlog.Unit{Event: rotated(g, 1), Expect: seq})
	if again := mustAppend(t, e.open(t), u); again != seq {
		t.Errorf("stored at %d, then at %d", seq, again)
	}
	if got := after(t, l, g, 0); len(got) != 2 {
		t.Errorf("stored %v", ids(got))
	}
}

// An expectation that the log has not reached is no conflict: the log that
// answers may be behind.
func testAheadOfTheLog(t *testing.T, e env) {
	l, g := e.open(t), newGrant()
	seq := mustAppend(t, l, eventlog.Unit{Event: opened(g)})
	_, err := l.Append(within(t, 300*time.Millisecond), eventlog.Unit{Event: rotated(g, 1), Expect: seq + 1000})
	if !errors.Is(err, eventlog.ErrUnsettled) {
		t.Error(err)
	}
}

func testPlain(t *testing.T, e env) {
	l := e.open(t)
	s := realm.IssuedSubject(0, "plain")
	const writers, each = 16, 8
	var writing sync.WaitGroup
	var seqs sync.Map
	for range writers {
		writing.Go(func() {
			for range each {
				u := eventlog.Unit{Event: event(s, events.AccessTokenIssued{})}
				first := mustAppend(t, l, u)
				if again := mustAppend(t, l, u); again != first {
					t.Errorf("stored at %d and at %d", first, again)
				}
				seqs.Store(first, true)
			}
		})
	}
	writing.Wait()
	got := after(t, l, s, 0)
	if len(got) != writers*each {
		t.Errorf("%d events are stored, want %d", len(got), writers*each)
	}
	for _, r := range got {
		if _, ok := seqs.Load(r.Seq); !ok {
			t.Errorf("no receipt named %d", r.Seq)
		}
	}
}

func testRefused(t *testing.T, e env) {
	l, g := e.open(t), newGrant()
	large := opened(g)
	large.Fact = events.GrantOpened{Client: strings.Repeat("x", 2<<20)}
	guardedMarker := opened(newGrant())
	otherStream := event(realm.RegistryTickSubject(), events.FeedTicked{})
	for name, u := range map[string]eventlog.Unit{
		"other realm":               {Event: opened("other.grant.0." + events.Subject(g.ID()))},
		"no such partition":         {Event: opened("main.grant.7." + events.Subject(g.ID()))},
		"wildcard":                  {Event: opened("main.grant.0.*")},
		"no subject":                {Event: opened("main.grant")},
		"expectation on plain":      {Event: tick(), Expect: 1},
		"marker beside plain":       {Event: tick(), Marker: marker(g)},
		"guarded marker":            {Event: opened(g), Marker: &guardedMarker},
		"marker of another stream":  {Event: opened(g), Marker: &otherStream},
		"larger than a message may": {Event: large},
	} {
		_, err := l.Append(within(t, patience), u)
		if err == nil || errors.Is(err, eventlog.ErrUnsettled) || errors.Is(err, eventlog.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Append(ended, eventlog.Unit{Event: opened(g)}); !errors.Is(err, context.Canceled) || errors.Is(err, eventlog.ErrUnsettled) {
		t.Errorf("ended context: %v", err)
	}
	if got := after(t, l, g, 0); len(got) != 0 {
		t.Errorf("stored %v", ids(got))
	}
}

func testRegistry(t *testing.T, e env) {
	l := e.open(t)
	for _, ev := range []events.Event{
		event(realm.ClientSubject("web"), events.ClientRegistered{}),
		event(realm.UserSubject("u1"), events.UserRegistered{}),
		event(realm.KeySubject("k1"), events.KeyAnnounced{Use: events.KeyUseMAC, MACKey: 1}),
		event(realm.RegistryTickSubject(), events.FeedTicked{}),
	} {
		seq := mustAppend(t, l, eventlog.Unit{Event: ev})
		last, ok, err := l.Last(t.Context(), ev.Subject)
		if err != nil || !ok || last.Seq != seq || last.ID != ev.ID {
			t.Errorf("%s: %v %v %v", ev.Subject, last, ok, err)
		}
	}
}

// testLostAcks loses what passes between client and server: the ack of what
// was stored, or the request itself, so that nothing was.
func testLostAcks(t *testing.T, e env) {
	direct := e.open(t)
	tests := []lostAck{
		{name: "stored", stored: true},
		{name: "not stored"},
		{name: "stored and built on", stored: true, meanwhile: func(t *testing.T, mine eventlog.Unit) {
			seq := after(t, direct, mine.Event.Subject, mine.Expect)[0].Seq
			seq = mustAppend(t, direct, eventlog.Unit{Event: rotated(mine.Event.Subject, 2), Expect: seq})
			mustAppend(t, direct, eventlog.Unit{Event: rotated(mine.Event.Subject, 3), Expect: seq})
		}},
		{name: "not stored and taken", conflict: true, meanwhile: func(t *testing.T, mine eventlog.Unit) {
			mustAppend(t, direct, eventlog.Unit{Event: rotated(mine.Event.Subject, 1), Expect: mine.Expect})
		}},
		{name: repeatedByAnother, meanwhile: func(t *testing.T, mine eventlog.Unit) {
			mustAppend(t, direct, mine)
		}},
	}
	// They wait for timeouts, so they run all at once.
	var running sync.WaitGroup
	defer running.Wait()
	run := func(name string, test func(t *testing.T)) {
		running.Go(func() { t.Run(name, test) })
	}
	for _, tt := range tests {
		run(tt.name, func(t *testing.T) {
			g := newGrant()
			opening := mustAppend(t, direct, eventlog.Unit{Event: opened(g)})
			tt.check(t, e, direct, eventlog.Unit{Event: rotated(g, 1), Expect: opening})
		})
		if tt.name == repeatedByAnother {
			continue // a unit is repeated whole or not at all
		}
		run(tt.name+", with marker", func(t *testing.T) {
			g := newGrant()
			opening := mustAppend(t, direct, eventlog.Unit{Event: opened(g)})
			tt.check(t, e, direct, eventlog.Unit{Event: revoked(g), Expect: opening, Marker: marker(g)})
		})
	}
	run("plain, stored", func(t *testing.T) { testLostPlainAck(t, e, direct, true) })
	run("plain, not stored", func(t *testing.T) { testLostPlainAck(t, e, direct, false) })
	run("never settled", func(t *testing.T) { testNeverSettled(t, e, direct) })
}

// lostAck is one way in which an ack is lost.
type lostAck struct {
	name   string
	stored bool
	// meanwhile is what somebody else does before the connection is back.
	meanwhile func(t *testing.T, mine eventlog.Unit)
	conflict  bool
}

const repeatedByAnother = "not stored and repeated by another"

func (tt lostAck) check(t *testing.T, e env, direct *eventlog.Log, u eventlog.Unit) {
	got := loseAck(t, e, direct, u, tt.stored, func() {
		if tt.meanwhile != nil {
			tt.meanwhile(t, u)
		}
	})
	if !tt.conflict {
		checkStoredOnce(t, direct, u, got)
		return
	}
	if !errors.Is(got.err, eventlog.ErrConflict) {
		t.Fatal(got.err)
	}
	if slices.Contains(ids(after(t, direct, u.Event.Subject, 0)), u.Event.ID) {
		t.Error("the loser is in the log")
	}
}

// loseAck appends u through a connection that loses the ack, or the request,
// and comes back after meanwhile.
func loseAck(t *testing.T, e env, direct *eventlog.Log, u eventlog.Unit, stored bool, meanwhile func()) result {
	t.Helper()
	l, proxy := e.openProxied(t)
	if stored {
		proxy.StallReplies()
	} else {
		proxy.StallRequests()
	}
	done := appendAsync(within(t, patience), l, u)
	eventually(t, "the append is under way", func() bool {
		return proxy.Holds() && (!stored || slices.Contains(ids(after(t, direct, u.Event.Subject, u.Expect)), u.Event.ID))
	})
	meanwhile()
	proxy.Heal()
	proxy.Drop()
	return wait(t, done)
}

func checkStoredOnce(t *testing.T, direct *eventlog.Log, u eventlog.Unit, got result) {
	t.Helper()
	if got.err != nil {
		t.Fatal(got.err)
	}
	stored := after(t, direct, u.Event.Subject, u.Expect)
	if len(stored) == 0 || stored[0].ID != u.Event.ID || stored[0].Seq != got.Seq {
		t.Fatalf("receipt for %d, stored %v", got.Seq, stored)
	}
	if n := len(slices.DeleteFunc(ids(stored), func(id string) bool { return id != u.Event.ID })); n != 1 {
		t.Errorf("stored %d times", n)
	}
	if u.Marker != nil {
		checkMarked(t, direct, u.Event.Subject, got.Seq)
	}
}

func testLostPlainAck(t *testing.T, e env, direct *eventlog.Log, stored bool) {
	u := eventlog.Unit{Event: event(realm.IssuedSubject(0, "lost"+map[bool]string{true: "1"}[stored]), events.AccessTokenIssued{})}
	got := loseAck(t, e, direct, u, stored, func() {})
	checkStoredOnce(t, direct, u, got)
}

// An append that cannot be settled is reported as such, whether it was stored
// or not.
func testNeverSettled(t *testing.T, e env, direct *eventlog.Log) {
	l, proxy := e.openProxied(t)
	stored, lost := newGrant(), newGrant()
	proxy.StallReplies()
	if _, err := l.Append(within(t, time.Second), eventlog.Unit{Event: opened(stored)}); !errors.Is(err, eventlog.ErrUnsettled) {
		t.Error(err)
	}
	proxy.Heal()
	proxy.Cut()
	if _, err := l.Append(within(t, time.Second), eventlog.Unit{Event: opened(lost)}); !errors.Is(err, eventlog.ErrUnsettled) {
		t.Error(err)
	}
	eventually(t, "the first is stored", func() bool { return len(after(t, direct, stored, 0)) == 1 })
	if got := after(t, direct, lost, 0); len(got) != 0 {
		t.Errorf("stored %v", ids(got))
	}
}

// TestConcurrentAcks has acks of one replica overtake each other; none of them
// may be taken for a log that went back.
func TestConcurrentAcks(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, e env) {
		l := e.open(t)
		var writing sync.WaitGroup
		var stored atomic.Int64
		for range 64 {
			writing.Go(func() {
				g, seq := newGrant(), uint64(0)
				for gen := range uint32(8) {
					seq = mustAppend(t, l, eventlog.Unit{Event: rotated(g, gen), Expect: seq})
					mustAppend(t, l, eventlog.Unit{Event: tick()})
					stored.Add(2)
				}
			})
		}
		writing.Wait()
		if err := l.Failed(partition); err != nil {
			t.Error(err)
		}
		if n := int64(len(replay(t, l, partition, eventlog.From{}))); n != stored.Load() {
			t.Errorf("%d are stored, %d were acknowledged", n, stored.Load())
		}
	})
}
