package eventlog

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/recent"
)

// ErrBusy is returned for a unit that was not sent, because too many wait for
// the stream already.
var ErrBusy = errors.New("too many appends wait")

// Costs are in appends of one message, which the server syncs one by one.
const (
	// batchCost is that of a batch of few: the server stages it in files of its own,
	// and syncs once. A unit with a marker is one.
	batchCost = 14
	// atOnce is how much is on its way by itself. More would only wait in the server,
	// one behind the other, where it cannot be grouped.
	atOnce = 16
	// minBatch is from where on a batch pays.
	minBatch = 24
	// maxWaiting bounds the queue of a stream, in units: seconds of work.
	maxWaiting = 8192
	// maxWritten is how many subjects are remembered at least.
	maxWritten = 16384
)

// A committer appends to one stream what many callers want appended. Who comes
// alone appends alone, in the caller's own goroutine. Who comes while atOnce are
// on their way waits, and when one of them is done, all that wait go in one atomic
// batch, if they are so many that it is worth it, or the next of them alone.
// Either way they go in the order they came in.
type committer struct {
	log *Log
	st  *stream

	mu sync.Mutex
	// waiting are in the order they came. All of them are woken once.
	waiting []*waiter
	// alone is the cost of those that are on their way by themselves, and batched
	// says that a batch is.
	alone   int
	batched bool
	// written has the last sequence of subjects that this replica has written to
	// lately, so that what was decided on an older state does not make a whole batch
	// fail. What is forgotten is found out by the server.
	written recent.Map[events.Subject, uint64]
}

// A waiter is a caller that waits for its turn, or for its batch.
type waiter struct {
	*appending
	// woken gets how it goes on, once.
	woken chan outcome
}

// An outcome is that of a batch for one of its units, or turn: to go on alone.
type outcome struct {
	seq  uint64
	err  error
	turn bool
}

// cost is that of appending a unit by itself.
func (a *appending) cost() int {
	if len(a.messages) > 1 {
		return batchCost
	}
	return 1
}

func cost(all []*waiter) (sum int) {
	for _, w := range all {
		sum += w.cost()
	}
	return sum
}

// append is settle, by itself or among others.
func (c *committer) append(ctx context.Context, a *appending) (uint64, error) {
	c.mu.Lock()
	if c.stale(a) {
		c.mu.Unlock()
		return a.settle(ctx) // the log says who was first
	}
	if c.alone < atOnce && !c.batched && len(c.waiting) == 0 {
		c.alone += a.cost()
		c.mu.Unlock()
		return c.settle(ctx, a)
	}
	if len(c.waiting) >= maxWaiting {
		c.mu.Unlock()
		return 0, ErrBusy
	}
	w := &waiter{a, make(chan outcome, 1)}
	c.waiting = append(c.waiting, w)
	c.mu.Unlock()
	select {
	case o := <-w.woken:
		return c.goOn(ctx, w, o)
	case <-ctx.Done():
		return c.giveUp(ctx, w)
	}
}

// goOn is what a woken caller does.
func (c *committer) goOn(ctx context.Context, w *waiter, o outcome) (uint64, error) {
	if o.turn {
		return c.settle(ctx, w.appending)
	}
	return o.seq, o.err
}

// giveUp leaves the queue. Who is not in it any more was sent, or is about to be.
func (c *committer) giveUp(ctx context.Context, w *waiter) (uint64, error) {
	c.mu.Lock()
	for i, other := range c.waiting {
		if other == w {
			c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
			c.mu.Unlock()
			return 0, fmt.Errorf("%w: it waited: %w", ErrUnsettled, ctx.Err()) // as for who was sent and hears nothing
		}
	}
	c.mu.Unlock()
	// A batch is bounded by its own time, and says what became of the unit.
	return c.goOn(ctx, w, <-w.woken)
}

// settle appends alone, and makes room for the next.
func (c *committer) settle(ctx context.Context, a *appending) (uint64, error) {
	seq, err := a.settle(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alone -= a.cost()
	if err == nil {
		c.note(a, seq)
	}
	c.next() //nolint:contextcheck // the batch that may follow is others'
	return seq, err
}

// next lets go on who waits, as far as there is room. c.mu is held.
func (c *committer) next() {
	if c.batched {
		return
	}
	if batch := c.take(); batch != nil {
		c.batched = true
		go c.commit(batch)
		return
	}
	for len(c.waiting) > 0 && c.alone < atOnce {
		c.letGo(c.waiting[0])
		c.waiting = c.waiting[1:]
	}
}

// letGo lets a unit go on alone. c.mu is held.
func (c *committer) letGo(w *waiter) {
	c.alone += w.cost()
	w.woken <- outcome{turn: true}
}

// take takes a batch out of the queue: the oldest, each of another subject, as
// many as one batch holds. It is nil if they are too few. c.mu is held.
func (c *committer) take() []*waiter {
	if cost(c.waiting) < minBatch {
		return nil
	}
	var batch, left []*waiter
	messages, subjects := 0, map[string]bool{}
	for i, w := range c.waiting {
		if messages+len(w.messages) > maxAtomic {
			left = append(left, c.waiting[i:]...)
			break
		}
		if c.stale(w.appending) {
			c.letGo(w)
			continue
		}
		subject := string(w.unit.Event.Subject)
		if w.guarded && subjects[subject] {
			left = append(left, w)
			continue
		}
		subjects[subject] = true
		messages += len(w.messages)
		batch = append(batch, w)
	}
	c.waiting = left
	if cost(batch) < minBatch {
		c.waiting = append(batch, left...)
		return nil
	}
	return batch
}

// commit appends a batch and lets the next go.
func (c *committer) commit(batch []*waiter) {
	c.try(batch)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batched = false
	c.next()
}

// try sends a batch and wakes its units. One that was refused, because somebody
// wrote to one of its subjects, is halved, so that this one does not hold up the
// others. Of one whose outcome is not known each goes on alone, the same event with
// the same expectation, and that settles it.
func (c *committer) try(batch []*waiter) {
	if cost(batch) < minBatch {
		c.release(batch)
		return
	}
	units := make([]*appending, len(batch))
	for i, w := range batch {
		units[i] = w.appending
		w.attempts++
	}
	first, err := c.log.publishBatch(context.Background(), units)
	switch {
	case err == nil:
		c.stored(batch, first)
	case errorCode(err) == codeWrongLastSequence:
		c.try(batch[:len(batch)/2])
		c.try(batch[len(batch)/2:])
	case errors.Is(err, ErrPartitionFailed):
		for _, w := range batch {
			w.woken <- outcome{err: err}
		}
	default:
		for _, w := range batch {
			w.sent = true
		}
		c.release(batch)
	}
}

// release lets units of a batch go on alone, however many there are.
func (c *committer) release(batch []*waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range batch {
		c.letGo(w)
	}
}

// stored tells each unit of a batch where its event is.
func (c *committer) stored(batch []*waiter, first uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range batch {
		c.note(w.appending, first)
		w.woken <- outcome{seq: first}
		first += uint64(len(w.messages))
	}
}

// note remembers where the subject of a unit was written to. c.mu is held.
func (c *committer) note(a *appending, seq uint64) {
	if !a.guarded {
		return
	}
	subject := a.unit.Event.Subject
	last, _ := c.written.Get(subject)
	c.written.Put(subject, max(last, seq))
}

// stale reports whether the subject has moved on from what a unit was decided on.
// It may be by this same unit, sent before, so that is no conflict yet.
func (c *committer) stale(a *appending) bool {
	if !a.guarded {
		return false
	}
	last, _ := c.written.Get(a.unit.Event.Subject)
	return last > a.unit.Expect
}
