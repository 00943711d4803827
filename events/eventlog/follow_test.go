package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// follower collects what a Follow hands over.
type follower struct {
	mu      sync.Mutex
	entries []eventlog.Entry
	largest int
	ended   chan error
}

// follow starts a follower that ends with the test.
func follow(t testing.TB, l *eventlog.Log, stream string, from eventlog.From) *follower {
	t.Helper()
	f := &follower{ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { f.ended <- l.Follow(ctx, stream, from, f.take) }()
	t.Cleanup(cancel)
	return f
}

func (f *follower) take(entries []eventlog.Entry) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entries = append(f.entries, entries...)
	f.largest = max(f.largest, len(entries))
	return nil
}

func (f *follower) seen() []eventlog.Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.entries
}

// reaches waits until the follower has read that far.
func (f *follower) reaches(t testing.TB, seq uint64) {
	t.Helper()
	eventually(t, fmt.Sprintf("the follower reaches %d", seq), func() bool {
		seen := f.seen()
		return len(seen) > 0 && seen[len(seen)-1].Seq >= seq
	})
}

// fails waits for the follower's end.
func (f *follower) fails(t testing.TB, want error) {
	t.Helper()
	select {
	case err := <-f.ended:
		if !errors.Is(err, want) {
			t.Errorf("follow ended with %v, want %v", err, want)
		}
	case <-time.After(patience):
		t.Errorf("follow did not end, want %v", want)
	}
}

// checkUnbroken checks that entries are first, first+1 and so on.
func checkUnbroken(t testing.TB, entries []eventlog.Entry, first uint64) {
	t.Helper()
	for i, en := range entries {
		if en.Seq != first+uint64(i) {
			t.Fatalf("entry %d has sequence %d, want %d", i, en.Seq, first+uint64(i))
		}
	}
}

// chain hashes entries as a projector does.
func chain(entries []eventlog.Entry) (h events.Hash) {
	for _, en := range entries {
		h = h.Next(en.Seq, en.Message)
	}
	return h
}

func TestFollow(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, e env) {
		t.Run("order", func(t *testing.T) { testFollowOrder(t, e) })
		t.Run("faults", func(t *testing.T) { testFollowFaults(t, e) })
		t.Run("from", func(t *testing.T) { testFrom(t, e) })
		t.Run("batch fails", func(t *testing.T) { testBatchFails(t, e) })
		t.Run("slow batch", func(t *testing.T) { testSlowBatch(t, e) })
	})
}

// load appends chains of events, markers and ticks from several writers, and
// returns the sequence of the last one.
func load(t testing.TB, l *eventlog.Log, writers int, each uint32) uint64 {
	t.Helper()
	var writing sync.WaitGroup
	for range writers {
		writing.Go(func() {
			g := newGrant()
			seq := mustAppend(t, l, eventlog.Unit{Event: opened(g)})
			for gen := range each {
				seq = mustAppend(t, l, eventlog.Unit{Event: rotated(g, gen), Expect: seq})
				mustAppend(t, l, eventlog.Unit{Event: tick()})
			}
			mustAppend(t, l, eventlog.Unit{Event: revoked(g), Expect: seq, Marker: marker(g)})
		})
	}
	writing.Wait()
	head, err := l.Head(within(t, patience), partition)
	if err != nil {
		t.Fatal(err)
	}
	return head.Seq
}

func testFollowOrder(t *testing.T, e env) {
	l := e.open(t)
	f := follow(t, l, partition, eventlog.From{})
	head := load(t, l, 16, 20)
	f.reaches(t, head)
	checkUnbroken(t, f.seen(), 1)
	again := replay(t, l, partition, eventlog.From{})
	checkUnbroken(t, again, 1)
	if chain(f.seen()) != chain(again) {
		t.Error("what was followed is not what is replayed")
	}
	if f.largest > 500 {
		t.Errorf("a batch of %d", f.largest)
	}
}

// testFollowFaults takes the connection away from a follower, and its
// consumer, while events come in. Its log's own appends go on all the same.
func testFollowFaults(t *testing.T, e env) {
	direct := e.open(t)
	l, proxy := e.openProxied(t)
	first := mustAppend(t, direct, eventlog.Unit{Event: tick()})
	f := follow(t, l, partition, eventlog.From{Seq: first})
	onRevoked := follow(t, l, partition, eventlog.From{Seq: first, Subjects: []string{string(realm.RevokedSubject(0))}})
	js, err := jetstream.New(e.dial(t))
	if err != nil {
		t.Fatal(err)
	}
	f.reaches(t, first)
	var head uint64
	for range 3 {
		f.reaches(t, load(t, direct, 4, 5))
		proxy.Drop()
		load(t, direct, 4, 5)
		deleteConsumers(t, js)
		f.reaches(t, load(t, direct, 4, 5))
		proxy.StallReplies()
		head = load(t, direct, 4, 5)
		proxy.Heal()
		proxy.Drop()
		f.reaches(t, head) // nothing comes after what was lost
	}
	onRevoked.reaches(t, head)
	all := replay(t, direct, partition, eventlog.From{Seq: first})
	if chain(f.seen()) != chain(all) {
		t.Error("what was followed is not what is replayed")
	}
	var want []eventlog.Entry
	for _, en := range all {
		if en.Message.Subject == string(realm.RevokedSubject(0)) {
			want = append(want, en)
		}
	}
	if chain(onRevoked.seen()) != chain(want) {
		t.Errorf("followed %d entries of one subject, want %d", len(onRevoked.seen()), len(want))
	}
}

func deleteConsumers(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	s, err := js.Stream(within(t, patience), partition)
	if err != nil {
		t.Fatal(err)
	}
	names := s.ConsumerNames(within(t, patience))
	for name := range names.Name() {
		if err := s.DeleteConsumer(within(t, patience), name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			t.Fatal(err)
		}
	}
}

func testFrom(t *testing.T, e env) {
	l, g := e.open(t), newGrant()
	before := mustAppend(t, l, eventlog.Unit{Event: tick()})
	a := mustAppend(t, l, eventlog.Unit{Event: opened(g)})
	b := mustAppend(t, l, eventlog.Unit{Event: rotated(g, 1), Expect: a})
	last := mustAppend(t, l, eventlog.Unit{Event: tick()})
	at := after(t, l, g, a)[0].Stored
	for name, tt := range map[string]struct {
		from        eventlog.From
		first, last uint64
	}{
		"sequence":           {eventlog.From{Seq: a}, a, last},
		"the last":           {eventlog.From{Seq: last}, last, last},
		"beyond":             {eventlog.From{Seq: last + 1}, 0, 0},
		"time":               {eventlog.From{Time: at}, b, last},
		"after all":          {eventlog.From{Time: at.Add(time.Hour)}, 0, 0},
		"subject":            {eventlog.From{Subjects: []string{string(g)}}, a, b},
		"subjects":           {eventlog.From{Seq: before, Subjects: []string{string(g), string(realm.RevokedSubject(0))}}, before, last},
		"wildcard":           {eventlog.From{Seq: a, Subjects: []string{string(realm) + ".grant.0.*"}}, a, b},
		"subject and beyond": {eventlog.From{Seq: b + 1, Subjects: []string{string(g)}}, 0, 0},
		"empty subject":      {eventlog.From{Subjects: []string{string(newGrant())}}, 0, 0},
	} {
		got := replay(t, l, partition, tt.from)
		if tt.first == 0 && len(got) == 0 {
			continue
		}
		if len(got) == 0 || got[0].Seq != tt.first || got[len(got)-1].Seq != tt.last {
			t.Errorf("%s: %d entries, want %d to %d", name, len(got), tt.first, tt.last)
		}
	}
	if got := replay(t, l, realm.RegistryStream(), eventlog.From{}); len(got) != 0 {
		t.Errorf("empty stream: %d entries", len(got))
	}
	if err := l.Replay(t.Context(), "OTHER", eventlog.From{}, nil); err == nil {
		t.Error("replayed a stream that is not the log's")
	}
}

func testBatchFails(t *testing.T, e env) {
	l := e.open(t)
	mustAppend(t, l, eventlog.Unit{Event: tick()})
	full := errors.New("disk full")
	fail := func([]eventlog.Entry) error { return full }
	if err := l.Follow(within(t, patience), partition, eventlog.From{}, fail); !errors.Is(err, full) {
		t.Errorf("follow: %v", err)
	}
	if err := l.Replay(within(t, patience), partition, eventlog.From{}, fail); !errors.Is(err, full) {
		t.Errorf("replay: %v", err)
	}
}

// testSlowBatch stops taking entries for longer than a consumer may be silent.
func testSlowBatch(t *testing.T, e env) {
	l := e.open(t)
	f := follower{ended: make(chan error, 1)}
	slow := make(chan struct{})
	release := time.AfterFunc(3*time.Second, func() { close(slow) })
	defer release.Stop()
	head := mustAppend(t, l, eventlog.Unit{Event: tick()})
	ctx, cancel := context.WithCancel(within(t, patience))
	defer cancel()
	go func() {
		f.ended <- l.Follow(ctx, partition, eventlog.From{Seq: head}, func(entries []eventlog.Entry) error {
			<-slow
			return f.take(entries)
		})
	}()
	head = load(t, l, 8, 8)
	f.reaches(t, head)
	checkUnbroken(t, f.seen(), f.seen()[0].Seq)
}

// A reader that named where it starts is told when an archiver was faster; one
// that did not starts at what is left.
func TestGap(t *testing.T) {
	t.Parallel()
	n := embeddedtest.Single(t)
	nc := n.Conn()
	l := open(t, nc, eventlog.Config{})
	head := load(t, l, 2, 5)
	f := follow(t, l, partition, eventlog.From{})
	f.reaches(t, head)
	purgeTo(t, nc, head)
	f.reaches(t, load(t, l, 1, 1)) // it had read what was purged
	checkUnbroken(t, f.seen(), 1)
	follow(t, l, partition, eventlog.From{Seq: 1}).fails(t, eventlog.ErrGap)
	checkUnbroken(t, replay(t, l, partition, eventlog.From{}), head)
	checkUnbroken(t, replay(t, l, partition, eventlog.From{Seq: head}), head)
	follow(t, l, partition, eventlog.From{Seq: 1, Subjects: []string{string(realm.RevokedSubject(0))}}).reaches(t, head)
}

// purgeTo keeps sequence first and what follows it.
func purgeTo(t *testing.T, nc *nats.Conn, first uint64) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), partition)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(first)); err != nil {
		t.Fatal(err)
	}
}

// TestFollowLingers holds back what comes soon after something else, and hands over
// what comes first. A nudge is heard while it waits, and nothing is lost with it.
func TestFollowLingers(t *testing.T) {
	t.Parallel()
	l := open(t, embeddedtest.Single(t).Conn(), eventlog.Config{})
	stream := l.Realm().PartitionStream(0)
	nudge := make(chan struct{})
	f := follow(t, l, stream, eventlog.From{Seq: 1, Linger: time.Hour, Nudge: nudge})
	at := follow(t, l, stream, eventlog.From{Seq: 1})
	f.reaches(t, mustAppend(t, l, eventlog.Unit{Event: opened(newGrant())}))
	var last uint64
	for range 3 {
		last = mustAppend(t, l, eventlog.Unit{Event: opened(newGrant())})
	}
	at.reaches(t, last)
	if n := len(f.seen()); n != 1 {
		t.Errorf("%d entries were handed over before their time", n-1)
	}
	for next := last - 2; next <= last; next++ {
		nudge <- struct{}{} // after which the next one at least comes at once
		f.reaches(t, next)
	}
	checkUnbroken(t, f.seen(), 1)
}

// TestWhoIsBehindDoesNotLinger, though it takes entries faster than they come.
func TestWhoIsBehindDoesNotLinger(t *testing.T) {
	t.Parallel()
	l := open(t, embeddedtest.Single(t).Conn(), eventlog.Config{})
	var last uint64
	for range 1500 {
		last = mustAppend(t, l, eventlog.Unit{Event: opened(newGrant())})
	}
	f := follow(t, l, l.Realm().PartitionStream(0), eventlog.From{Seq: 1, Linger: time.Hour})
	f.reaches(t, last-500) // fewer than that are one batch
	checkUnbroken(t, f.seen(), 1)
}
