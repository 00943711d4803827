package projector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
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

	// gathering is another number than the constant, for tests.
	gathering uint64
}

// Local is the projector: a read model of every partition and of the registry,
// each with a worker that folds it, and reads of them. It is safe for concurrent
// use.
type Local struct {
	log *eventlog.Log
	cfg LocalConfig
	// models are all read models, and added tells of more.
	models atomic.Pointer[models]
	added  signal
	// running ends when the projector is closed.
	running context.Context
	stop    context.CancelFunc
	done    sync.WaitGroup
	// adding is held by who adds models. None are added once running has ended.
	adding  sync.Mutex
	closing sync.Once
	states
}

// models are the read models of a projector. They are never changed, but replaced
// by others.
type models struct {
	// states are of the partitions, and the registry last. Trees are beside them,
	// each of the same stream, and audits, if there are any, too.
	states, trees, audits []*projection
	places                map[place]*projection
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
	l := &Local{log: log, cfg: cfg}
	l.models.Store(&models{places: map[place]*projection{}})
	l.running, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.states = states{l}
	streams := []string{log.Realm().RegistryStream()}
	for _, p := range log.Partitions() {
		streams = append(streams, log.Realm().PartitionStream(p))
	}
	for _, stream := range streams {
		if err := l.add(ctx, stream); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	l.done.Go(func() { log.FollowPartitions(l.running) })
	l.done.Go(func() { l.followPartitions(l.running) })
	return l, nil
}

// followPartitions adds the read models of partitions that are opened in the log,
// until ctx ends.
func (l *Local) followPartitions(ctx context.Context) {
	for ctx.Err() == nil {
		more := l.log.PartitionsChanged()
		if err := l.addMissing(ctx); err != nil {
			if ctx.Err() == nil {
				l.cfg.Logger.Error("a partition that was added is not folded yet", "reason", err)
			}
			wait(ctx, pause)
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
		}
	}
}

func (l *Local) addMissing(ctx context.Context) error {
	for _, p := range l.log.Partitions() {
		if _, ok := l.models.Load().places[partitionPlace(p)]; ok {
			continue
		}
		if err := l.add(ctx, l.log.Realm().PartitionStream(p)); err != nil {
			return err
		}
	}
	return nil
}

// add opens the read models of a stream and starts their workers.
func (l *Local) add(ctx context.Context, stream string) error {
	l.adding.Lock()
	defer l.adding.Unlock()
	if err := l.running.Err(); err != nil {
		return err
	}
	old := l.models.Load()
	next := &models{old.states, old.trees, old.audits, maps.Clone(old.places)}
	at, of := registryPlace, registryModel()
	p, isPartition := l.log.Realm().PartitionOf(stream)
	if isPartition {
		at, of = partitionPlace(p), partitionModel()
	}
	kinds := []struct {
		to *[]*projection
		at place
		of model
	}{{&next.states, at, of}, {&next.trees, treePlace(stream), treeModel()}, {&next.audits, auditPlace(stream), auditModel()}}
	if l.cfg.NoAudit {
		kinds = kinds[:2]
	}
	var opened []*projection
	for _, k := range kinds {
		// Nothing is served without states. The audit takes longer, and is for
		// operators, who can wait.
		var after *projection
		if k.to == &next.audits {
			after = opened[0]
		}
		one, err := l.openProjection(ctx, stream, k.of, after)
		if err != nil {
			return errors.Join(err, closeAll(opened))
		}
		opened = append(opened, one)
		*k.to, next.places[k.at] = inOrder(*k.to, one, isPartition), one
	}
	l.models.Store(next)
	for _, one := range opened {
		one.start(one.live.Load()) //nolint:contextcheck // it runs until Close
	}
	l.added.notify()
	return nil
}

// inOrder puts one more into a list: behind the other partitions, before the
// registry.
func inOrder(all []*projection, one *projection, isPartition bool) []*projection {
	at := len(all)
	if isPartition && at > 0 {
		at--
	}
	return slices.Insert(slices.Clone(all), at, one)
}

// all are the read models of all kinds.
func (l *Local) all() []*projection {
	m := l.models.Load()
	return slices.Concat(m.states, m.trees, m.audits)
}

// Close stops the workers and closes the files. What is being built beside a live
// read model is given up.
func (l *Local) Close() error {
	l.stop()
	l.closing.Do(func() {
		l.adding.Lock()
		defer l.adding.Unlock()
		for _, p := range l.all() {
			p.operation.Lock() // and never unlocked: nothing begins any more
		}
	})
	l.done.Wait()
	return closeAll(l.all())
}

func closeAll(all []*projection) error {
	var err error
	for _, p := range all {
		err = errors.Join(err, p.close())
	}
	return err
}

// read implements source.
func (l *Local) read(ctx context.Context, at place, what, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, ok := l.models.Load().places[at]
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
	for _, p := range l.models.Load().states {
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
