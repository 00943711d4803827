package projector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-authority/chancery/events/eventlog"
)

// A projection is one read model of one stream: the worker whose store is read,
// and the one that builds another beside it.
type projection struct {
	slots
	log *eventlog.Log
	cfg LocalConfig
	// after is the read model that catches up before this one, or nil.
	after *projection
	// running ends when the projector is closed, and done waits for what it has
	// begun.
	running context.Context
	done    *sync.WaitGroup

	live atomic.Pointer[worker]
	// changed is told whatever happens to a worker, and when another one is live.
	changed signal

	// operation is held by whoever builds, compares, switches or drops. It is
	// taken for good when the projector is closed.
	operation sync.Mutex
	// mu guards the following, which belong to who has the operation.
	mu sync.Mutex
	// beside is the worker of the slot that is not live, or nil, and previous says
	// that it was live before.
	beside   *worker
	previous bool
	diff     *Diff
}

// openProjection opens the live read model. Its worker does not run yet.
func (l *Local) openProjection(ctx context.Context, stream string, m model, after *projection) (*projection, error) {
	p := &projection{
		slots: slots{dir: l.cfg.Dir, stream: stream, model: m, logger: l.cfg.Logger},
		log:   l.log, cfg: l.cfg, after: after, running: l.running, done: &l.done,
	}
	s, n, err := p.openLive(ctx)
	if err != nil {
		return nil, err
	}
	p.live.Store(p.newWorker(n, s))
	return p, nil
}

func (p *projection) newWorker(n slot, s *store) *worker {
	w := &worker{
		log: p.log, stream: p.stream, logger: p.logger, gate: p.cfg.Gate, linger: p.model.linger,
		gathering: cmp.Or(p.cfg.gathering, gathering), after: p.after, accept: p.cfg.Accept[p.stream],
		slot: n, changed: &p.changed, folded: p.cfg.Folded, tracer: p.cfg.Tracer,
		open: func(ctx context.Context) (*store, error) { return p.open(ctx, n) },
	}
	w.store.Store(s)
	return w
}

// start lets a worker run until it is stopped or the projector is closed.
func (p *projection) start(w *worker) {
	ctx, end := context.WithCancel(p.running)
	w.end, w.done = end, make(chan struct{})
	p.done.Go(func() {
		defer close(w.done)
		w.run(ctx)
	})
}

// serving is the store that is read, and its worker.
func (p *projection) serving() (*worker, *store, error) {
	w := p.live.Load()
	s, err := w.serving()
	return w, s, err
}

// read reads a state. What was begun while another one was live is read there,
// unless that is gone.
func (p *projection) read(ctx context.Context, what, key string) ([]byte, error) {
	for {
		w, s, err := p.serving()
		var state []byte
		if err == nil {
			// A read takes microseconds. Watching ctx for that long costs more.
			if state, err = s.read(context.WithoutCancel(ctx), what, key); err == nil {
				return state, nil
			}
			w.unreadable(s, err)
			err = fmt.Errorf("%w: read %s: %w", ErrUnavailable, what, err)
		}
		if p.live.Load() == w {
			return nil, err
		}
	}
}

// wait waits until the read model may be read. It returns the error of one that
// has stopped.
func (p *projection) wait(ctx context.Context) error {
	for {
		changed := p.changed.next()
		w, _, err := p.serving()
		if err == nil || w.hasStopped() {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close closes the files when nothing uses them any more: the workers have ended,
// and no operation begins from now on.
func (p *projection) close() error {
	err := p.live.Load().store.Load().close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.beside != nil {
		err = errors.Join(err, p.beside.store.Load().close())
	}
	return err
}

// bound bounds an operation by the life of the projector and by d.
func (p *projection) bound(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, d)
	stop := context.AfterFunc(p.running, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}
