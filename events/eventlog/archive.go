package eventlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrNotArchived is returned for a sequence that an archive does not have.
var ErrNotArchived = errors.New("not in the archive")

// An Archive has messages that a stream may have forgotten, as they were.
type Archive interface {
	// Read hands over the messages from a sequence to another, both included, in
	// order and none left out, at most 500 at a time. The error is ErrNotArchived
	// if it does not have one.
	Read(ctx context.Context, stream string, from, to uint64, each func([]Entry) error) error
}

// next is the sequence that a reader wants next, 0 if it takes what comes.
func (r *reader) next() uint64 {
	if r.last > 0 {
		return r.last + 1
	}
	return r.from.Seq
}

// readArchive hands over what the stream has forgotten of what comes next.
func (r *reader) readArchive(ctx context.Context) error {
	next := r.next()
	if r.log.cfg.Archive == nil || next == 0 || len(r.from.Subjects) > 0 {
		return nil
	}
	head, err := r.log.Head(ctx, r.st.name)
	if err != nil {
		return fmt.Errorf("%w: %w", errInterrupted, err)
	}
	if next >= head.First {
		return nil
	}
	r.joined = true
	return r.log.cfg.Archive.Read(ctx, r.st.name, next, head.First-1, func(batch []Entry) error {
		return r.deliver(ctx, batch)
	})
}

// forgotten reports whether the archive may have what is missing.
func (r *reader) forgotten(ctx context.Context) bool {
	if r.log.cfg.Archive == nil {
		return false
	}
	head, err := r.log.Head(ctx, r.st.name)
	return err == nil && r.next() < head.First
}

// archivedAt is a message that the stream has forgotten.
func (l *Log) archivedAt(ctx context.Context, st *stream, seq uint64) (e Entry, ok bool, err error) {
	if l.cfg.Archive == nil || seq == 0 {
		return e, false, nil
	}
	head, err := l.Head(ctx, st.name)
	if err != nil || seq >= head.First {
		return e, false, err
	}
	err = l.cfg.Archive.Read(ctx, st.name, seq, seq, func(batch []Entry) error {
		e, ok = batch[0], true
		return nil
	})
	if errors.Is(err, ErrNotArchived) {
		err = nil
	}
	return e, ok, err
}

// Forget takes everything before a sequence from a stream, for good. It is for an
// archiver, which has all of it, verified, and knows that nothing in it is in
// force.
func (l *Log) Forget(ctx context.Context, stream string, before uint64) error {
	st, err := l.stream(stream)
	if err == nil {
		err = st.failure()
	}
	if err == nil && stream == l.cfg.Realm.RegistryStream() {
		err = errors.New("the registry forgets nothing")
	}
	if err == nil && before <= 1 { // of 0 the server would purge all
		return nil
	}
	if err == nil {
		ctx, cancel := withDefaultTimeout(ctx, readTimeout)
		defer cancel()
		err = st.js.Purge(ctx, jetstream.WithPurgeSequence(before))
	}
	if err != nil {
		return fmt.Errorf("forget %s before %d: %w", stream, before, err)
	}
	return nil
}
