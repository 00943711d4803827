package projector

import (
	"errors"
	"fmt"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// errDiverged is returned when the log is not the one that was folded: a
// message is missing or is another one. It is never repaired by itself.
var errDiverged = errors.New("the log differs from what was folded before")

// A position is how far a stream was folded, and what it looked like there.
type position struct {
	// seq is that of the last message folded, 0 before the first.
	seq uint64
	// hash is the chain over every message up to seq, and previous up to the
	// one before, so that the last message can be held against the log again.
	hash, previous events.Hash
	// clock is the newest of the messages' timestamps. What expires, expires
	// by it: it depends on the log alone.
	clock time.Time
}

// next is the position after e.
func (p position) next(e eventlog.Entry) position {
	n := position{seq: e.Seq, hash: p.hash.Next(e.Seq, e.Message), previous: p.hash, clock: p.clock}
	if stored := e.Stored.UTC(); stored.After(n.clock) {
		n.clock = stored
	}
	return n
}

// unfolded is what of a batch comes after p. What is at or before p was
// delivered again; its last message is compared with what was folded.
func (p position) unfolded(batch []eventlog.Entry) ([]eventlog.Entry, error) {
	for i, e := range batch {
		if e.Seq == p.seq && p.previous.Next(e.Seq, e.Message) != p.hash {
			return nil, fmt.Errorf("sequence %d: %w: another message", e.Seq, errDiverged)
		}
		if e.Seq <= p.seq {
			continue
		}
		return batch[i:], contiguous(p.seq, batch[i:])
	}
	return nil, nil
}

func contiguous(after uint64, batch []eventlog.Entry) error {
	for _, e := range batch {
		if e.Seq != after+1 {
			return fmt.Errorf("sequence %d follows %d: %w: messages are missing", e.Seq, after, errDiverged)
		}
		after = e.Seq
	}
	return nil
}
