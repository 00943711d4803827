package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// An observer keeps what it is told of appends.
type observer struct {
	mu   sync.Mutex
	told []eventlog.Appended
}

func (o *observer) appending(ctx context.Context, stream string, _ eventlog.Unit) (context.Context, func(eventlog.Appended)) {
	return ctx, func(a eventlog.Appended) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if stream != partition {
			a.Err = fmt.Errorf("told of stream %s", stream)
		}
		o.told = append(o.told, a)
	}
}

// take is what was told since it was last called, and nothing more than n.
func (o *observer) take(t *testing.T, n int) []eventlog.Appended {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	told := o.told
	if len(told) != n {
		t.Fatalf("told of %d appends, want %d: %v", len(told), n, told)
	}
	o.told = nil
	return told
}

func (o *observer) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = nil
}

// TestAppending is told of each unit once, however it ends and however it went.
func TestAppending(t *testing.T) {
	t.Parallel()
	var o observer
	proxy := embeddedtest.NewProxy(t, hostPort(embeddedtest.Single(t).URL()))
	l := open(t, connect(t, "nats://"+proxy.Addr()), eventlog.Config{Appending: o.appending})
	g := newGrant()
	seq := mustAppend(t, l, eventlog.Unit{Event: opened(g)})
	if a := o.take(t, 1)[0]; a.Err != nil || a.Seq != seq || a.Attempts != 1 || a.Duplicate || a.Took <= 0 {
		t.Errorf("stored: %+v", a)
	}
	_, err := l.Append(t.Context(), eventlog.Unit{Event: opened(g)})
	if a := o.take(t, 1)[0]; !errors.Is(a.Err, eventlog.ErrConflict) || !errors.Is(err, eventlog.ErrConflict) {
		t.Errorf("conflict: %+v", a)
	}
	units := []eventlog.Unit{{Event: revoked(g), Expect: seq, Marker: marker(g)}}
	for range 2 {
		g := newGrant()
		units = append(units, eventlog.Unit{Event: revoked(g), Expect: mustAppend(t, l, eventlog.Unit{Event: opened(g)}), Marker: marker(g)})
	}
	o.take(t, 2)
	for _, err := range l.AppendAll(within(t, patience), units) {
		if err != nil {
			t.Fatal(err)
		}
	}
	var at []uint64
	for _, a := range o.take(t, 3) {
		at = append(at, a.Seq)
	}
	if first := seq + 3; !slices.Equal(at, []uint64{first, first + 2, first + 4}) {
		t.Errorf("a batch is at %v, want it from %d on", at, first)
	}
	testUnsettled(t, l, proxy, &o)
}

// testUnsettled loses the acks of appends: one is given up, and told so, the other
// is settled by sending it again.
func testUnsettled(t *testing.T, l *eventlog.Log, proxy *embeddedtest.Proxy, o *observer) {
	t.Helper()
	proxy.StallReplies()
	_, err := l.Append(within(t, 50*time.Millisecond), eventlog.Unit{Event: tick()})
	if a := o.take(t, 1)[0]; !errors.Is(a.Err, eventlog.ErrUnsettled) || !errors.Is(err, eventlog.ErrUnsettled) {
		t.Errorf("unsettled: %+v, %v", a, err)
	}
	proxy.Drop()
	proxy.Heal()
	mustAppend(t, l, eventlog.Unit{Event: tick()})
	o.forget()
	proxy.StallReplies()
	done := appendAsync(within(t, patience), l, eventlog.Unit{Event: tick()})
	eventually(t, "the ack to be on its way", proxy.Holds)
	proxy.Drop() // and with it the ack
	proxy.Heal()
	if r := wait(t, done); r.err != nil {
		t.Fatal(r.err)
	}
	if a := o.take(t, 1)[0]; a.Err != nil || a.Attempts < 2 || !a.Duplicate {
		t.Errorf("settled: %+v", a)
	}
}
