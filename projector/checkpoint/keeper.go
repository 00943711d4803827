// Package checkpoint signs what streams are, and holds them against what was
// signed before: a stream that is shorter, or another one, fails closed.
//
// The one thing to know: a checkpoint counts because of where it is kept. One is
// in a bucket, where every process sees it, and one in a file outside of the
// log's engine, which is still there when the engine has lost its store, and the
// bucket with it.
package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/time/rate"

	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
	"github.com/chancery-authority/chancery/projector"
)

// Bucket is that of the newest checkpoints, by streams.
const Bucket = "CHECKPOINTS"

const (
	// interval is how often a stream is looked at, and signed if it has grown.
	interval = time.Second
	// isolation is how long a replicated stream may seem shorter before that is
	// taken for a loss: a leader that is cut off answers from the past.
	isolation = 30 * time.Second
	// complaint is how often what an operator should mend is told.
	complaint = time.Minute
)

// Reasons for which a stream fails.
var (
	ErrShorter   = errors.New("the log has lost messages that a checkpoint covers")
	ErrDifferent = errors.New("the log is not the one that was signed")
	// errBehind is returned for a tree that does not reach a checkpoint yet.
	errBehind = errors.New("the tree is behind")
)

// Config says what is kept and where. Log, Reader and Logger are required.
type Config struct {
	Log *eventlog.Log
	// Reader has the trees.
	Reader projector.Reader
	// Key signs. Without one nothing is signed, but what others have signed is
	// held against the log all the same.
	Key note.Signer
	// Known are the keys that may have signed. Nil takes checkpoints as they are.
	Known note.Verifiers
	// Dir has the newest checkpoint of each stream, in a file of its name, so it
	// should be on another disk than the log. Empty keeps none.
	Dir string
	// Accept are streams whose log is taken as it is, although it is not what was
	// signed up to these sizes. The log says so then (events.LogRestored), from
	// Source, and the grants of the clients of Keep go on.
	Accept map[string]uint64
	Keep   []string
	Source string
	// ScrubRate is how many messages a second are read again, of each stream, to be
	// held against its tree. 0 reads none.
	ScrubRate int
	Logger    *slog.Logger
}

// A Keeper keeps the checkpoints of every stream, until Close.
type Keeper struct {
	cfg  Config
	kv   jetstream.KeyValue
	stop context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	streams map[string]*kept // by name
}

// kept is what a keeper has of one stream. But for newest it is the keeper's
// own goroutine's.
type kept struct {
	stream string
	// file is what was in the file when it was opened, nil if it holds, or there
	// was none.
	file *signed
	// held is the largest that was compared, and recorded the one in the bucket.
	held, recorded tree.Checkpoint
	// shorter is since when the log seems to be.
	shorter time.Time
	// told says that the failure of the stream is in the bucket.
	told bool
	warn rate.Sometimes

	mu     sync.Mutex
	newest signed
	// status is what Status tells, but for the size.
	status Status
}

// signed is a checkpoint with its text.
type signed struct {
	tree.Checkpoint
	text []byte
}

// Open looks at every stream once, so that one that does not hold has failed
// before anything is answered from it, and then goes on looking, also at those of
// partitions that are opened later.
func Open(ctx context.Context, cfg Config) (*Keeper, error) {
	kv, err := OpenBucket(ctx, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("open checkpoints: %w", err)
	}
	k := &Keeper{cfg: cfg, kv: kv, streams: map[string]*kept{}}
	if err := k.acceptLosses(ctx); err != nil {
		return nil, fmt.Errorf("accept a loss: %w", err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	k.stop = stop
	more := cfg.Log.PartitionsChanged()
	if err := k.keepMissing(ctx, running); err != nil {
		k.Close()
		return nil, err
	}
	k.done.Go(func() { k.followStreams(running, more) })
	return k, nil
}

// followStreams keeps those that are opened in the log, until ctx ends.
func (k *Keeper) followStreams(ctx context.Context, more <-chan struct{}) {
	for {
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
		more = k.cfg.Log.PartitionsChanged()
		for err := k.keepMissing(ctx, ctx); err != nil && ctx.Err() == nil; err = k.keepMissing(ctx, ctx) {
			k.cfg.Logger.Warn("a stream has no checkpoints yet", "reason", err)
			select {
			case <-time.After(interval):
			case <-ctx.Done():
			}
		}
	}
}

// keepMissing looks at the streams that are not kept yet, and keeps them until
// running ends.
func (k *Keeper) keepMissing(ctx, running context.Context) error {
	for _, stream := range k.cfg.Log.Streams() {
		if _, ok := k.find(stream); ok {
			continue
		}
		s := &kept{stream: stream, warn: rate.Sometimes{Interval: complaint}}
		if err := k.load(s); err != nil {
			return fmt.Errorf("open checkpoints of %s: %w", stream, err)
		}
		if err := k.look(ctx, s); err != nil {
			k.cfg.Logger.Warn("a stream could not be held against its checkpoint yet", "stream", stream, "reason", err)
		}
		k.mu.Lock()
		k.streams[stream] = s
		k.mu.Unlock()
		k.done.Go(func() { k.keep(running, s) })
		if k.cfg.ScrubRate > 0 {
			k.done.Go(func() { k.scrub(running, s) })
		}
	}
	return nil
}

func (k *Keeper) find(stream string) (*kept, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.streams[stream]
	return s, ok
}

// all are those that are kept, by their names.
func (k *Keeper) all() []*kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.SortedFunc(maps.Values(k.streams), func(a, b *kept) int { return cmp.Compare(a.stream, b.stream) })
}

// Close signs what is new once more, and stops.
func (k *Keeper) Close() {
	k.stop()
	k.done.Wait()
}

// Newest is the newest checkpoint of a stream that holds, with its text, nil if
// there is none yet.
func (k *Keeper) Newest(stream string) (tree.Checkpoint, []byte) {
	s, ok := k.find(stream)
	if !ok {
		return tree.Checkpoint{}, nil
	}
	newest := s.latest()
	return newest.Checkpoint, newest.text
}

// Err is nil once every stream was held against what was signed of it. Until then
// a log that is as long and another one would not be noticed: a tree that is
// built again has to catch up with the checkpoint first.
func (k *Keeper) Err() error {
	for _, s := range k.all() {
		if !s.wasCompared() {
			return fmt.Errorf("%s was not held against its checkpoint yet", s.stream)
		}
	}
	return nil
}

// Signed is up to where a stream was signed that does not hold, for who accepts
// the loss.
func (k *Keeper) Signed(ctx context.Context, stream string) (size uint64) {
	if c, err := k.readFile(stream); err == nil && c != nil {
		size = c.Size
	}
	if have, _, err := k.read(ctx, stream); err == nil {
		if c, err := tree.Unverified([]byte(have.Checkpoint)); err == nil {
			size = max(size, c.Size)
		}
	}
	return size
}

func (k *Keeper) keep(ctx context.Context, s *kept) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), interval)
			defer cancel()
			if err := k.look(last, s); err != nil {
				k.cfg.Logger.Debug("no last checkpoint", "stream", s.stream, "reason", err)
			}
			return
		case <-tick.C:
			if err := k.look(ctx, s); err != nil && !errors.Is(err, errBehind) && !errors.Is(err, errRaced) && ctx.Err() == nil {
				s.warn.Do(func() { k.cfg.Logger.Warn("checkpoint", "stream", s.stream, "reason", err) })
			}
		}
	}
}
