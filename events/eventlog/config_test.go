package eventlog_test

import (
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// change recreates a stream with a changed configuration.
func change(t *testing.T, nc *nats.Conn, stream string, how func(*jetstream.StreamConfig)) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	how(&c)
	if err := js.DeleteStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// Every way in which an existing stream can break the contract is named.
func TestOpenRefusesByName(t *testing.T) {
	t.Parallel()
	type config = jetstream.StreamConfig
	nc := embeddedtest.Single(t).Conn()
	for name, how := range map[string]func(*config){
		"allow_direct":              func(c *config) { c.AllowDirect = true },
		"allow_atomic":              func(c *config) { c.AllowAtomicPublish = false },
		"persist_mode":              func(c *config) { c.PersistMode, c.AllowAtomicPublish = jetstream.AsyncPersistMode, false },
		"max_age":                   func(c *config) { c.MaxAge = time.Hour },
		"max_msgs is":               func(c *config) { c.MaxMsgs = 1 << 40 },
		"max_bytes":                 func(c *config) { c.MaxBytes = 1 << 30 },
		"max_msgs_per_subject":      func(c *config) { c.MaxMsgsPerSubject = 1000 },
		"max_msg_size":              func(c *config) { c.MaxMsgSize = 1000 },
		"deny_delete":               func(c *config) { c.DenyDelete = false },
		"deny_purge":                func(c *config) { c.DenyPurge = true },
		"allow_rollup_hdrs":         func(c *config) { c.AllowRollup = true },
		"allow_msg_ttl":             func(c *config) { c.AllowMsgTTL = true },
		"subject_delete_marker_ttl": func(c *config) { c.SubjectDeleteMarkerTTL, c.AllowMsgTTL, c.AllowRollup = time.Hour, true, true },
		"allow_msg_schedules":       func(c *config) { c.AllowMsgSchedules, c.AllowRollup, c.Discard = true, true, jetstream.DiscardOld },
		"allow_batched":             func(c *config) { c.AllowBatchPublish = true },
		"discard":                   func(c *config) { c.Discard = jetstream.DiscardOld },
		"retention":                 func(c *config) { c.Retention = jetstream.InterestPolicy },
		"storage":                   func(c *config) { c.Storage = jetstream.MemoryStorage },
		"duplicate_window":          func(c *config) { c.Duplicates = time.Second },
		"no_ack":                    func(c *config) { c.NoAck, c.AllowAtomicPublish = true, false },
		"subjects":                  func(c *config) { c.Subjects[0] = "r-subjects.others" },
		"subjects is":               func(c *config) { c.Subjects = append(c.Subjects[2:], "r-subjects-is.others") },
		"allow_direct is":           func(c *config) { c.Subjects, c.AllowDirect = c.Subjects[1:], true },
		"sources":                   func(c *config) { c.Sources = []*jetstream.StreamSource{{Name: "OTHER"}} },
		"subject_transform": func(c *config) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: "main.revoked.0", Destination: "main.revoked.0.x"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := eventlog.Config{Realm: events.Realm("r-" + strings.NewReplacer("_", "-", " ", "-").Replace(name))}
			open(t, nc, cfg)
			stream := cfg.Realm.PartitionStream(0)
			change(t, nc, stream, how)
			_, err := eventlog.Open(within(t, patience), nc, cfg)
			if !errors.Is(err, eventlog.ErrContract) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), stream) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestOpenAcceptsWhatIsTheOperators(t *testing.T) {
	t.Parallel()
	nc := embeddedtest.Single(t).Conn()
	open(t, nc, eventlog.Config{})
	change(t, nc, partition, func(c *jetstream.StreamConfig) {
		c.Description = "ours"
		c.Compression = jetstream.S2Compression
		c.Metadata = map[string]string{"team": "id"}
		c.Duplicates = time.Hour
		slices.Reverse(c.Subjects)
	})
	mustAppend(t, open(t, nc, eventlog.Config{}), eventlog.Unit{Event: tick()})
}

// TestOpenAddsSubjects opens a stream of a version that had fewer subjects, as
// several new replicas at once do: what is the operator's stays, and so do the
// events.
func TestOpenAddsSubjects(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, e env) {
		nc := e.dial(t)
		cfg := eventlog.Config{Replicas: e.replicas}
		open(t, nc, cfg)
		var before jetstream.StreamConfig
		change(t, nc, partition, func(c *jetstream.StreamConfig) {
			c.Subjects = c.Subjects[:2]
			c.Description, c.Compression, c.Duplicates = "ours", jetstream.S2Compression, time.Hour
			c.Metadata["team"] = "id"
			before = *c
		})
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		g := opened(newGrant())
		m, err := events.Encode(g)
		if err != nil {
			t.Fatal(err)
		}
		message := nats.NewMsg(m.Subject)
		message.Data = m.Data
		message.Header = m.Header.Wire()
		if _, err := js.PublishMsg(within(t, patience), message); err != nil {
			t.Fatal(err)
		}
		var opening sync.WaitGroup
		for range 4 {
			opening.Go(func() {
				if _, err := eventlog.Open(within(t, patience), nc, eventlog.Config{Realm: realm, Replicas: e.replicas}); err != nil {
					t.Error(err)
				}
			})
		}
		opening.Wait()
		l := open(t, nc, cfg)
		mustAppend(t, l, eventlog.Unit{Event: tick()})
		if got := replay(t, l, partition, eventlog.From{}); len(got) != 2 || got[0].Seq != 1 {
			t.Errorf("replayed %v", got)
		}
		s, err := js.Stream(within(t, patience), partition)
		if err != nil {
			t.Fatal(err)
		}
		after := s.CachedInfo().Config
		if want := realm.PartitionSubjects(0); !slices.Equal(after.Subjects, want) {
			t.Errorf("subjects %q, want %q", after.Subjects, want)
		}
		after.Subjects = before.Subjects
		if !reflect.DeepEqual(after, before) {
			t.Errorf("changed to %+v, was %+v", after, before)
		}
	})
}

func TestOpenFindsPartitions(t *testing.T) {
	t.Parallel()
	nc := embeddedtest.Single(t).Conn()
	open(t, nc, eventlog.Config{Realm: "other", Partitions: 5})
	if got := open(t, nc, eventlog.Config{Partitions: 3}).Partitions(); !slices.Equal(got, []events.Partition{0, 1, 2}) {
		t.Errorf("created %v", got)
	}
	l := open(t, nc, eventlog.Config{Partitions: 1})
	if got := l.Partitions(); !slices.Equal(got, []events.Partition{0, 1, 2}) {
		t.Errorf("found %v", got)
	}
	seq := mustAppend(t, l, eventlog.Unit{Event: opened(realm.GrantSubject(events.NewGrantID(2, [16]byte{})))})
	if got := replay(t, l, realm.PartitionStream(2), eventlog.From{}); len(got) != 1 || got[0].Seq != seq {
		t.Errorf("replayed %v", got)
	}
}

func TestOpenRefusesConfig(t *testing.T) {
	t.Parallel()
	nc := embeddedtest.Single(t).Conn()
	for name, cfg := range map[string]eventlog.Config{
		"no realm":                {},
		"upper case":              {Realm: "Main"},
		"two replicas":            {Realm: realm, Replicas: 2},
		"too many partitions":     {Realm: realm, Partitions: 257},
		"replicas of one server":  {Realm: realm, Replicas: 3},
		"negative partition":      {Realm: "ma.in", Partitions: -1},
		"realm that is a subject": {Realm: "main.>"},
	} {
		if _, err := eventlog.Open(within(t, 2*time.Second), nc, cfg); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// A bucket is read from the leader, unlike what nats.go's helper makes.
func TestBucket(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, e env) {
		l := e.open(t)
		kv, err := l.Bucket(within(t, patience), "people")
		if err != nil {
			t.Fatal(err)
		}
		other, err := e.open(t).Bucket(within(t, patience), "people")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			rev, err := kv.Put(t.Context(), "alice", []byte{byte(i)})
			if err != nil {
				t.Fatal(err)
			}
			got, err := other.Get(t.Context(), "alice")
			if err != nil || got.Revision() != rev {
				t.Fatalf("read %v %v after revision %d", got, err, rev)
			}
		}
		if _, err := kv.Create(t.Context(), "alice", nil); !errors.Is(err, jetstream.ErrKeyExists) {
			t.Errorf("created twice: %v", err)
		}
		if err := kv.Purge(t.Context(), "alice"); err != nil {
			t.Error(err)
		}
		if again, err := l.Bucket(t.Context(), "people"); err != nil || again == nil {
			t.Errorf("%v %v", again, err)
		}
		js, err := jetstream.New(e.dial(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "MAIN_direct", Replicas: e.replicas}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Bucket(within(t, patience), "direct"); !errors.Is(err, eventlog.ErrContract) || !strings.Contains(err.Error(), "allow_direct") {
			t.Errorf("bucket of direct reads: %v", err)
		}
	})
}

// Of those who create one key at once one does, and the others read its record
// straight after they were told that it exists.
func TestCreateAtOnce(t *testing.T) {
	t.Parallel()
	c := embeddedtest.NewCluster(t)
	var racers []jetstream.KeyValue
	for i := range 2 * embeddedtest.Nodes {
		kv, err := open(t, c.Connect(i%embeddedtest.Nodes), eventlog.Config{Replicas: 3}).Bucket(within(t, patience), "people")
		if err != nil {
			t.Fatal(err)
		}
		racers = append(racers, kv)
	}
	for round := range 100 {
		key := strconv.Itoa(round)
		var created atomic.Int32
		var racing sync.WaitGroup
		for i, kv := range racers {
			racing.Go(func() {
				_, err := kv.Create(within(t, patience), key, []byte(strconv.Itoa(i)))
				if err == nil {
					created.Add(1)
				} else if !errors.Is(err, jetstream.ErrKeyExists) {
					t.Error(err)
				}
				if _, err := kv.Get(within(t, patience), key); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		racing.Wait()
		if n := created.Load(); n != 1 {
			t.Errorf("round %d: created by %d", round, n)
		}
	}
}

// TestExpiringBucket forgets what was not written for a while, and is refused
// where it would forget sooner, or never.
func TestExpiringBucket(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, e env) {
		const age = 500 * time.Millisecond
		l := e.open(t)
		kv, err := l.ExpiringBucket(within(t, patience), "soon", age)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Create(t.Context(), "alice", []byte("here")); err != nil {
			t.Fatal(err)
		}
		if got, err := kv.Get(t.Context(), "alice"); err != nil || string(got.Value()) != "here" {
			t.Fatalf("read %v %v", got, err)
		}
		embeddedtest.Eventually(t, "the record to expire", func() bool {
			_, err := kv.Get(t.Context(), "alice")
			return errors.Is(err, jetstream.ErrKeyNotFound)
		})
		if _, err := kv.Create(t.Context(), "alice", nil); err != nil {
			t.Errorf("created again: %v", err)
		}
		if _, err := e.open(t).ExpiringBucket(within(t, patience), "soon", age/2); err != nil {
			t.Errorf("one that keeps longer than it must: %v", err)
		}
		forever, err := l.Bucket(within(t, patience), "people")
		if err != nil || forever == nil {
			t.Fatal(err)
		}
		for name, open := range map[string]func(l *eventlog.Log) (jetstream.KeyValue, error){
			"too short": func(l *eventlog.Log) (jetstream.KeyValue, error) {
				return l.ExpiringBucket(within(t, patience), "soon", 2*age)
			},
			"not to expire": func(l *eventlog.Log) (jetstream.KeyValue, error) { return l.Bucket(within(t, patience), "soon") },
			"that never expires": func(l *eventlog.Log) (jetstream.KeyValue, error) {
				return l.ExpiringBucket(within(t, patience), "people", age)
			},
		} {
			if _, err := open(e.open(t)); !errors.Is(err, eventlog.ErrContract) || !strings.Contains(err.Error(), "max_age") {
				t.Errorf("a bucket %s: %v", name, err)
			}
		}
	})
}

// TestBucketReadIsRepeated loses the answer to a read with its connection.
func TestBucketReadIsRepeated(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, e env) {
		l, proxy := e.openProxied(t)
		kv, err := l.Bucket(within(t, patience), "people")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Put(t.Context(), "alice", []byte("here")); err != nil {
			t.Fatal(err)
		}
		proxy.StallReplies()
		read := make(chan error, 1)
		go func() {
			entry, err := kv.Get(within(t, patience), "alice")
			if err == nil && string(entry.Value()) != "here" {
				err = errors.New("another value")
			}
			read <- err
		}()
		embeddedtest.Eventually(t, "the answer to be held back", proxy.Holds)
		proxy.Drop()
		proxy.Heal()
		if err := <-read; err != nil {
			t.Error(err)
		}
		if _, err := kv.Get(within(t, patience), "bob"); !errors.Is(err, jetstream.ErrKeyNotFound) {
			t.Errorf("a missing key: %v", err)
		}
	})
}
