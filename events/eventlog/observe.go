package eventlog

import (
	"context"
	"time"
)

// An Appended is how the append of a unit ended, for who counts and traces.
type Appended struct {
	// Seq is where its event is stored, if Err is nil. Err is as Append gives it.
	Seq uint64
	Err error
	// Attempts is how often it was sent. More than once: its outcome was not known
	// meanwhile.
	Attempts int
	// Duplicate says that the server had it from an earlier attempt.
	Duplicate bool
	// Took is how long it took, that of the whole batch for a unit of one.
	Took time.Duration
}

// observe tells of an append, and gives what to tell its end.
func (l *Log) observe(ctx context.Context, a *appending) (context.Context, func(seq uint64, err error)) {
	if l.cfg.Appending == nil {
		return ctx, func(uint64, error) {}
	}
	ctx, ended := l.cfg.Appending(ctx, a.st.name, a.unit)
	began := time.Now()
	return ctx, func(seq uint64, err error) {
		ended(Appended{Seq: seq, Err: err, Attempts: a.attempts, Duplicate: a.duplicate, Took: time.Since(began)})
	}
}

// observeBatch is observe of units that go as one. What is told its end counts
// only a batch that was stored: of another, each unit is appended by itself.
func (l *Log) observeBatch(ctx context.Context, batch []*appending) (stored func(first uint64)) {
	if l.cfg.Appending == nil {
		return func(uint64) {}
	}
	began := time.Now()
	return func(seq uint64) {
		took := time.Since(began)
		for _, a := range batch {
			_, ended := l.cfg.Appending(ctx, a.st.name, a.unit)
			ended(Appended{Seq: seq, Attempts: 1, Took: took})
			seq += uint64(len(a.messages))
		}
	}
}
