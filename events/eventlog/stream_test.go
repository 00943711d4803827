package eventlog_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// A failed partition takes nothing more and shows nothing; the others go on.
func TestFailPartition(t *testing.T) {
	t.Parallel()
	l := open(t, embeddedtest.Single(t).Conn(), eventlog.Config{Partitions: 2})
	g := newGrant()
	seq := mustAppend(t, l, eventlog.Unit{Event: opened(g)})
	first := errors.New("hash differs")
	l.FailPartition(partition, first)
	l.FailPartition(partition, errors.New("later reason"))

	_, appending := l.Append(t.Context(), eventlog.Unit{Event: rotated(g, 1), Expect: seq})
	_, plain := l.Append(t.Context(), eventlog.Unit{Event: tick()})
	_, reading := l.After(t.Context(), g, 0)
	_, _, last := l.Last(t.Context(), g)
	for what, err := range map[string]error{
		"append": appending, "plain append": plain, "after": reading, "last": last, "failed": l.Failed(partition),
	} {
		if !errors.Is(err, eventlog.ErrPartitionFailed) || !errors.Is(err, first) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if head, err := l.Head(t.Context(), partition); err != nil || head.Seq != seq {
		t.Errorf("head: %v %v", head, err)
	}
	if got := replay(t, l, partition, eventlog.From{}); len(got) != 1 {
		t.Errorf("replayed %d entries", len(got))
	}
	other := realm.GrantSubject(events.NewGrantID(1, [16]byte{}))
	mustAppend(t, l, eventlog.Unit{Event: opened(other)})
	mustAppend(t, l, eventlog.Unit{Event: event(realm.RegistryTickSubject(), events.FeedTicked{})})
	if l.Failed(realm.PartitionStream(1)) != nil || l.Failed("OTHER") == nil {
		t.Error("the wrong partition failed")
	}
}

// shorten replaces a stream by an empty one of the same configuration, which
// is what a store does that lost its files. A server may still find the old
// files when it makes the new stream; then it is done again.
func shorten(t *testing.T, nc *nats.Conn, stream string) {
	t.Helper()
	eventually(t, "the new stream is empty", func() bool {
		change(t, nc, stream, func(*jetstream.StreamConfig) {})
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		s, err := js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().State.LastSeq == 0
	})
}

// An ack of a sequence that was known to be taken shows that the log has lost
// its end (I8).
func TestShorterLogFailsPartition(t *testing.T) {
	t.Parallel()
	nc := embeddedtest.Single(t).Conn()
	seen := map[string]func(l *eventlog.Log, g events.Subject){
		"by acks": func(*eventlog.Log, events.Subject) {},
		"by a leader read": func(l *eventlog.Log, g events.Subject) {
			after(t, l, g, 0)
		},
		"by following": func(l *eventlog.Log, _ events.Subject) {
			replay(t, l, partition, eventlog.From{})
		},
		"by its head": func(l *eventlog.Log, _ events.Subject) {
			if _, err := l.Head(t.Context(), partition); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, see := range seen {
		t.Run(name, func(t *testing.T) {
			l, g := open(t, nc, eventlog.Config{}), newGrant()
			if name != "by acks" {
				writer := open(t, nc, eventlog.Config{})
				mustAppend(t, writer, eventlog.Unit{Event: opened(g)})
			} else {
				mustAppend(t, l, eventlog.Unit{Event: opened(g)})
			}
			see(l, g)
			shorten(t, nc, partition)
			_, err := l.Append(t.Context(), eventlog.Unit{Event: tick()})
			if !errors.Is(err, eventlog.ErrPartitionFailed) {
				t.Errorf("append: %v", err)
			}
			if _, err := l.After(t.Context(), g, 0); !errors.Is(err, eventlog.ErrPartitionFailed) {
				t.Errorf("read: %v", err)
			}
		})
	}
}

// A follower that comes back to a log with another past stops there.
func TestRewrittenLogStopsFollowers(t *testing.T) {
	t.Parallel()
	nc := embeddedtest.Single(t).Conn()
	l := open(t, nc, eventlog.Config{})
	head := load(t, l, 1, 3)
	whole := follow(t, l, partition, eventlog.From{})
	part := follow(t, l, partition, eventlog.From{Subjects: []string{string(realm) + ".grant.>"}})
	whole.reaches(t, head)
	part.reaches(t, head-1)

	shorten(t, nc, partition)
	load(t, open(t, nc, eventlog.Config{}), 1, 4)
	whole.fails(t, eventlog.ErrRewritten)
	part.fails(t, eventlog.ErrRewritten)
	if err := l.Failed(partition); !errors.Is(err, eventlog.ErrRewritten) {
		t.Errorf("the partition has not failed: %v", err)
	}
}

func TestHead(t *testing.T) {
	t.Parallel()
	nc := embeddedtest.Single(t).Conn()
	l := open(t, nc, eventlog.Config{})
	empty, err := l.Head(t.Context(), partition)
	if err != nil || empty.Seq != 0 || empty.Created.IsZero() {
		t.Fatal(empty, err)
	}
	begun := time.Now().Add(-time.Second)
	seq := mustAppend(t, l, eventlog.Unit{Event: tick()})
	one, err := l.Head(t.Context(), partition)
	if err != nil || one.First != 1 || one.Seq != seq || one.Time.Before(begun) || !one.Created.Equal(empty.Created) {
		t.Fatal(one, err)
	}
	shorten(t, nc, partition)
	if other, err := l.Head(t.Context(), partition); err != nil || other.Created.Equal(one.Created) {
		t.Fatal(other, err)
	}
}
