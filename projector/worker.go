package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

const (
	// watchInterval is how often a worker looks at the head of its stream, for
	// the lag and for a log that has become shorter.
	watchInterval = time.Second
	// isolation is how long the head of a replicated stream may be behind what
	// was read before that is taken for a loss: nats-server lets a leader that is
	// cut off answer from the past for up to 20 s.
	isolation = 30 * time.Second
	// stall is how long a message that is in the log may take to arrive before
	// that is worth a word.
	stall = 10 * time.Second
	// pause is how long a worker waits after a failure that may pass.
	pause = 500 * time.Millisecond
)

// errUnreadable restarts a worker whose file could not be read.
var errUnreadable = errors.New("read model cannot be read")

// A worker folds one stream into its store, for as long as it runs. It is the
// store's only writer.
type worker struct {
	log    *eventlog.Log
	stream string
	logger *slog.Logger
	gate   func(ctx context.Context, stream string) error
	linger time.Duration
	// gathering is how many events are folded at once where much is to come.
	gathering uint64
	// after is a read model that must have caught up before this one is folded, or nil.
	after *projection
	// open opens the store, again after a file turned out to be damaged.
	open func(context.Context) (*store, error)

	// folded and tracer are told of what is folded.
	folded func(stream, model string, events int, took time.Duration)
	tracer trace.Tracer

	// accept is up to where another log than the one that was folded is accepted,
	// once. It is run's.
	accept uint64
	// gathered is what will be folded together. It belongs to who folds.
	gathered []eventlog.Entry
	store    atomic.Pointer[store]
	// slot is where the store is, and beside says that it is not the live one:
	// what happens to it is nobody's business but the operator's.
	slot   slot
	beside atomic.Bool
	// changed is of all workers of the read model.
	changed *signal
	brake   brake
	// end ends the worker, and done is closed when it has.
	end  context.CancelFunc
	done chan struct{}
	// shorter is since when the log has been shorter than the position. It
	// belongs to whoever looks at the head: start, then watch.
	shorter time.Time

	mu    sync.Mutex
	head  eventlog.Head
	meter meter
	// target is the head seen at start. Before it is reached nothing is served.
	// Beside the live one it moves with the head until it is reached.
	target   uint64
	caughtUp bool
	// arrived is when the last batch was folded, or the following began.
	arrived time.Time
	// err is why the worker is in trouble, and stopped says that it has given up.
	err     error
	stopped bool
	// restart ends the current run with a reason.
	restart context.CancelCauseFunc
}

// run folds until ctx ends or something happens that does not pass.
func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := w.runOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, fold.ErrPoison):
			w.stop(err)
			return
		case errors.Is(err, errDiverged) && w.store.Load().position().seq <= w.accept:
			w.accept = 0
			w.reopen(ctx, fmt.Errorf("%w: its log was lost, which is accepted: %w", errDisposable, err))
		case errors.Is(err, errDiverged), errors.Is(err, eventlog.ErrGap), errors.Is(err, eventlog.ErrRewritten):
			if !w.beside.Load() {
				w.log.FailPartition(w.stream, err)
			}
			w.stop(err)
			return
		case disposable(err), errors.Is(err, errUnreadable):
			w.reopen(ctx, err)
		default:
			w.trouble(err)
			wait(ctx, pause)
		}
	}
}

// stop gives up, for a reason that does not pass.
func (w *worker) stop(err error) {
	w.logger.Error("projector stopped", "stream", w.stream, "slot", int(w.slot), "position", w.store.Load().position().seq, "reason", err)
	w.set(func() { w.err, w.stopped = err, true })
}

func (w *worker) trouble(err error) {
	w.logger.Warn("projector interrupted", "stream", w.stream, "reason", err)
	w.set(func() { w.err = err })
}

func (w *worker) set(change func()) {
	w.mu.Lock()
	change()
	w.mu.Unlock()
	w.changed.notify()
}

// reopen opens the store again, or a new one if the file is to blame.
func (w *worker) reopen(ctx context.Context, reason error) {
	w.trouble(reason)
	w.set(func() { w.caughtUp = false })
	old := w.store.Load()
	_ = old.close() // in trouble, it may not close well
	for {
		var err error
		if disposable(reason) {
			err = removeFile(old.path)
		}
		if err == nil {
			var s *store
			if s, err = w.open(ctx); err == nil {
				w.store.Store(s)
				return
			}
		}
		w.trouble(fmt.Errorf("open read model again: %w", err))
		if !wait(ctx, pause) {
			return
		}
	}
}

// runOnce compares the log with what was folded and goes on from there.
func (w *worker) runOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.set(func() { w.restart = cancel })
	first, err := w.start(ctx)
	if err != nil {
		return err
	}
	var watching sync.WaitGroup
	watching.Go(func() { w.watch(ctx, cancel) })
	defer func() {
		cancel(nil)
		watching.Wait()
	}()
	w.gathered = nil
	err = w.log.Follow(ctx, w.stream, eventlog.From{Seq: first, Linger: w.linger}, func(batch []eventlog.Entry) error {
		return w.fold(ctx, batch)
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// start waits until the log is there and at least as long as what was folded
// of it, and until it is this worker's turn. It returns where to begin: at the
// last message folded, which is compared before anything is folded on top of it.
func (w *worker) start(ctx context.Context) (first uint64, err error) {
	for {
		head, err := w.look(ctx)
		if err != nil {
			return 0, err
		}
		switch at := w.store.Load().position(); {
		case head.Seq < at.seq:
			if !wait(ctx, watchInterval) {
				return 0, context.Cause(ctx)
			}
		case w.due(ctx):
			w.set(func() {
				w.target = max(w.target, head.Seq)
				w.caughtUp = w.caughtUp || head.Seq == 0
				w.arrived = time.Now()
			})
			return max(at.seq, 1), nil
		}
	}
}

// due reports whether it is this worker's turn, for which it waits a while. What has
// stopped keeps nobody waiting, and who serves does not wait.
func (w *worker) due(ctx context.Context) bool {
	w.mu.Lock()
	serves := w.caughtUp
	w.mu.Unlock()
	if w.after == nil || serves {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, watchInterval)
	defer cancel()
	err := w.after.wait(ctx)
	return err == nil || errors.Is(err, ErrUnavailable)
}

// watch looks at the head from time to time.
func (w *worker) watch(ctx context.Context, restart context.CancelCauseFunc) {
	for wait(ctx, watchInterval) {
		if _, err := w.look(ctx); errors.Is(err, errDiverged) {
			restart(err)
			return
		}
		if w.stalled() {
			w.trouble(errors.New("a message that is in the log does not arrive: it may be damaged, or the server cut off"))
		}
	}
}

// stalled reports, at most every stall, that the log has something that was
// not delivered for as long.
func (w *worker) stalled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting := !w.caughtUp || w.head.Seq > w.store.Load().position().seq
	if !waiting || time.Since(w.arrived) < stall {
		return false
	}
	w.arrived = time.Now()
	return true
}

// look reads the head and compares it with what was folded. It returns
// errDiverged if this is not the stream that was folded, or has lost messages.
func (w *worker) look(ctx context.Context) (eventlog.Head, error) {
	s := w.store.Load()
	at := s.position()
	ctx, cancel := context.WithTimeout(ctx, 5*watchInterval)
	defer cancel()
	head, err := w.log.Head(ctx, w.stream)
	if err != nil {
		return head, err
	}
	w.set(func() {
		w.head = head
		if w.caughtUp && head.Seq == at.seq {
			w.err = nil
		}
		if w.beside.Load() && !w.caughtUp {
			w.target = max(w.target, head.Seq)
		}
		w.meter.sample(time.Now(), at.seq, head.Seq)
	})
	if err := s.bind(ctx, head.Created); err != nil {
		return head, err
	}
	return head, w.checkLength(head, at.seq)
}

// checkLength returns errDiverged for a head behind the position. A replicated
// stream is given the time in which it may be a leader that is behind.
func (w *worker) checkLength(head eventlog.Head, position uint64) error {
	if head.Seq >= position {
		w.shorter = time.Time{}
		return nil
	}
	if w.shorter.IsZero() {
		w.shorter = time.Now()
		w.logger.Warn("log is shorter than what was folded", "stream", w.stream, "head", head.Seq, "position", position)
	}
	if head.Replicas > 1 && time.Since(w.shorter) < isolation {
		return nil
	}
	return fmt.Errorf("sequence %d was folded and the log ends at %d: %w", position, head.Seq, errDiverged)
}

// fold folds a batch, as fast as it may.
func (w *worker) fold(ctx context.Context, batch []eventlog.Entry) error {
	if batch = w.gather(batch); batch == nil {
		return nil
	}
	if w.gate != nil {
		if err := w.gate(ctx, w.stream); err != nil {
			return err
		}
	}
	for len(batch) > 0 {
		n, err := w.part(ctx, len(batch))
		if err != nil {
			return err
		}
		released := w.changed.next()
		if n, err = w.foldPart(ctx, batch[:n]); err != nil {
			return err
		}
		if batch = batch[n:]; n > 0 {
			continue
		}
		select {
		case <-released:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// foldPart folds of a batch what is not held back, and says how much that is and
// how far it came.
func (w *worker) foldPart(ctx context.Context, batch []eventlog.Entry) (int, error) {
	w.brake.folding.Lock()
	defer w.brake.folding.Unlock()
	if w.brake.held {
		n := slices.IndexFunc(batch, func(e eventlog.Entry) bool { return e.Seq > w.brake.end })
		if n >= 0 {
			batch = batch[:n]
		}
	}
	if len(batch) == 0 {
		return 0, nil
	}
	s := w.store.Load()
	folded := w.observe(ctx, batch)
	err := s.fold(ctx, batch)
	if folded(err); err != nil {
		return 0, err
	}
	w.set(func() {
		w.err, w.arrived = nil, time.Now()
		w.caughtUp = w.caughtUp || s.position().seq >= w.target
	})
	return len(batch), nil
}

// serving is the store, if it may be read.
func (w *worker) serving() (*store, error) {
	if err := w.log.Failed(w.stream); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.stopped:
		return nil, fmt.Errorf("%w: %s has stopped: %w", ErrUnavailable, w.stream, w.err)
	case !w.caughtUp:
		return nil, fmt.Errorf("%w: %s is being built", ErrUnavailable, w.stream)
	}
	return w.store.Load(), nil
}

// unreadable is told that s could not be read. Nothing is read from it any
// more, and the file is opened again, or built again if it is to blame.
func (w *worker) unreadable(s *store, err error) {
	w.set(func() {
		if w.caughtUp && w.store.Load() == s {
			w.caughtUp = false
			w.restart(fmt.Errorf("%w: %w", errUnreadable, err))
		}
	})
}

// wait waits for d; false means that ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
