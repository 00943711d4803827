package eventlog_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// others are the nodes of a cluster but one.
func others(node int) []int {
	return slices.DeleteFunc([]int{0, 1, 2}, func(n int) bool { return n == node })
}

// A leader that is cut off goes on to answer for seconds. What is read through
// it is the true past, and nothing that is appended through it is reported as
// stored, nor as lost when it was not.
func TestIsolatedLeader(t *testing.T) {
	t.Parallel()
	c := embeddedtest.NewCluster(t)
	cfg := eventlog.Config{Replicas: 3}
	open(t, c.Connect(), cfg)
	old := c.WaitLeader(partition)
	isolated := open(t, c.Connect(old), cfg)
	majority := open(t, c.Connect(others(old)...), cfg)
	follower := follow(t, isolated, partition, eventlog.From{})

	spent, open := newGrant(), newGrant() // one is rotated by the majority, one by nobody
	spentAt := mustAppend(t, majority, eventlog.Unit{Event: opened(spent)})
	openAt := mustAppend(t, majority, eventlog.Unit{Event: opened(open)})
	follower.reaches(t, openAt)

	c.Isolate(old)
	winner := rotated(spent, 1)
	winnerAt := mustAppend(t, majority, eventlog.Unit{Event: winner, Expect: spentAt})
	t.Logf("the old leader still leads: %v", c.Leader(partition, others(old)...) == old)

	// Through the old leader, while the others have moved on.
	tries := []struct {
		name string
		unit eventlog.Unit
	}{
		{"on the stale state", eventlog.Unit{Event: rotated(spent, 1), Expect: spentAt}},
		{"on the newest state", eventlog.Unit{Event: rotated(spent, 2), Expect: winnerAt}},
		{"on a state that is current", eventlog.Unit{Event: rotated(open, 1), Expect: openAt}},
		{"with a marker", eventlog.Unit{Event: revoked(spent), Expect: spentAt, Marker: marker(spent)}},
		{"plain", eventlog.Unit{Event: tick()}},
	}
	var pending []<-chan result
	for _, try := range tries {
		pending = append(pending, appendAsync(within(t, 3*time.Second), isolated, try.unit))
	}
	if past, err := isolated.After(within(t, time.Second), spent, 0); err == nil && (len(past) == 0 || past[0].Seq != spentAt) {
		t.Errorf("read %v through the old leader", ids(past))
	}
	for i, try := range tries {
		if got := wait(t, pending[i]); !errors.Is(got.err, eventlog.ErrUnsettled) {
			t.Errorf("%s: %v %v", try.name, got.Receipt, got.err)
		}
	}
	checkUnbroken(t, follower.seen(), 1)

	c.Heal(old)
	head := mustAppend(t, isolated, eventlog.Unit{Event: tick()})
	follower.reaches(t, head)
	if got := after(t, majority, spent, spentAt); len(got) == 0 || got[0].ID != winner.ID {
		t.Errorf("the winner was %s, the log has %v", winner.ID, ids(got))
	}
	if chain(follower.seen()) != chain(replay(t, majority, partition, eventlog.From{})) {
		t.Error("what was followed through the old leader is not what the others replay")
	}
	if err := errors.Join(isolated.Failed(partition), majority.Failed(partition)); err != nil {
		t.Error(err)
	}
}

// Leaders die in mid-load. What was acknowledged is in the log once, where it
// was said to be; what was lost is not; followers see all of it.
func TestLeaderDies(t *testing.T) {
	t.Parallel()
	c := embeddedtest.NewCluster(t)
	cfg := eventlog.Config{Replicas: 3}
	reader := open(t, c.Connect(), cfg)
	f := follow(t, reader, partition, eventlog.From{})
	w := startWriters(t, 8, func() *eventlog.Log { return open(t, c.Connect(), cfg) })
	for range 2 {
		w.acknowledges(t, 200)
		leader := c.WaitLeader(partition)
		c.Kill(leader)
		w.acknowledges(t, 200) // by a new leader
		c.Start(leader)
		c.WaitReady()
	}
	w.stop()
	head := mustAppend(t, reader, eventlog.Unit{Event: tick()})
	f.reaches(t, head)
	all := replay(t, reader, partition, eventlog.From{})
	w.check(t, all)
	if chain(f.seen()) != chain(all) {
		t.Error("what was followed is not what is replayed")
	}
}

// All nodes die at once and come back. What was acknowledged is there.
func TestClusterRestarts(t *testing.T) {
	t.Parallel()
	c := embeddedtest.NewCluster(t)
	cfg := eventlog.Config{Replicas: 3}
	l := open(t, c.Connect(), cfg)
	w := startWriters(t, 4, func() *eventlog.Log { return open(t, c.Connect(), cfg) })
	w.acknowledges(t, 200)
	for node := range embeddedtest.Nodes {
		c.Kill(node)
	}
	w.stop()
	for node := range embeddedtest.Nodes {
		c.Start(node)
	}
	c.WaitReady()
	c.WaitLeader(partition)
	mustAppend(t, l, eventlog.Unit{Event: tick()})
	w.check(t, replay(t, l, partition, eventlog.From{}))
}

func TestCheckDurability(t *testing.T) {
	t.Parallel()
	cfg := eventlog.Config{Replicas: 3}
	t.Run("synced", func(t *testing.T) {
		c := embeddedtest.NewCluster(t)
		l := open(t, c.Connect(), cfg)
		if _, err := l.Bucket(within(t, patience), "keys"); err != nil {
			t.Fatal(err)
		}
		if err := l.CheckDurability(within(t, patience), c.ConnectSystem(0)); err != nil {
			t.Error(err)
		}
		silent := others(c.WaitLeader(partition))[0]
		c.Kill(silent)
		checkNotDurable(t, l, c, others(silent)[0], embeddedtest.NodeName(silent))
	})
	t.Run("one does not sync", func(t *testing.T) {
		c := embeddedtest.NewCluster(t, func(node int, o *server.Options) { o.SyncAlways = node != 1 })
		checkNotDurable(t, open(t, c.Connect(), cfg), c, 0, embeddedtest.NodeName(1))
		// A server that holds nothing yet may be given a stream tomorrow.
		single := open(t, c.Connect(), eventlog.Config{Realm: "single"})
		checkNotDurable(t, single, c, 0, embeddedtest.NodeName(1))
	})
	t.Run("not the system account", func(t *testing.T) {
		nc := embeddedtest.Single(t).Conn()
		l := open(t, nc, eventlog.Config{})
		if err := l.CheckDurability(within(t, patience), nc); !errors.Is(err, eventlog.ErrNotDurable) {
			t.Error(err)
		}
	})
}

func checkNotDurable(t *testing.T, l *eventlog.Log, c *embeddedtest.Cluster, askAt int, culprit string) {
	t.Helper()
	err := l.CheckDurability(within(t, patience), c.ConnectSystem(askAt))
	if !errors.Is(err, eventlog.ErrNotDurable) {
		t.Fatal(err)
	}
	for node := range embeddedtest.Nodes {
		name := embeddedtest.NodeName(node)
		if named := slices.Contains(splitWords(err.Error()), name); named != (name == culprit) {
			t.Errorf("%s is named: %v: %v", name, named, err)
		}
	}
}
