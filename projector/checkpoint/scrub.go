package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
	"github.com/chancery-authority/chancery/projector"
)

const (
	// scrubPause is between two readings of a stream.
	scrubPause = time.Minute
	// scrubPiece is how many messages are read at once. The longer a reader reads, the more it is sent ahead, up to 32
	// MiB, and a slow one would hold all of that in memory. So each piece has a reader of its own.
	scrubPiece = 4096
)

// scrub reads the whole of a stream, again and again and slowly, and holds every
// message against the leaf that it was when it was folded. The tail is looked at
// all the time; this finds what changes far behind it.
func (k *Keeper) scrub(ctx context.Context, s *kept) {
	stream := s.stream
	read := func(seq uint64) { s.did(func(st *Status) { st.Scrubbed = seq }) }
	limit := rate.NewLimiter(rate.Limit(k.cfg.ScrubRate), 500)
	for ctx.Err() == nil {
		err := scrub(ctx, k.cfg.Log, k.cfg.Reader, stream, limit, read)
		switch {
		case errors.Is(err, ErrDifferent), errors.Is(err, eventlog.ErrRewritten):
			s.did(func(st *Status) { st.Mismatch = true })
			k.cfg.Log.FailPartition(stream, err)
			return
		case err != nil && ctx.Err() == nil:
			k.cfg.Logger.Debug("scrub interrupted", "stream", stream, "reason", err)
		case err == nil:
			s.did(func(st *Status) { st.ScrubEnded = time.Now() })
		}
		select {
		case <-ctx.Done():
		case <-time.After(scrubPause):
		}
	}
}

// Scrub reads what a stream has now, and fails with ErrDifferent and the first
// sequence that is not what was folded.
func Scrub(ctx context.Context, log *eventlog.Log, reader projector.Reader, stream string, limit *rate.Limiter) error {
	return scrub(ctx, log, reader, stream, limit, func(uint64) {})
}

// scrub is Scrub, and tells how far it has come.
func scrub(ctx context.Context, log *eventlog.Log, reader projector.Reader, stream string, limit *rate.Limiter, read func(seq uint64)) error {
	head, err := log.Head(ctx, stream)
	if err != nil || head.Seq == 0 {
		return err
	}
	for first := max(1, head.First); first <= head.Seq; first += scrubPiece {
		piece, last := eventlog.From{Seq: first, Last: min(first+scrubPiece-1, head.Seq)}, uint64(0)
		err := log.Replay(ctx, stream, piece, func(batch []eventlog.Entry) error {
			if err := compare(ctx, reader, stream, batch); err != nil {
				return err
			}
			last = batch[len(batch)-1].Seq
			read(last)
			return limit.WaitN(ctx, len(batch))
		})
		if err == nil && last < piece.Last {
			err = fmt.Errorf("%s ends before sequence %d, which it had", stream, piece.Last)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// compare holds messages that follow each other against their leaves.
func compare(ctx context.Context, reader projector.Reader, stream string, batch []eventlog.Entry) error {
	first := batch[0].Seq
	leaves, err := projector.Leaves(ctx, reader, stream, first, first+uint64(len(batch))-1)
	if err != nil {
		return err
	}
	for i, e := range batch {
		if tree.Leaf(e.Seq, e.Stored, e.Message) != leaves[i] {
			return fmt.Errorf("%w: sequence %d", ErrDifferent, e.Seq)
		}
	}
	return nil
}
