package projector

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// held is a gate that holds back one stream until it is opened.
func held(stream string) (gate func(context.Context, string) error, open func()) {
	opened := make(chan struct{})
	return func(ctx context.Context, of string) error {
		if of != stream {
			return nil
		}
		select {
		case <-opened:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}, func() { close(opened) }
}

// openPartitions opens the log with that many partitions at least.
func openPartitions(t testing.TB, nc *nats.Conn, n int) *eventlog.Log {
	t.Helper()
	log, err := eventlog.Open(t.Context(), nc, eventlog.Config{Realm: realm, Partitions: n})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// TestFeedTakesUpPartitions adds a partition in one process. In another the event
// says so, or a token before it.
func TestFeedTakesUpPartitions(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	adder := openFeed(t, openLog(t, node.Conn(), 1), FeedConfig{})
	follows := openFeed(t, openLog(t, node.Conn(), 1), FeedConfig{})
	gate, release := held(realm.RegistryStream())
	started := make(chan struct{})
	behind := openFeed(t, openLog(t, node.Conn(), 1), FeedConfig{Bound: time.Minute, Gate: func(ctx context.Context, stream string) error {
		select {
		case <-started:
			return gate(ctx, stream)
		default:
			return nil
		}
	}})
	close(started)
	if err := follows.Open(t.Context(), 1); !errors.Is(err, ErrStale) || !errors.Is(err, eventlog.ErrNoPartition) {
		t.Errorf("open what is not there: %v", err)
	}
	changed := follows.PartitionsChanged()
	if err := adder.log.CreatePartition(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if all, err := follows.Everywhere(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("before it was announced there are %v, %v", all, err)
	}
	if err := adder.Announce(t.Context(), 1, events.Meta{Actor: "admin"}); err != nil {
		t.Fatal(err)
	}
	both := []events.Partition{0, 1}
	for name, f := range map[string]*Feed{"adder": adder, "other": follows} {
		if all, err := f.Everywhere(t.Context()); err != nil || !slices.Equal(all, both) {
			t.Errorf("%s: there are %v, %v", name, all, err)
		}
	}
	<-changed
	if got := follows.Partitions(); !slices.Equal(got, both) {
		t.Errorf("followed are %v", got)
	}

	// The one that is behind cannot say which there are, and opens what is proved.
	if got := behind.Partitions(); len(got) != 1 {
		t.Errorf("it knows of %v", got)
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if all, err := behind.Everywhere(short); !errors.Is(err, ErrStale) {
		t.Errorf("it says that there are %v, %v", all, err)
	}
	if err := behind.PartitionFresh(t.Context(), 1); err != nil {
		t.Error(err)
	}
	if got := behind.Partitions(); len(got) != 1 {
		t.Errorf("it would issue in %v", got)
	}
	release()
	if all, err := behind.Everywhere(t.Context()); err != nil || !slices.Equal(all, both) {
		t.Errorf("there are %v, %v", all, err)
	}
	if got := behind.Partitions(); !slices.Equal(got, both) {
		t.Errorf("followed are %v", got)
	}
}

// TestFeedKnowsRevocationsBeforeItOpens opens a partition that has been in use: a
// revocation of it is known before anything is answered.
func TestFeedKnowsRevocationsBeforeItOpens(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	f := openFeed(t, openLog(t, node.Conn(), 1), FeedConfig{})
	other := openPartitions(t, node.Conn(), 2)
	id := events.NewGrantID(1, [16]byte{1: 7})
	put(t, other, realm.RevokedSubject(1), 0, events.GrantRevocationMarked{Grant: id, Until: time.Now().Add(time.Hour).Unix()})
	if err := f.Open(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if !f.GrantRevoked(id) {
		t.Error("a revocation is not known")
	}
}

// TestOpenFeedFinishesAnAddition starts where somebody made a stream and came no
// further.
func TestOpenFeedFinishesAnAddition(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	runs := openFeed(t, openLog(t, node.Conn(), 1), FeedConfig{})
	openPartitions(t, node.Conn(), 3)
	starts := openFeed(t, openLog(t, node.Conn(), 1), FeedConfig{})
	for name, f := range map[string]*Feed{"one that starts": starts, "one that runs": runs} {
		all, err := f.Everywhere(t.Context())
		if err != nil || !slices.Equal(all, []events.Partition{0, 1, 2}) {
			t.Errorf("%s: there are %v, %v", name, all, err)
		}
		if added := f.Added(); len(added) != 3 || added[0].Exists() || !added[2].Exists() || added[2].AddedAt.IsZero() {
			t.Errorf("%s: %+v", name, added)
		}
	}
	openFeed(t, openPartitions(t, node.Conn(), 3), FeedConfig{}) // a conflict, or nothing to do
	recorded, err := starts.log.After(t.Context(), realm.PartitionSubject(2), 0)
	if err != nil || len(recorded) != 1 || recorded[0].Meta.Actor != "system" {
		t.Errorf("the log has %+v, %v", recorded, err)
	}
}

// TestOpenFeedMissesAStream does not start where the stream of a partition that
// was added is gone.
func TestOpenFeedMissesAStream(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	openFeed(t, openPartitions(t, node.Conn(), 2), FeedConfig{})
	js, err := jetstream.New(node.Conn())
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), realm.PartitionStream(1)); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFeed(t.Context(), openLog(t, node.Conn(), 1), FeedConfig{NewID: rand.Text, Source: "test"})
	if err == nil {
		f.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "its stream is gone") {
		t.Errorf("opened: %v", err)
	}
}

// TestLocalTakesUpPartitions adds partitions while a projector runs: it folds
// them, indexes them, serves them to others and tells how they stand.
func TestLocalTakesUpPartitions(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	log := openLog(t, node.Conn(), 1)
	l, err := OpenLocal(t.Context(), log, LocalConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nc := node.Conn()
	service := Serve(nc, l)
	defer service.Close()
	remote := NewRemote(node.Conn(), realm)
	adder := openFeed(t, openLog(t, node.Conn(), 1), FeedConfig{})
	for _, p := range []events.Partition{2, 1} { // in any order
		if err := adder.log.CreatePartition(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if err := adder.Announce(t.Context(), p, events.Meta{Actor: "admin"}); err != nil {
			t.Fatal(err)
		}
	}
	id := events.NewGrantID(2, [16]byte{1: 7})
	put(t, adder.log, realm.GrantSubject(id), 0, events.GrantOpened{
		Client: "web", User: "alice", Expires: time.Now().Add(time.Hour).Unix(),
		Code: &events.Code{Expires: time.Now().Add(time.Minute).Unix(), MACKey: 1},
	})
	embeddedtest.Eventually(t, "the grant to be read", func() bool {
		g, err := remote.Grant(t.Context(), id)
		return err == nil && g.Client == "web"
	})
	embeddedtest.Eventually(t, "the grant to be found", func() bool {
		page, err := remote.Audit(t.Context(), realm.PartitionStream(2), AuditQuery{Grant: id.String()}, 0, 10)
		return err == nil && len(page.Rows) == 1
	})
	embeddedtest.Eventually(t, "the tree to be read", func() bool {
		h, err := remote.Hashes(t.Context(), realm.PartitionStream(2), nil)
		return err == nil && h.Position >= 1
	})
	if err := l.Rebuild(t.Context(), "MAIN_EVENTS_2", 0); err != nil {
		t.Error(err)
	}
	want := []string{realm.PartitionStream(0), realm.PartitionStream(1), realm.PartitionStream(2), realm.RegistryStream()}
	embeddedtest.Eventually(t, "all to be folded", func() bool { return len(l.Status()) == len(want) })
	var names []string
	for _, s := range l.Status() {
		names = append(names, s.Stream)
	}
	slices.Sort(names[:3]) // in the order in which they were opened
	if !slices.Equal(names, want) || len(l.TreeStatus()) != len(want) || len(l.AuditStatus()) != len(want) {
		t.Errorf("states of %v", names)
	}
}

// TestTrailOfAStreamThatWasAdded goes on behind a page that was told before there
// was a stream.
func TestTrailOfAStreamThatWasAdded(t *testing.T) {
	t.Parallel()
	entries, _ := auditedLog(t, 5)
	r := newStoreReader(map[string]*store{"A": auditStore(t, entries), "B": auditStore(t, entries)})
	for name, newest := range map[string]bool{"oldest first": false, "newest first": true} {
		first := NewTrail(r, AuditQuery{Newest: newest}, []string{"A"}, nil, nil)
		rows, more, err := first.Page(t.Context(), 2, time.Minute)
		if err != nil || !more || len(rows) != 2 {
			t.Fatalf("%s: %d rows, %v, %v", name, len(rows), more, err)
		}
		rest, more, err := NewTrail(r, AuditQuery{Newest: newest}, []string{"A", "B"}, first.Places(), nil).Page(t.Context(), 100, time.Minute)
		want := 3 // what the new stream has was stored since: it is no part of the newest first
		if !newest {
			want = 8
		}
		if err != nil || more || len(rest) != want {
			t.Errorf("%s: %d rows, %v, %v", name, len(rest), more, err)
		}
	}
	unseen := NewTrail(r, AuditQuery{Newest: true}, []string{"A", "B"}, nil, nil)
	rows, _, err := NewTrail(r, AuditQuery{Newest: true}, []string{"A", "B"}, unseen.Places(), nil).Page(t.Context(), 100, time.Minute)
	if err != nil || len(rows) != 10 {
		t.Errorf("from places that were not looked at: %d rows, %v", len(rows), err)
	}
	followed := NewTrail(r, AuditQuery{}, []string{"A"}, map[string]uint64{"A": 5}, nil)
	followed.Join(t.Context(), []string{"A", "B"})
	if rows, _, err := followed.Page(t.Context(), 100, time.Minute); err != nil || len(rows) != 5 {
		t.Errorf("joined: %d rows, %v", len(rows), err)
	}
}
