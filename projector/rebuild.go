package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/chancery-authority/chancery/events"
)

const (
	// DefaultRebuildRate is how many events a second are folded into a new read
	// model unless the operator says otherwise: a tenth of a core or so. A partition
	// that is given more all the time needs another.
	DefaultRebuildRate = 2000
	// DefaultDiffRate is how many rows a second are compared. It is higher, because
	// the files grow for as long as that takes.
	DefaultDiffRate = 10000
	// meeting is how long two read models may take to come to one position.
	meeting = 10 * time.Second
)

// Why a read model is not rebuilt, compared, switched or dropped.
var (
	ErrNoModel     = errors.New("there is no such read model here")
	ErrNotBuilt    = errors.New("nothing is built beside the live read model")
	ErrPrevious    = errors.New("what was built or live before is still there")
	ErrBehind      = errors.New("what is built has not caught up")
	ErrNotCompared = errors.New("no comparison has found both to be the same")
	ErrBusy        = errors.New("the read model is being compared, switched or dropped")
)

// A Diff is how the read model beside the live one compares to it.
type Diff struct {
	Began, Ended time.Time
	// Running says that the rest is not known yet, but for Rows: how many were
	// compared so far.
	Running bool
	Rows    int
	// Position is the sequence that both were at, and Same that they have the same
	// rows. Live and Beside are their state hashes.
	Position     uint64
	Same         bool
	Live, Beside events.Hash
	// Differences are the first of the rows that they do not have alike.
	Differences []Difference
	// Err is why there was no comparison, or that the log is not the one that was
	// folded.
	Err error

	// between are what was compared. A file that was built again is another one.
	between [2]*store
}

// rebuild begins to build a read model beside the live one or, where that has
// begun, gives it another limit.
func (p *projection) rebuild(ctx context.Context, limit int) error {
	if !p.operation.TryLock() {
		return ErrBusy
	}
	defer p.operation.Unlock()
	if w := p.beside; w != nil {
		if p.previous || w.hasStopped() {
			return ErrPrevious
		}
		w.brake.limit(limit)
		return nil
	}
	n := p.live.Load().slot.other()
	if err := p.remove(n); err != nil {
		return fmt.Errorf("rebuild %s: %w", p.name(), err)
	}
	s, err := p.open(ctx, n)
	if err != nil {
		return fmt.Errorf("rebuild %s: %w", p.name(), err)
	}
	if err := s.writer.unsynced(ctx); err != nil {
		return errors.Join(fmt.Errorf("rebuild %s: %w", p.name(), err), s.close())
	}
	w := p.newWorker(n, s)
	w.beside.Store(true)
	w.brake.limit(limit)
	p.set(func() { p.beside, p.previous, p.diff = w, false, nil })
	p.start(w) //nolint:contextcheck // it goes on behind the request
	p.logger.Info("read model is being built beside the live one", "model", p.name(), "slot", int(n), "rate", limit)
	return nil
}

func (p *projection) set(change func()) {
	p.mu.Lock()
	change()
	p.mu.Unlock()
	p.changed.notify()
}

// compare begins to compare both read models.
func (p *projection) compare(limit int) error {
	if !p.operation.TryLock() {
		return ErrBusy
	}
	err := ErrNotBuilt
	if p.beside != nil {
		_, err = p.beside.serving()
	}
	if err != nil {
		p.operation.Unlock()
		return behind(err)
	}
	d := Diff{Began: time.Now(), Running: true}
	p.set(func() { p.diff = new(d) })
	p.done.Go(func() {
		d.Err = p.compareNow(p.running, &d, limit)
		if d.Running, d.Ended = false, time.Now(); d.Err == nil && !d.Same {
			p.logger.Error("read models differ", "model", p.name(), "position", d.Position, "rows", d.Differences)
		}
		p.set(func() {
			p.diff = new(d)
			p.operation.Unlock() // before anybody sees that it is over
		})
	})
	return nil
}

// behind is err where it says that a worker cannot be read.
func behind(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return fmt.Errorf("%w: %w", ErrBehind, err)
	}
	return err
}

func (p *projection) compareNow(ctx context.Context, d *Diff, limit int) error {
	live, beside := p.live.Load(), p.beside
	d.between = [2]*store{live.store.Load(), beside.store.Load()}
	c := comparison{tables: p.model.tables, pace: p.pacer(ctx, d, limit)}
	if err := p.meet(ctx, &c, live, beside); err != nil {
		return err
	}
	defer c.live.close()
	defer c.beside.close()
	d.Position = c.live.seq
	if c.live.chain != c.beside.chain {
		err := fmt.Errorf("%w: up to sequence %d the log is not the one that was folded into the live read model", errDiverged, c.live.seq)
		p.log.FailPartition(p.stream, err)
		return err
	}
	if err := c.run(ctx); err != nil {
		return err
	}
	d.Live, d.Beside, d.Rows, d.Differences = c.hashes[0], c.hashes[1], c.rows, c.differences
	d.Same = d.Live == d.Beside
	return nil
}

// pacer says how far a comparison is, and keeps it within the limit.
func (p *projection) pacer(ctx context.Context, d *Diff, limit int) func(int) error {
	limiter := rate.NewLimiter(rate.Inf, compareChunk)
	if limit > 0 {
		limiter.SetLimit(rate.Limit(limit))
	}
	return func(rows int) error {
		p.mu.Lock()
		d.Rows += rows
		p.diff = new(*d)
		p.mu.Unlock()
		return limiter.WaitN(ctx, rows)
	}
}

// meet takes snapshots of both at one position. The live one is not held back:
// the other waits for it to come by.
func (p *projection) meet(ctx context.Context, c *comparison, live, beside *worker) (err error) {
	meeting, cancel := context.WithTimeout(ctx, meeting)
	defer cancel()
	defer beside.release()
	if err := live.waitPosition(meeting, beside.hold()); err != nil {
		return fmt.Errorf("wait for the live read model: %w", err)
	}
	// The snapshots outlive the meeting.
	if c.live, err = live.store.Load().snapshot(ctx); err != nil {
		return fmt.Errorf("read the live read model: %w", err)
	}
	beside.holdAt(c.live.seq)
	if err = beside.waitPosition(meeting, c.live.seq); err == nil {
		c.beside, err = beside.store.Load().snapshot(ctx)
	}
	if err == nil && c.beside.seq != c.live.seq {
		c.beside.close()
		err = fmt.Errorf("it is at %d, the live one at %d", c.beside.seq, c.live.seq)
	}
	if err != nil {
		c.live.close()
		return fmt.Errorf("read the read model beside it: %w", err)
	}
	return nil
}

// same reports whether what is there now was compared, and is the same.
func (p *projection) same() bool {
	d := p.diff
	if d == nil || !d.Same {
		return false
	}
	a, b := p.live.Load().store.Load(), p.beside.store.Load()
	return d.between == [2]*store{a, b} || d.between == [2]*store{b, a}
}

// swap makes the read model beside the live one the live one. No read fails, and
// none sees less than one before it: the one that was live does not go on until
// the other has come as far. It follows on, so that one can switch back.
func (p *projection) swap(ctx context.Context, force bool) error {
	if !p.operation.TryLock() {
		return ErrBusy
	}
	defer p.operation.Unlock()
	live, next := p.live.Load(), p.beside
	if next == nil {
		return ErrNotBuilt
	}
	if _, err := next.serving(); err != nil {
		return behind(err)
	}
	if !force && !p.same() {
		return ErrNotCompared
	}
	ctx, cancel := p.bound(ctx, meeting)
	defer cancel()
	if err := next.settle(ctx); err != nil {
		return fmt.Errorf("switch %s: %w", p.name(), err)
	}
	at := live.hold()
	defer live.release()
	if err := next.waitPosition(ctx, at); err != nil {
		return fmt.Errorf("%w: %w", ErrBehind, err)
	}
	if err := p.setLive(next.slot); err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	next.beside.Store(false)
	live.beside.Store(true)
	p.set(func() {
		p.live.Store(next)
		p.beside, p.previous = live, true
	})
	p.logger.Info("read model was switched", "model", p.name(), "slot", int(next.slot), "position", at, "forced", force)
	return nil
}

// settle has what was folded so far survive a power cut, which before it need not:
// a live file that is damaged is built again, and not read until then.
func (w *worker) settle(ctx context.Context) error {
	w.brake.folding.Lock()
	defer w.brake.folding.Unlock()
	return w.store.Load().writer.synced(ctx)
}

// drop stops the worker beside the live one and deletes its file.
func (p *projection) drop() error {
	if !p.operation.TryLock() {
		return ErrBusy
	}
	defer p.operation.Unlock()
	w := p.beside
	if w == nil {
		return ErrNotBuilt
	}
	w.end()
	<-w.done
	if err := w.store.Load().close(); err != nil {
		// It is deleted all the same.
		p.logger.Warn("read model did not close well", "model", p.name(), "slot", int(w.slot), "reason", err)
	}
	if err := p.remove(w.slot); err != nil {
		return fmt.Errorf("drop the read model beside %s: %w", p.name(), err)
	}
	p.set(func() { p.beside, p.previous, p.diff = nil, false, nil })
	p.logger.Info("read model was dropped", "model", p.name(), "slot", int(w.slot))
	return nil
}
