package projector

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// TestFeedGetsOverADeadConsumer takes a feed's consumer away without a word, as the
// end of the server does that has it. The tick that does not come back tells,
// long before the reader has heard nothing for two seconds.
func TestFeedGetsOverADeadConsumer(t *testing.T) {
	t.Parallel()
	nc := embeddedtest.Single(t).Conn()
	log := openLog(t, nc, 1)
	f := openFeed(t, log, FeedConfig{Bound: time.Minute})
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	fed := f.followed.Load().partitions[0].follower
	best := time.Minute
	for range 4 { // one of them is not held up by other tests
		for name := range s.ConsumerNames(t.Context()).Name() {
			if err := s.DeleteConsumer(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		fed.mu.Lock()
		fed.proved = moment{}
		fed.mu.Unlock()
		began := time.Now()
		if err := f.PartitionFresh(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(began))
	}
	if best > 1500*time.Millisecond {
		t.Errorf("fresh again after %v", best)
	}
}

// TestNoNudgeWhileThereIsMore: a feed that begins has much to read before its tick, and
// a new consumer would send it again.
func TestNoNudgeWhileThereIsMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFollower(nil, FeedConfig{}, "", "", nil)
		ctx, cancel := context.WithCancel(t.Context())
		back := make(chan error)
		go func() { back <- f.readBack(ctx, &tick{back: make(chan struct{})}) }()
		for seq := range uint64(20) {
			<-time.After(overdue / 2)
			f.taken(events.Recorded{Seq: seq + 1})
		}
		if len(f.nudge) > 0 {
			t.Error("nudged while entries come")
		}
		<-time.After(3 * overdue)
		if len(f.nudge) == 0 {
			t.Error("not nudged though nothing comes")
		}
		cancel()
		if err := <-back; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestSteppedClockIsNotBelieved steps the clock by less than the bound, so that the
// proof is no older by it than it may be.
func TestSteppedClockIsNotBelieved(t *testing.T) {
	t.Parallel()
	var off atomic.Int64
	f := openFeed(t, openLog(t, embeddedtest.Single(t).Conn(), 1), FeedConfig{
		Bound: time.Minute, Clock: func() time.Time { return time.Now().Round(0).Add(time.Duration(off.Load())) },
	})
	for _, step := range []time.Duration{-25 * time.Second, 25 * time.Second} {
		off.Store(int64(step))
		if err := f.RegistryFresh(t.Context()); !errors.Is(err, ErrStale) {
			t.Errorf("stepped by %v: %v, want ErrStale", step, err)
		}
		off.Store(0)
		if err := f.RegistryFresh(t.Context()); err != nil {
			t.Errorf("stepped back: %v", err)
		}
	}
}
