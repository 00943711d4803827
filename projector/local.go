package projector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// LocalConfig says where the read models are kept.
type LocalConfig struct {
	// Dir has one SQLite file per stream, named after it. It is created if need
	// be, and belongs to one process at a time.
	Dir string
	// Logger is told of rebuilds, interruptions and, as an error, of a partition
	// that stops. Nil discards it.
	Logger *slog.Logger
	// Gate, if not nil, is called before every batch of a stream is folded, and
	// may hold it back. An error interrupts the worker, which tries again.
	Gate func(ctx context.Context, stream string) error
	// Accept has, by streams, up to where a log that is not the one that was folded
	// is taken as it is, and the read model built again.
	Accept map[string]uint64
	// NoAudit leaves the audit out: Audit is ErrUnavailable then.
	NoAudit bool
	// Folded, if not nil, is told of every batch that was folded into a read model:
	// one by its name, of a stream.
	Folded func(stream, model string, events int, took time.Duration)
	// Tracer traces reads that come over NATS, and what is folded of events that
	// were traced. Nil traces nothing.
	Tracer trace.Tracer
}

// Local is the projector: a read model of every partition and of the registry,
// each with a worker that folds it, and reads of them. It is safe for concurrent
// use.
type Local struct {
	realm events.Realm
	cfg   LocalConfig
	// projections are the states. Trees are beside them, each of the same stream,
	// and audits, if there are any, too.
	projections []*projection
	trees       []*projection
	audits      []*projection
	places      map[place]*projection
	// running ends when the projector is closed.
	running context.Context
	stop    context.CancelFunc
	done    sync.WaitGroup
	closing sync.Once
	states
}

var _ Reader = (*Local)(nil)

// OpenLocal opens the read models and starts their workers, which run until
// Close. A file that is missing or of no use is built from the log; until it
// has caught up its reads return ErrUnavailable.
func OpenLocal(ctx context.Context, log *eventlog.Log, cfg LocalConfig) (*Local, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Tracer == nil {
		cfg.Tracer = noop.Tracer{}
	}
	l := &Local{realm: log.Realm(), cfg: cfg, places: map[place]*projection{}}
	l.running, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.states = states{l}
	if err := l.open(ctx, log); err != nil {
		l.stop()
		return nil, errors.Join(err, l.closeStores())
	}
	for _, p := range l.all() {
		p.start(p.live.Load()) //nolint:contextcheck // it runs until Close
	}
	return l, nil
}

// open opens every read model.
func (l *Local) open(ctx context.Context, log *eventlog.Log) error {
	for _, n := range log.Partitions() {
		if err := l.add(ctx, log, &l.projections, log.Realm().PartitionStream(n), partitionModel(), partitionPlace(n)); err != nil {
			return err
		}
	}
	if err := l.add(ctx, log, &l.projections, log.Realm().RegistryStream(), registryModel(), registryPlace); err != nil {
		return err
	}
	for _, of := range l.projections {
		if err := l.add(ctx, log, &l.trees, of.stream, treeModel(), treePlace(of.stream)); err != nil {
			return err
		}
		if l.cfg.NoAudit {
			continue
		}
		if err := l.add(ctx, log, &l.audits, of.stream, auditModel(), auditPlace(of.stream)); err != nil {
			return err
		}
	}
	return nil
}

// add opens a read model of a stream, to be read at a place.
func (l *Local) add(ctx context.Context, log *eventlog.Log, to *[]*projection, stream string, m model, at place) error {
	p, err := l.openProjection(ctx, log, stream, m)
	if err != nil {
		return err
	}
	*to = append(*to, p)
	l.places[at] = p
	return nil
}

// all are the read models of all kinds.
func (l *Local) all() []*projection { return slices.Concat(l.projections, l.trees, l.audits) }

// Close stops the workers and closes the files. What is being built beside a live
// read model is given up.
func (l *Local) Close() error {
	l.stop()
	l.closing.Do(func() {
		for _, p := range l.all() {
			p.operation.Lock() // and never unlocked: nothing begins any more
		}
	})
	l.done.Wait()
	return l.closeStores()
}

func (l *Local) closeStores() error {
	var err error
	for _, p := range l.all() {
		err = errors.Join(err, p.close())
	}
	return err
}

// read implements source.
func (l *Local) read(ctx context.Context, at place, what, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, ok := l.places[at]
	if !ok {
		return nil, fmt.Errorf("%w: no partition %s", ErrUnavailable, at)
	}
	return p.read(ctx, what, key)
}

// Oldest is when the oldest grant, session or token of a partition began of which
// there still is a row, so that it may be in force. Without any it is zero. Clock
// is the log's time up to which that is so.
func (l *Local) Oldest(ctx context.Context, p events.Partition) (at, clock time.Time, err error) {
	raw, err := l.read(ctx, partitionPlace(p), readOldest, "")
	if err != nil {
		return at, clock, err
	}
	var found oldestRows
	err = json.Unmarshal(raw, &found)
	return found.Oldest, found.Clock, err
}

// Wait waits until the states of every stream, not their audit, have caught up with the head it had when its
// worker started. It returns ErrUnavailable if one has stopped.
func (l *Local) Wait(ctx context.Context) error {
	for _, p := range l.projections {
		if err := p.wait(ctx); err != nil {
			return fmt.Errorf("wait for %s: %w", p.stream, err)
		}
	}
	return nil
}

// StateHash is the canonical hash of all rows of a live read model, as Status
// names it, and the position it is of. Two read models at one position have the
// same. It reads every row.
func (l *Local) StateHash(ctx context.Context, model string) (events.Hash, uint64, error) {
	p, err := l.projection(model)
	if err != nil {
		return events.Hash{}, 0, err
	}
	return p.live.Load().store.Load().stateHash(ctx)
}

func (l *Local) projection(model string) (*projection, error) {
	for _, p := range l.all() {
		if p.name() == model {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%w: %.64q", ErrNoModel, model)
}
