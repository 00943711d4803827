package projector

import (
	"context"
	"fmt"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// retick is how long after a tick that failed the next one may be sent.
const retick = 50 * time.Millisecond

// fresh returns nil if everything that was acknowledged anywhere up to the
// bound ago is known here. Over half the bound it has a tick sent, so that
// under load nobody waits; over the bound it waits for one.
func (f *follower) fresh(ctx context.Context) error {
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
		return !f.proved.Before(began)
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
	return since(f.proved), nil
}

// since is by the monotonic clock, and by the wall clock where that shows
// more: the monotonic one stands still while the machine sleeps.
func since(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
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
		if err := f.tick(ctx); err != nil {
			f.cfg.Logger.Debug("tick proved nothing", "stream", f.stream, "reason", err)
			wait(ctx, retick)
		}
		f.mu.Lock()
		f.ticking = false
		f.mu.Unlock()
		f.changed.notify()
	}
}

// tick appends a tick, and waits until it has been acknowledged and read back.
// After the bound it would prove nothing any more.
func (f *follower) tick(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Bound)
	defer cancel()
	t := &tick{id: f.cfg.NewID(), sent: time.Now(), back: make(chan struct{})}
	f.mu.Lock()
	f.sent = t
	f.mu.Unlock()
	_, err := f.log.Append(ctx, eventlog.Unit{Event: events.Event{
		ID: t.id, Source: f.cfg.Source, Time: t.sent.UTC(), Subject: f.tickOn,
		Meta: events.Meta{Actor: "system"}, Fact: events.FeedTicked{},
	}})
	if err != nil {
		return err
	}
	acked := time.Now()
	select {
	case <-t.back:
		f.prove(t, acked)
		return nil
	case <-ctx.Done():
		return fmt.Errorf("read tick back: %w", ctx.Err())
	}
}

func (f *follower) prove(t *tick, acked time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.proved, f.skew = t.sent, skew(t.stored, t.sent, acked)
}

// skew is how far the server's clock, which read stored at some moment between
// sent and acked, is ahead of the local one at least, or behind if negative.
func skew(stored, sent, acked time.Time) time.Duration {
	if ahead := stored.Sub(acked.Round(0)); ahead > 0 {
		return ahead
	}
	return min(0, stored.Sub(sent.Round(0)))
}
