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

// scrubPause is between two readings of a stream.
const scrubPause = time.Minute

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
	return log.Replay(ctx, stream, eventlog.From{Seq: max(1, head.First)}, func(batch []eventlog.Entry) error {
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
		read(batch[len(batch)-1].Seq)
		return limit.WaitN(ctx, len(batch))
	})
}
