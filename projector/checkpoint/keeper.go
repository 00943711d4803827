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
	"golang.org/x/mod/sumdb/tlog"
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

// look compares a stream with what was signed of it, and signs it anew if it has
// grown. The error is about something that may pass.
func (k *Keeper) look(ctx context.Context, s *kept) error {
	have, revision, err := k.read(ctx, s.stream)
	if err != nil {
		return err
	}
	if have.Failed != "" && !s.told {
		s.told = true
		k.cfg.Log.FailPartition(s.stream, errors.New(have.Failed))
	}
	if err := k.cfg.Log.Failed(s.stream); err != nil {
		return k.tell(ctx, s, have, revision, err)
	}
	err = k.compare(ctx, s, have)
	if err == nil {
		s.did(func(st *Status) { st.Compared = time.Now() })
		err = k.sign(ctx, s, revision)
	}
	if errors.Is(err, ErrShorter) || errors.Is(err, ErrDifferent) {
		k.cfg.Log.FailPartition(s.stream, err)
		return k.tell(ctx, s, have, revision, err)
	}
	return err
}

// compare holds the log against what is kept of it: the file, which nobody else
// writes, before what is in the bucket.
func (k *Keeper) compare(ctx context.Context, s *kept, have record) error {
	if s.file != nil {
		if err := k.hold(ctx, s, *s.file); err != nil {
			return err
		}
		s.file = nil
	}
	theirs, err := k.parse([]byte(have.Checkpoint))
	if err != nil {
		return fmt.Errorf("the bucket has a checkpoint that cannot be trusted: %w", err)
	}
	if theirs == nil {
		return nil
	}
	s.recorded = theirs.Checkpoint
	return k.hold(ctx, s, *theirs)
}

// hold compares the log with one checkpoint of it.
func (k *Keeper) hold(ctx context.Context, s *kept, c signed) error {
	if c.Stream() != s.stream {
		return fmt.Errorf("%w: it is of %s", tree.ErrCheckpoint, c.Stream())
	}
	head, err := k.cfg.Log.Head(ctx, s.stream)
	if err != nil {
		s.shorter = time.Time{} // it is looked at anew once there is a leader
		return err
	}
	if head.Seq < c.Size {
		return k.seemsShorter(s, head, c.Checkpoint)
	}
	s.shorter = time.Time{}
	if c.Checkpoint == s.held {
		return nil
	}
	root, err := k.rootAt(ctx, s.stream, c.Size)
	if err != nil {
		return err
	}
	if root != c.Root {
		return fmt.Errorf("%w: sequences 1 to %d", ErrDifferent, c.Size)
	}
	if c.Size >= s.held.Size {
		s.held = c.Checkpoint
		s.became(c)
	}
	return nil
}

func (k *Keeper) seemsShorter(s *kept, head eventlog.Head, c tree.Checkpoint) error {
	err := fmt.Errorf("%w: it ends at %d, and %d were signed", ErrShorter, head.Seq, c.Size)
	if s.shorter.IsZero() {
		s.shorter = time.Now()
	}
	if head.Replicas > 1 && time.Since(s.shorter) < isolation {
		return fmt.Errorf("%w, if the server that leads is not cut off: %s", errBehind, err.Error())
	}
	return err
}

// became makes a checkpoint the newest.
func (s *kept) became(c signed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest, s.status.Since = c, time.Now()
}

func (s *kept) wasCompared() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.status.Compared.IsZero()
}

func (s *kept) latest() signed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest
}

// rootAt is the root of the stream's tree at a size.
func (k *Keeper) rootAt(ctx context.Context, stream string, size uint64) (tlog.Hash, error) {
	whole, err := tree.ReadRange(projector.HashReader(ctx, k.cfg.Reader, stream), 0, int64(size)) //nolint:gosec // sequences are far below 2^63
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("%w: %w", errBehind, err)
	}
	return whole.Root()
}

// sign signs what the tree has reached, if it is what was signed before and has
// grown: a tree may have been built again meanwhile. The file comes first: what the
// bucket says is known to be outside of the engine.
func (k *Keeper) sign(ctx context.Context, s *kept, revision uint64) error {
	if k.cfg.Key == nil {
		return nil
	}
	at, err := k.cfg.Reader.Hashes(ctx, s.stream, nil)
	if err != nil {
		return err
	}
	if at.Position > s.held.Size {
		if s.held.Size > 0 {
			before, err := k.rootAt(ctx, s.stream, s.held.Size)
			if err != nil {
				return err
			}
			if before != s.held.Root {
				return fmt.Errorf("%w: sequences 1 to %d", ErrDifferent, s.held.Size)
			}
		}
		root, err := k.rootAt(ctx, s.stream, at.Position)
		if err != nil {
			return err
		}
		text, err := tree.Sign(k.cfg.Key, s.stream, at.Position, root)
		if err != nil {
			return err
		}
		c, err := tree.Unverified(text)
		if err == nil && k.cfg.Dir != "" {
			err = writeFile(k.cfg.Dir, s.stream, text)
		}
		if err != nil {
			return err
		}
		s.held = c
		s.became(signed{c, text})
	}
	if s.held.Size > s.recorded.Size {
		err = k.write(ctx, s.stream, record{Checkpoint: string(s.latest().text)}, revision)
	}
	if errors.Is(err, errRaced) { // whose is held against the log the next time
		return nil
	}
	return err
}

// parse reads a checkpoint, nil for an empty text.
func (k *Keeper) parse(text []byte) (*signed, error) {
	if len(text) == 0 {
		return nil, nil
	}
	open := tree.Unverified
	if k.cfg.Known != nil {
		open = func(text []byte) (tree.Checkpoint, error) { return tree.Open(text, k.cfg.Known) }
	}
	c, err := open(text)
	if err != nil {
		return nil, err
	}
	return &signed{c, text}, nil
}

// tell puts into the bucket why a stream has failed, so that it fails in every
// process, also in one that only appends.
func (k *Keeper) tell(ctx context.Context, s *kept, have record, revision uint64, failure error) error {
	if have.Failed == "" && !s.told {
		have.Failed = failure.Error()
		if err := k.write(ctx, s.stream, have, revision); err != nil {
			return err
		}
		s.told = true
	}
	return nil
}
