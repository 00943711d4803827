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
}

// Local is the projector: a worker for every partition and for the registry,
// and reads of what they have folded. It is safe for concurrent use.
type Local struct {
	realm   events.Realm
	logger  *slog.Logger
	workers []*worker
	// trees are beside workers, each of the same stream, and audits, if there are
	// any, too.
	trees  []*worker
	audits []*worker
	places map[place]*worker
	stop   context.CancelFunc
	done   sync.WaitGroup
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
	l := &Local{realm: log.Realm(), logger: cfg.Logger, places: map[place]*worker{}}
	l.states = states{l}
	for _, p := range log.Partitions() {
		w, err := l.open(ctx, log, log.Realm().PartitionStream(p), partitionModel(), cfg)
		if err != nil {
			return nil, errors.Join(err, l.closeStores())
		}
		l.places[partitionPlace(p)] = w
	}
	w, err := l.open(ctx, log, log.Realm().RegistryStream(), registryModel(), cfg)
	if err != nil {
		return nil, errors.Join(err, l.closeStores())
	}
	l.places[registryPlace] = w
	if l.trees, err = l.openBeside(ctx, log, cfg, treeModel(), treePlace); err != nil {
		return nil, errors.Join(err, l.closeStores())
	}
	if !cfg.NoAudit {
		if l.audits, err = l.openBeside(ctx, log, cfg, auditModel(), auditPlace); err != nil {
			return nil, errors.Join(err, l.closeStores())
		}
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	for _, w := range l.all() {
		l.done.Go(func() { w.run(running) })
	}
	return l, nil
}

// openBeside opens a further model of every stream. What was opened is in the
// result also with an error.
func (l *Local) openBeside(ctx context.Context, log *eventlog.Log, cfg LocalConfig, m model, at func(stream string) place) (opened []*worker, err error) {
	for _, of := range l.workers {
		w, err := newWorker(ctx, log, of.stream, m, cfg)
		if err != nil {
			return opened, err
		}
		opened = append(opened, w)
		l.places[at(of.stream)] = w
	}
	return opened, nil
}

// all are the workers of every model.
func (l *Local) all() []*worker { return slices.Concat(l.workers, l.trees, l.audits) }

func (l *Local) open(ctx context.Context, log *eventlog.Log, stream string, m model, cfg LocalConfig) (*worker, error) {
	w, err := newWorker(ctx, log, stream, m, cfg)
	if err == nil {
		l.workers = append(l.workers, w)
	}
	return w, err
}

func newWorker(ctx context.Context, log *eventlog.Log, stream string, m model, cfg LocalConfig) (*worker, error) {
	w := &worker{
		log: log, stream: stream, logger: cfg.Logger, gate: cfg.Gate, accept: cfg.Accept[stream],
		open: func(ctx context.Context) (*store, error) { return openStore(ctx, cfg.Dir, stream, m, cfg.Logger) },
	}
	s, err := w.open(ctx)
	if err != nil {
		return nil, err
	}
	w.store.Store(s)
	return w, nil
}

// Close stops the workers and closes the files.
func (l *Local) Close() error {
	l.stop()
	l.done.Wait()
	return l.closeStores()
}

func (l *Local) closeStores() error {
	var err error
	for _, w := range l.all() {
		err = errors.Join(err, w.store.Load().close())
	}
	return err
}

// read implements source.
func (l *Local) read(ctx context.Context, at place, what, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w, ok := l.places[at]
	if !ok {
		return nil, fmt.Errorf("%w: no partition %s", ErrUnavailable, at)
	}
	s, err := w.serving()
	if err != nil {
		return nil, err
	}
	// A read takes microseconds. Watching ctx for that long costs more.
	state, err := s.read(context.WithoutCancel(ctx), what, key)
	if err != nil {
		w.unreadable(s, err)
		return nil, fmt.Errorf("%w: read %s: %w", ErrUnavailable, what, err)
	}
	return state, nil
}

// Oldest is when the oldest grant, session or token of a partition began of which
// there still is a row, so that it may be in force. Without any it is zero.
func (l *Local) Oldest(ctx context.Context, p events.Partition) (time.Time, error) {
	raw, err := l.read(ctx, partitionPlace(p), readOldest, "")
	if err != nil {
		return time.Time{}, err
	}
	var oldest time.Time
	return oldest, json.Unmarshal(raw, &oldest)
}

// Wait waits until the states of every stream, not their audit, have caught up with the head it had when its
// worker started. It returns ErrUnavailable if one has stopped.
func (l *Local) Wait(ctx context.Context) error {
	for _, w := range l.workers {
		if err := w.waitServing(ctx); err != nil {
			return fmt.Errorf("wait for %s: %w", w.stream, err)
		}
	}
	return nil
}

// StateHash is the canonical hash of all rows of a read model, as Status
// audit, and the position it is of. Two read models at one position have the same. It reads
// every row.
func (l *Local) StateHash(ctx context.Context, model string) (events.Hash, uint64, error) {
	for _, w := range l.all() {
		if w.modelName() == model {
			return w.store.Load().stateHash(ctx)
		}
	}
	return events.Hash{}, 0, fmt.Errorf("no read model %.64q", model)
}
