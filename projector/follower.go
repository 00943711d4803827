package projector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// A follower takes one stream into memory and proves how fresh that is.
//
// The proof is a tick: an event that this replica appends, and that is
// acknowledged and comes back through what it follows. Everything that was
// acknowledged to anybody before the tick was sent is in front of it. Nothing
// less will do: a consumer on a server that is cut off is alive and silent for
// ever.
type follower struct {
	log    *eventlog.Log
	cfg    FeedConfig
	stream string
	from   eventlog.From
	// tickOn is the subject of the ticks. Everything followed is in one order
	// with it.
	tickOn events.Subject
	apply  func(r events.Recorded, clock time.Time) error
	// wanted asks for a tick. It has room for the one that ticking allows.
	wanted chan struct{}
	// nudge makes the reader go on with a new consumer. It has room for one.
	nudge   chan struct{}
	changed signal

	mu sync.Mutex
	// seq is the last sequence taken in, newest the newest timestamp.
	seq    uint64
	newest time.Time
	// err ends the following for ever.
	err error
	// proved is when the newest tick was sent that has proved something.
	proved moment
	skew   time.Duration
	// ticking lets one tick be under way at a time, sent is that one until it
	// was read back.
	ticking bool
	sent    *tick
	// ticks counts those that were sent, unproved those of them that proved nothing,
	// and stale how often fresh has failed.
	ticks, unproved uint64
	stale           atomic.Uint64
}

// A tick is one proof under way.
type tick struct {
	id string
	// sent is before the append.
	sent moment
	// back is closed when it was read back, stored being its timestamp.
	back   chan struct{}
	stored time.Time
}

func newFollower(log *eventlog.Log, cfg FeedConfig, stream string, tickOn events.Subject, apply func(events.Recorded, time.Time) error) *follower {
	return &follower{
		log: log, cfg: cfg, stream: stream, tickOn: tickOn, apply: apply,
		wanted: make(chan struct{}, 1), nudge: make(chan struct{}, 1),
	}
}

// run follows until ctx ends or the stream can be followed no more.
func (f *follower) run(ctx context.Context) {
	var ticking sync.WaitGroup
	ticking.Go(func() { f.tickOnDemand(ctx) })
	defer ticking.Wait()
	for ctx.Err() == nil {
		err := f.log.Follow(ctx, f.stream, f.start(), func(batch []eventlog.Entry) error { return f.take(ctx, batch) })
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, fold.ErrPoison), errors.Is(err, eventlog.ErrGap), errors.Is(err, eventlog.ErrRewritten):
			f.fail(err)
			<-ctx.Done()
			return
		}
		f.cfg.Logger.Warn("feed interrupted", "stream", f.stream, "reason", err)
		wait(ctx, pause)
	}
}

// start is where to follow from, the first time and after an interruption.
func (f *follower) start() eventlog.From {
	f.mu.Lock()
	defer f.mu.Unlock()
	from := f.from
	from.Nudge = f.nudge
	if f.seq > 0 {
		from.Seq = f.seq + 1
	}
	return from
}

func (f *follower) fail(err error) {
	f.cfg.Logger.Error("feed stopped", "stream", f.stream, "reason", err)
	f.mu.Lock()
	f.err = err
	f.mu.Unlock()
	f.notify()
}

// take takes in a batch. The position moves after all of it is known.
func (f *follower) take(ctx context.Context, batch []eventlog.Entry) error {
	if f.cfg.Gate != nil {
		if err := f.cfg.Gate(ctx, f.stream); err != nil {
			return err
		}
	}
	for _, e := range batch {
		r, err := e.Recorded()
		if err != nil {
			return fmt.Errorf("%w: %w", fold.ErrPoison, err)
		}
		r.Stored = r.Stored.UTC()
		if err := f.apply(r, f.advance(r.Stored)); err != nil {
			return err
		}
		f.taken(r)
	}
	f.notify()
	return nil
}

// notify wakes who waits for this stream, and who waits for any.
func (f *follower) notify() {
	f.changed.notify()
	f.cfg.progress.notify()
}

// advance is the newest timestamp, stored included.
func (f *follower) advance(stored time.Time) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if stored.After(f.newest) {
		f.newest = stored
	}
	return f.newest
}

func (f *follower) taken(r events.Recorded) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq = r.Seq
	if t := f.sent; t != nil && t.id == r.ID {
		t.stored = r.Stored
		close(t.back)
		f.sent = nil
	}
}

// position is the last sequence taken in.
func (f *follower) position() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seq
}

func (f *follower) broken() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *follower) newestStored() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newest
}

func (f *follower) clockSkew() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.skew
}
