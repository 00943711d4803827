package eventlog_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// added is the event that a partition was added.
func added(p events.Partition) events.Event {
	e := opened(realm.PartitionSubject(p))
	e.Fact = events.PartitionAdded{}
	return e
}

func inPartition(p events.Partition) events.Event {
	return opened(realm.GrantSubject(events.NewGrantID(p, [16]byte{1: 1})))
}

// TestPartitionsAreOpenedLive creates a partition in one process. Another has it
// when it is asked to open it, a third when the event says so.
func TestPartitionsAreOpenedLive(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, e env) {
		// The one that creates it was told of fewer replicas than the log has.
		others := []*eventlog.Log{e.open(t), e.open(t)}
		creator := open(t, e.dial(t), eventlog.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		var following sync.WaitGroup
		following.Go(func() { others[1].FollowPartitions(ctx) })
		defer following.Wait()
		defer cancel()

		if err := others[0].OpenPartition(within(t, patience), 1); !errors.Is(err, eventlog.ErrNoPartition) {
			t.Errorf("open what is not there: %v", err)
		}
		changed := []<-chan struct{}{others[0].PartitionsChanged(), others[1].PartitionsChanged()}
		if err := creator.CreatePartition(within(t, patience), 1); err != nil {
			t.Fatal(err)
		}
		seq := mustAppend(t, creator, eventlog.Unit{Event: inPartition(1)})
		if _, err := others[0].Append(within(t, patience), eventlog.Unit{Event: inPartition(1)}); err == nil {
			t.Error("appended to a partition that is not open")
		}
		if err := others[0].OpenPartition(within(t, patience), 1); err != nil {
			t.Fatal(err)
		}
		if len(others[1].Partitions()) != 1 {
			t.Error("followed before there was an event")
		}
		mustAppend(t, creator, eventlog.Unit{Event: added(1)})
		for i, l := range others {
			<-changed[i]
			if got := l.Partitions(); !slices.Equal(got, []events.Partition{0, 1}) {
				t.Errorf("%d has %v", i, got)
			}
			if got := l.Streams(); !slices.Equal(got, []string{"MAIN_REGISTRY", "MAIN_EVENTS_0", "MAIN_EVENTS_1"}) {
				t.Errorf("%d has %v", i, got)
			}
			if got := replay(t, l, realm.PartitionStream(1), eventlog.From{}); len(got) != 1 || got[0].Seq != seq {
				t.Errorf("%d replayed %v", i, got)
			}
			if _, err := l.Append(within(t, patience), eventlog.Unit{Event: inPartition(1)}); !errors.Is(err, eventlog.ErrConflict) {
				t.Errorf("%d appended what was there: %v", i, err)
			}
		}
		sameConfig(t, e)
	})
}

// sameConfig compares the new stream with the first one.
func sameConfig(t *testing.T, e env) {
	t.Helper()
	js, err := jetstream.New(e.dial(t))
	if err != nil {
		t.Fatal(err)
	}
	var of [2]jetstream.StreamConfig
	for p := range of {
		s, err := js.Stream(within(t, patience), realm.PartitionStream(events.Partition(p)))
		if err != nil {
			t.Fatal(err)
		}
		of[p] = s.CachedInfo().Config
	}
	if want := realm.PartitionSubjects(1); !slices.Equal(of[1].Subjects, want) {
		t.Errorf("subjects %q, want %q", of[1].Subjects, want)
	}
	of[1].Name, of[1].Subjects = of[0].Name, of[0].Subjects
	of[0].Metadata, of[1].Metadata = nil, nil
	if !reflect.DeepEqual(of[0], of[1]) {
		t.Errorf("the new one is %+v, the first %+v", of[1], of[0])
	}
	if of[1].Replicas != e.replicas {
		t.Errorf("%d replicas, want %d", of[1].Replicas, e.replicas)
	}
}

// TestPartitionsAreCreatedAtOnce has several processes add the same partitions,
// and append to them, while others read what there is.
func TestPartitionsAreCreatedAtOnce(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, e env) {
		logs := []*eventlog.Log{e.open(t), e.open(t), e.open(t)}
		var creating sync.WaitGroup
		for i, l := range logs {
			for _, p := range []events.Partition{1, 2, 3} {
				creating.Go(func() {
					if err := l.CreatePartition(within(t, patience), p); err != nil {
						t.Error(err)
					}
					m := opened(realm.GrantSubject(events.NewGrantID(p, [16]byte{1: byte(i)})))
					if _, err := l.Append(within(t, patience), eventlog.Unit{Event: m}); err != nil {
						t.Error(err)
					}
					_ = l.Streams()
				})
			}
		}
		creating.Wait()
		late := e.open(t)
		for _, l := range append(logs, late) {
			if got := l.Partitions(); !slices.Equal(got, []events.Partition{0, 1, 2, 3}) {
				t.Errorf("has %v", got)
			}
			for p := events.Partition(1); p < 4; p++ {
				if got := replay(t, l, realm.PartitionStream(p), eventlog.From{}); len(got) != len(logs) {
					t.Errorf("partition %d has %d events", p, len(got))
				}
			}
		}
	})
}

func TestFindPartitions(t *testing.T) {
	t.Parallel()
	nc := embeddedtest.Single(t).Conn()
	l := open(t, nc, eventlog.Config{})
	open(t, nc, eventlog.Config{Partitions: 3})
	open(t, nc, eventlog.Config{Realm: "other", Partitions: 5})
	if err := l.FindPartitions(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	if got := l.Partitions(); !slices.Equal(got, []events.Partition{0, 1, 2}) {
		t.Errorf("found %v", got)
	}
}

// TestWhoMayNotAddIsTold names what the server denies: the stream, or the event.
func TestWhoMayNotAddIsTold(t *testing.T) {
	t.Parallel()
	may := func(deny ...string) *server.Permissions {
		return &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: deny}}
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
		Users: []*server.User{
			{Username: "all", Password: "p", Permissions: may()},
			{Username: "no-stream", Password: "p", Permissions: may("$JS.API.STREAM.CREATE.MAIN_EVENTS_1")},
			{Username: "no-event", Password: "p", Permissions: may("main.partition.*")},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server is not ready")
	}
	as := func(user string) *eventlog.Log {
		return open(t, connect(t, strings.Replace(s.ClientURL(), "://", "://"+user+":p@", 1)), eventlog.Config{})
	}
	as("all")
	err = as("no-stream").CreatePartition(within(t, patience), 1)
	if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), "$JS.API.STREAM.CREATE.MAIN_EVENTS_1") {
		t.Errorf("no stream: %v", err)
	}
	l := as("no-event")
	if err := l.CreatePartition(within(t, patience), 1); err != nil {
		t.Fatal(err)
	}
	_, err = l.Append(t.Context(), eventlog.Unit{Event: added(1)})
	if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), "main.partition.1") {
		t.Errorf("no event: %v", err)
	}
}
