package projector

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/chancery-authority/chancery/events/eventlog"
)

// A brake slows down what a worker folds, and stops it at a position. The zero
// value does neither.
type brake struct {
	// folding is held while a part is folded and while the following change.
	folding sync.Mutex
	// held says that nothing behind the sequence end is folded.
	held bool
	end  uint64
	// limiter is nil where there is no limit.
	limiter atomic.Pointer[rate.Limiter]
}

// maxPart is the most events that are folded at once under a limit.
const maxPart = 500

// limit has no more than so many events folded in a second, 0 for no limit. They
// are folded fifty times a second, or one by one: each part is one transaction, and
// short enough for requests that wait for the core.
func (b *brake) limit(perSecond int) {
	if perSecond == 0 {
		b.limiter.Store(nil)
		return
	}
	b.limiter.Store(rate.NewLimiter(rate.Limit(perSecond), min(maxPart, max(1, perSecond/50))))
}

// rate is the limit, 0 if there is none.
func (b *brake) rate() int {
	if l := b.limiter.Load(); l != nil {
		return int(l.Limit())
	}
	return 0
}

// part waits until some of n events may be folded, and says how many.
func (b *brake) part(ctx context.Context, n int) (int, error) {
	l := b.limiter.Load()
	if l == nil {
		return n, ctx.Err()
	}
	n = min(n, l.Burst())
	return n, l.WaitN(ctx, n)
}

// gathering is how many events a read model that is being built folds at once. Ids are
// random, so each new row is on other pages than the one before: the more rows are
// written together, the more of them meet on a page. It takes a second or less, for
// which a process that is told to stop has to wait.
const gathering = 10_000

// gather gives what is to be folded now that batch has come. Where much is to come
// that is nothing or much, unless it is folded slowly so as to disturb nobody.
func (w *worker) gather(batch []eventlog.Entry) []eventlog.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arrived = time.Now()
	w.gathered = append(w.gathered, batch...)
	much := !w.caughtUp && w.gathered[0].Seq+w.gathering < w.target && w.brake.rate() == 0
	if much && uint64(len(w.gathered)) < w.gathering {
		return nil
	}
	batch, w.gathered = w.gathered, nil
	return batch
}

// part waits until some of n events may be folded. The limit is for building:
// what was built must keep up.
func (w *worker) part(ctx context.Context, n int) (int, error) {
	w.mu.Lock()
	building := w.beside.Load() && !w.caughtUp
	w.mu.Unlock()
	if !building {
		return n, nil
	}
	return w.brake.part(ctx, n)
}

// hold stops folding behind what s has now, which it returns.
func (w *worker) hold() uint64 {
	w.brake.folding.Lock()
	defer w.brake.folding.Unlock()
	w.brake.held, w.brake.end = true, w.store.Load().position().seq
	return w.brake.end
}

// holdAt lets a worker that is held go on to a sequence.
func (w *worker) holdAt(seq uint64) {
	w.brake.folding.Lock()
	w.brake.end = seq
	w.brake.folding.Unlock()
	w.changed.notify()
}

// release ends what hold began.
func (w *worker) release() {
	w.brake.folding.Lock()
	w.brake.held = false
	w.brake.folding.Unlock()
	w.changed.notify()
}

// waitPosition waits until a sequence is folded. It returns ErrUnavailable if the
// worker has stopped, or what it has folded is of no use any more.
func (w *worker) waitPosition(ctx context.Context, seq uint64) error {
	for {
		changed := w.changed.next()
		if _, err := w.serving(); err != nil {
			return err
		}
		if w.store.Load().position().seq >= seq {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
