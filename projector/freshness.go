package projector

import (
	"context"
	"fmt"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

const (
	// retick is how long after a tick that failed the next one may be sent.
	retick = 50 * time.Millisecond
	// overdue is how long a tick that was acknowledged may take to be read back
	// until another consumer is asked for it. It leaves time for that one, within
	// any bound that is usual.
	overdue = 200 * time.Millisecond
	// clockNoise is what two clocks that are read one after the other may differ by.
	clockNoise = 100 * time.Millisecond
)

// fresh returns nil if everything that was acknowledged anywhere up to the
// bound ago is known here. Over half the bound it has a tick sent, so that
// under load nobody waits; over the bound it waits for one.
func (f *follower) fresh(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			f.stale.Add(1)
		}
	}()
	age, err := f.age()
	switch {
	case err != nil:
		return err
	case age < f.cfg.Bound/2:
		return nil
	case age < f.cfg.Bound:
		f.startTick()
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Bound)
	defer cancel()
	return f.catchUp(ctx)
}

// catchUp waits, with one tick after another, until the follower is fresh.
func (f *follower) catchUp(ctx context.Context) error {
	return f.await(ctx, true, func() bool {
		age, err := f.age()
		return err == nil && age < f.cfg.Bound
	})
}

// current waits until everything is known that was acknowledged to anybody before
// the call. Who calls at the same time shares the tick.
func (f *follower) current(ctx context.Context) error {
	began := time.Now()
	return f.await(ctx, true, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return !f.proved.monotonic.Before(began)
	})
}

// wait waits until everything up to seq is known. Where not all of a stream is
// followed a tick is needed to see that: it comes after seq.
func (f *follower) wait(ctx context.Context, seq uint64) error {
	return f.await(ctx, len(f.from.Subjects) > 0, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.seq >= seq
	})
}

// await waits until done, with ticks if need be.
func (f *follower) await(ctx context.Context, ticks bool, done func() bool) error {
	for {
		changed := f.changed.next()
		if done() {
			return nil
		}
		if _, err := f.age(); err != nil {
			return err
		}
		if ticks {
			f.startTick()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %s: %w", ErrStale, f.stream, ctx.Err())
		}
	}
}

// age is how old the newest proof is. The error is ErrStale if there will be
// no other.
func (f *follower) age() (time.Duration, error) {
	if err := f.log.Failed(f.stream); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrStale, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return 0, fmt.Errorf("%w: %w", ErrStale, f.err)
	}
	return f.since(f.proved), nil
}

// A moment is one by the monotonic clock and by the wall clock, which is stepped.
type moment struct{ monotonic, wall time.Time }

func (f *follower) now() moment {
	return moment{time.Now(), f.cfg.Clock().Round(0)}
}

// since is by the monotonic clock, and by the wall clock where that shows
// more: the monotonic one stands still while the machine sleeps.
func (f *follower) since(t moment) time.Duration {
	now := f.now()
	return max(now.monotonic.Sub(t.monotonic), now.wall.Sub(t.wall))
}

// stepped is how far the wall clock was stepped since the newest proof, positive
// if forth. A machine that has slept looks the same, until the next proof.
func (f *follower) stepped() time.Duration {
	f.mu.Lock()
	proved := f.proved
	f.mu.Unlock()
	now := f.now()
	step := now.wall.Sub(proved.wall) - now.monotonic.Sub(proved.monotonic)
	if step.Abs() < clockNoise {
		return 0
	}
	return step
}

// startTick has a tick sent unless one is under way.
func (f *follower) startTick() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ticking {
		f.ticking = true
		f.wanted <- struct{}{}
	}
}

// tickOnDemand sends the ticks that are asked for, until ctx ends.
func (f *follower) tickOnDemand(ctx context.Context) {
	for {
		select {
		case <-f.wanted:
		case <-ctx.Done():
			return
		}
		err := f.tick(ctx)
		if err != nil {
			f.cfg.Logger.Debug("tick proved nothing", "stream", f.stream, "reason", err)
			wait(ctx, retick)
		}
		f.mu.Lock()
		f.ticking = false
		f.ticks++
		if err != nil {
			f.unproved++
		}
		f.mu.Unlock()
		f.notify()
	}
}

// tick appends a tick, and waits until it has been acknowledged and read back.
// After the bound it would prove nothing any more.
func (f *follower) tick(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Bound)
	defer cancel()
	t := &tick{id: f.cfg.NewID(), sent: f.now(), back: make(chan struct{})}
	f.mu.Lock()
	f.sent = t
	f.mu.Unlock()
	_, err := f.log.Append(ctx, eventlog.Unit{Event: events.Event{
		ID: t.id, Source: f.cfg.Source, Time: t.sent.wall.UTC(), Subject: f.tickOn,
		Meta: events.Meta{Actor: "system"}, Fact: events.FeedTicked{},
	}})
	if err != nil {
		return err
	}
	acked := f.now()
	if err := f.readBack(ctx, t); err != nil {
		return err
	}
	f.prove(t, acked)
	return nil
}

// readBack waits for a tick that was acknowledged. If it does not come, nor anything
// else, the consumer may be gone, with the server that had it.
func (f *follower) readBack(ctx context.Context, t *tick) error {
	late := time.NewTimer(overdue)
	defer late.Stop()
	for seq := f.position(); ; {
		select {
		case <-t.back:
			return nil
		case <-late.C:
			if at := f.position(); at != seq {
				seq = at
				late.Reset(overdue)
				continue
			}
			select {
			case f.nudge <- struct{}{}:
			default:
			}
		case <-ctx.Done():
			return fmt.Errorf("read tick back: %w", ctx.Err())
		}
	}
}

func (f *follower) prove(t *tick, acked moment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.proved, f.skew = t.sent, skew(t.stored, t.sent.wall, acked.wall)
}

// skew is how far the server's clock, which read stored at some moment between
// sent and acked, is ahead of the local one at least, or behind if negative.
func skew(stored, sent, acked time.Time) time.Duration {
	if ahead := stored.Sub(acked); ahead > 0 {
		return ahead
	}
	return min(0, stored.Sub(sent))
}
