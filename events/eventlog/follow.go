package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// maxBatch is the most entries that are handed over at once.
const maxBatch = 500

// Errors of a reader that cannot go on. They do not pass by themselves.
var (
	// ErrGap means that events a reader has not seen are not there any more.
	ErrGap = errors.New("events are missing from the log")
	// ErrRewritten means that the log holds another event where a reader has
	// already seen one. The partition has been failed.
	ErrRewritten = errors.New("the log is not the one that was read before")
)

// From says where a reader starts. The zero value is from the start, on all
// subjects.
type From struct {
	// Seq is the first sequence wanted. A reader that names it is told
	// (ErrGap) if that one is not there any more.
	Seq uint64
	// Time, without Seq, is the server's timestamp to start at. Some earlier
	// entries may come too.
	Time time.Time
	// Subjects limits the reader to these, wildcards allowed.
	Subjects []string
	// Last ends a Replay before the head. 0 is the head.
	Last uint64
	// Linger is how long after a hand-over the next one comes at the earliest, so
	// that a steady stream comes in fewer and larger batches. What comes after a
	// quiet time is handed over at once, and who is behind does not wait.
	Linger time.Duration
	// Nudge, if not nil, is for who knows that something should have come: with
	// each value the reader goes on with a new consumer. The server that had the
	// old one may be gone, and by itself the reader notices no earlier than it
	// has heard nothing for two seconds.
	Nudge <-chan struct{}
}

// Follow hands over a stream's entries as they are stored, at most 500 at a
// time: in order, each once, none left out. It outlives lost connections,
// leaders and consumers, and returns when ctx ends, with the error of batch,
// or with ErrGap or ErrRewritten. The entries are the callee's to keep.
//
// A reader that is connected to a server that is cut off from the others gets
// nothing, and cannot know; who needs to must append and wait for it.
func (l *Log) Follow(ctx context.Context, stream string, from From, batch func([]Entry) error) error {
	r, err := l.newReader(stream, from, batch)
	if err == nil {
		err = r.run(ctx)
	}
	return fmt.Errorf("follow %s: %w", stream, err)
}

// Replay is Follow until the head of the stream, as its leader sees it when
// Replay is called.
func (l *Log) Replay(ctx context.Context, stream string, from From, batch func([]Entry) error) error {
	r, err := l.newReader(stream, from, batch)
	if err != nil {
		return fmt.Errorf("replay %s: %w", stream, err)
	}
	end, err := r.end(ctx)
	if err == nil && end > 0 {
		r.until = end
		err = r.run(ctx)
	}
	if err != nil && !errors.Is(err, errDone) {
		return fmt.Errorf("replay %s: %w", stream, err)
	}
	return nil
}

var (
	// errDone ends a reader that has read all it was asked to.
	errDone = errors.New("done")
	// errInterrupted ends a consumer, but not its reader.
	errInterrupted = errors.New("interrupted")
)

// reader is one Follow or Replay over the consumers it uses up.
type reader struct {
	log   *Log
	st    *stream
	from  From
	batch func([]Entry) error
	// until is the last sequence wanted, 0 for no end.
	until uint64
	// last is the sequence handed over last, 0 before the first, and lastHash
	// the hash of that entry.
	last     uint64
	lastHash events.Hash
	// joined says that the current consumer goes on where the last one ended.
	joined bool
	// patience is how long the last consumer was waited for, 0 if it came.
	patience time.Duration
}

func (l *Log) newReader(stream string, from From, batch func([]Entry) error) (*reader, error) {
	st, err := l.stream(stream)
	if err != nil {
		return nil, err
	}
	return &reader{log: l, st: st, from: from, batch: batch}, nil
}

// end is the sequence of the last message to replay, 0 if there is none.
func (r *reader) end(ctx context.Context) (uint64, error) {
	last, at, err := r.newest(ctx)
	if err != nil || last < r.from.Seq || at.Before(r.from.Time) {
		return 0, err
	}
	if r.from.Last > 0 {
		last = min(last, r.from.Last)
	}
	return last, nil
}

// newest is the last message that the reader's subjects have.
func (r *reader) newest(ctx context.Context) (seq uint64, at time.Time, err error) {
	if len(r.from.Subjects) == 0 {
		head, err := r.log.Head(ctx, r.st.name)
		return head.Seq, head.Time, err
	}
	for _, subject := range r.from.Subjects {
		e, ok, err := r.st.last(ctx, subject)
		if err != nil {
			return 0, time.Time{}, fmt.Errorf("read last of %s: %w", subject, err)
		}
		if ok && e.Seq > seq {
			seq, at = e.Seq, e.Stored
		}
	}
	return seq, at, nil
}

// run reads with one consumer after another.
func (r *reader) run(ctx context.Context) error {
	pause := backoff{next: 20 * time.Millisecond, most: time.Second}
	for {
		before := r.last
		err := r.readArchive(ctx)
		if err == nil {
			err = r.consume(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, ErrGap) && r.forgotten(ctx) {
			err = fmt.Errorf("%w: what comes next went to the archive", errInterrupted)
		}
		if !errors.Is(err, errInterrupted) {
			return err
		}
		r.log.cfg.Logger.Warn("reader interrupted", "stream", r.st.name, "sequence", r.last, "reason", err)
		if r.last > before {
			pause.next = 20 * time.Millisecond
		}
		if !pause.wait(ctx) {
			return ctx.Err()
		}
	}
}

// consume reads with one consumer until something ends it.
func (r *reader) consume(ctx context.Context) error {
	c, err := r.newConsumer(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	r.joined = r.last == 0
	for {
		entries, err := c.fetch(ctx, maxBatch, r.from)
		before := r.last
		if err := r.deliver(ctx, entries); err != nil {
			return err
		}
		if r.last > before {
			c.handed = time.Now()
		}
		if err != nil {
			return err
		}
		if err := c.release(); err != nil {
			return err
		}
	}
}

// deliver checks that entries are the ones that come next and hands them over.
func (r *reader) deliver(ctx context.Context, entries []Entry) error {
	if len(entries) > 0 && !r.joined {
		rest, err := r.join(ctx, entries)
		if err != nil {
			return err
		}
		entries = rest
	}
	entries, done := r.cut(entries)
	if err := r.checkOrder(entries); err != nil {
		return err
	}
	if len(entries) > 0 {
		newest := entries[len(entries)-1]
		r.st.saw(newest.Seq)
		hash := events.Hash{}.Next(newest.Seq, newest.Message)
		if err := r.batch(entries); err != nil {
			return err
		}
		r.last, r.lastHash = newest.Seq, hash
	}
	if done {
		return errDone
	}
	return nil
}

// join compares the first entry of a new consumer, which starts at the last
// one handed over, with that one: the log must still be the same there.
func (r *reader) join(ctx context.Context, entries []Entry) ([]Entry, error) {
	first := entries[0]
	if first.Seq == r.last {
		if (events.Hash{}).Next(first.Seq, first.Message) != r.lastHash {
			return nil, r.rewritten()
		}
		r.joined = true
		return entries[1:], nil
	}
	return entries, r.joinWithout(ctx)
}

// joinWithout decides about a consumer that did not start where it was told
// to, by what the leader has there: another event means another log, none that
// an archiver has taken it away with all before it. Anything else may pass.
func (r *reader) joinWithout(ctx context.Context) error {
	there, ok, err := r.st.at(ctx, r.last)
	if err != nil {
		return fmt.Errorf("%w: %w", errInterrupted, err)
	}
	if ok && (events.Hash{}).Next(there.Seq, there.Message) != r.lastHash {
		return r.rewritten()
	}
	head, err := r.log.Head(ctx, r.st.name)
	if err != nil {
		return fmt.Errorf("%w: %w", errInterrupted, err)
	}
	if ok || head.First <= r.last {
		return fmt.Errorf("%w: the consumer did not start at sequence %d", errInterrupted, r.last)
	}
	r.joined = true
	return nil
}

func (r *reader) rewritten() error {
	err := fmt.Errorf("%w: sequence %d", ErrRewritten, r.last)
	r.log.FailPartition(r.st.name, err)
	return err
}

// cut ends the entries where the reader ends.
func (r *reader) cut(entries []Entry) (_ []Entry, done bool) {
	if r.until == 0 {
		return entries, false
	}
	for i, e := range entries {
		if e.Seq >= r.until {
			if e.Seq == r.until {
				i++
			}
			return entries[:i], true
		}
	}
	return entries, false
}

// checkOrder compares sequences with the ones that must come next.
func (r *reader) checkOrder(entries []Entry) error {
	want := r.last + 1
	if r.last == 0 {
		want = r.from.Seq
	}
	for _, e := range entries {
		if e.Seq < want {
			return fmt.Errorf("%w: sequence %d came again", errInterrupted, e.Seq)
		}
		if e.Seq > want && want > 0 && len(r.from.Subjects) == 0 {
			return fmt.Errorf("%w: sequences %d to %d", ErrGap, want, e.Seq-1)
		}
		want = e.Seq + 1
	}
	return nil
}
