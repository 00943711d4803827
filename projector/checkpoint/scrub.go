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
func (k *Keeper) scrub(ctx context.Context, stream string) {
	limit := rate.NewLimiter(rate.Limit(k.cfg.ScrubRate), 500)
	for ctx.Err() == nil {
		err := Scrub(ctx, k.cfg.Log, k.cfg.Reader, stream, limit)
		switch {
		case errors.Is(err, ErrDifferent), errors.Is(err, eventlog.ErrRewritten):
			k.cfg.Log.FailPartition(stream, err)
			return
		case err != nil && ctx.Err() == nil:
			k.cfg.Logger.Debug("scrub interrupted", "stream", stream, "reason", err)
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
		return limit.WaitN(ctx, len(batch))
	})
}
