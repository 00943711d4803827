// Package archiver seals closed ranges of streams into an archive and, if it is
// told to, lets a stream forget what is sealed.
//
// The one thing to know: what is forgotten is a stream's beginning, never a part
// of its middle. Sequences without gaps are what every reader holds the log
// against.
package archiver

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/chancery-authority/chancery/events/archive"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
	"github.com/chancery-authority/chancery/projector"
)

const (
	// interval is between two looks for something to seal.
	interval = 5 * time.Second
	// waver is more than the log's time goes back where the server that leads
	// changes.
	waver = time.Minute
	// MinForgetAfter is the least time for which everything stays in a stream:
	// replicas that start read the last day of it.
	MinForgetAfter = 48 * time.Hour
)

// Config says what is archived and where. All of it is required but ForgetAfter.
type Config struct {
	Log *eventlog.Log
	// Local has the trees, and knows what is in force.
	Local *projector.Local
	// Newest is the newest checkpoint of a stream, with its text.
	Newest func(stream string) (tree.Checkpoint, []byte)
	// Known are the keys that sign checkpoints.
	Known note.Verifiers
	Dir   *archive.Dir
	// ForgetAfter is how long a partition keeps what is archived, and 0 is for ever.
	// What may be in force stays longer. The registry forgets nothing.
	ForgetAfter time.Duration
	Logger      *slog.Logger

	// size is how many messages a segment has, archive.SegmentSize if it is 0.
	size uint64
}

// Run archives until ctx ends. What fails is tried again.
func Run(ctx context.Context, cfg Config) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		for _, stream := range cfg.Log.Streams() {
			if err := cfg.Once(ctx, stream); err != nil && ctx.Err() == nil {
				cfg.Logger.Warn("archiving was interrupted", "stream", stream, "reason", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Once seals what can be sealed of a stream now, and lets it forget what it may.
func (c Config) Once(ctx context.Context, stream string) error {
	if err := c.seal(ctx, stream); err != nil {
		return err
	}
	if c.ForgetAfter == 0 || stream == c.Log.Realm().RegistryStream() {
		return nil
	}
	return c.forget(ctx, stream)
}

// seal writes segments until what is left is shorter than one.
func (c Config) seal(ctx context.Context, stream string) error {
	segments, err := c.Dir.Segments(stream)
	if err != nil {
		return err
	}
	next := uint64(1)
	for _, s := range segments { // the first hole is filled first
		if s.First == next {
			next = s.Last + 1
		}
	}
	size := cmp.Or(c.size, archive.SegmentSize)
	for ; ctx.Err() == nil; next += size {
		newest, text := c.Newest(stream)
		last := next + size - 1
		if newest.Size < last {
			return nil
		}
		header, err := archive.NewHeader(projector.HashReader(ctx, c.Local, stream), text, next, last)
		if err != nil {
			return fmt.Errorf("seal %s from %d on: %w", stream, next, err)
		}
		if err := c.Dir.Write(header, c.Known, func(w *archive.Writer) error { return Fill(ctx, w, c.Log, c.Local, header) }); err != nil {
			return err
		}
		c.Logger.Info("a part of a stream was sealed", "stream", stream, "first", next, "last", last)
	}
	return ctx.Err()
}

// Fill writes what belongs behind a header: the messages as the log has them now,
// with the leaves that they were when they were folded.
func Fill(ctx context.Context, w *archive.Writer, log *eventlog.Log, r projector.Reader, h archive.Header) error {
	return log.Replay(ctx, h.Stream, eventlog.From{Seq: h.First, Last: h.Last}, func(batch []eventlog.Entry) error {
		leaves, err := projector.Leaves(ctx, r, h.Stream, batch[0].Seq, batch[len(batch)-1].Seq)
		if err != nil {
			return err
		}
		for i, e := range batch {
			if err := w.Write(archive.NewLine(e, leaves[i])); err != nil {
				return err
			}
		}
		return nil
	})
}

// forget takes segments from the beginning of a stream that are verified, old
// enough, and hold nothing that may be in force.
func (c Config) forget(ctx context.Context, stream string) error {
	head, err := c.Log.Head(ctx, stream)
	if err != nil {
		return err
	}
	before, err := c.keepFrom(ctx, stream)
	if err != nil {
		return err
	}
	segments, err := c.Dir.Segments(stream)
	if err != nil {
		return err
	}
	until, next := uint64(0), head.First
	for _, s := range segments {
		if s.Last < next {
			continue
		}
		if s.First > next { // what is between was not archived
			break
		}
		last, ok, err := c.Log.At(ctx, stream, s.Last)
		if err != nil {
			return err
		}
		if !ok || !last.Stored.Before(before) {
			break
		}
		if err := c.check(ctx, s); err != nil {
			return fmt.Errorf("verify before it is forgotten: %w", err)
		}
		until, next = s.Last, s.Last+1
	}
	if until == 0 {
		return nil
	}
	if err := c.Log.Forget(ctx, stream, until+1); err != nil {
		return err
	}
	c.Logger.Info("a stream has forgotten what is archived", "stream", stream, "first", head.First, "last", until)
	return nil
}

// check reads a segment back from the disk: it must be what was signed, and of the
// log as it is now. A loss that was accepted leaves segments of another one.
func (c Config) check(ctx context.Context, s archive.Segment) error {
	v, err := s.Verify(archive.Expected{Known: c.Known})
	if err != nil {
		return err
	}
	own, err := tree.ReadRange(projector.HashReader(ctx, c.Local, s.Stream), v.Messages.From, v.Messages.To)
	if err != nil {
		return err
	}
	if !slices.Equal(own.Hashes(), v.Messages.Hashes()) {
		return fmt.Errorf("segment %s is of another log than there is: move it away", s.Path)
	}
	return nil
}

// keepFrom is the time from which on everything stays, by the read model's own
// clock: what it has not folded it cannot know of.
func (c Config) keepFrom(ctx context.Context, stream string) (time.Time, error) {
	p, ok := c.Log.Realm().PartitionOf(stream)
	if !ok {
		return time.Time{}, fmt.Errorf("%s is no partition", stream)
	}
	oldest, clock, err := c.Local.Oldest(ctx, p)
	from := clock.Add(-c.ForgetAfter)
	if err == nil && !oldest.IsZero() && oldest.Before(from) {
		from = oldest
	}
	return from.Add(-waver), err
}
