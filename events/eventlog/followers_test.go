package eventlog_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// TestFollowersShareAConnection has many readers read a long stream at once, as all read models do that are built from
// nothing. What is on its way to them together is more than the server grants a connection by default, and it must not
// cut it: everything else goes over it too.
func TestFollowersShareAConnection(t *testing.T) {
	const followers, events = 6, 6000
	nc := embeddedtest.Single(t).Conn()
	l, err := eventlog.Open(within(t, patience), nc, eventlog.Config{Realm: realm})
	if err != nil {
		t.Fatal(err)
	}
	units := make([]eventlog.Unit, events)
	for i := range units {
		units[i].Event = opened(newGrant())
		units[i].Event.Meta.Origin = strings.Repeat("x", 8<<10)
	}
	for i, err := range l.AppendAll(within(t, patience), units) {
		if err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
	}
	var reading sync.WaitGroup
	for range followers {
		reading.Go(func() {
			read := 0
			err := l.Replay(within(t, patience), realm.PartitionStream(0), eventlog.From{Seq: 1}, func(batch []eventlog.Entry) error {
				read += len(batch)
				return nil
			})
			if err != nil || read != events {
				t.Errorf("%d events were read: %v", read, err)
			}
		})
	}
	reading.Wait()
	if n := nc.Stats().Reconnects; n != 0 {
		t.Errorf("the connection was cut %d times", n)
	}
}
