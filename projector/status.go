package projector

import (
	"errors"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// Status is how far one stream was folded, and what is wrong with it.
type Status struct {
	Stream string
	// Model is the name of the read model, as its file has it: the stream's, with
	// ".audit" behind it for the audit and ".tree" for the tree.
	Model string
	// Position is the sequence of the last message folded, and Head that of the
	// newest one when it was last looked at, about a second ago.
	Position, Head uint64
	// Behind is how many messages are between them, and Lag the log's time.
	Behind uint64
	Lag    time.Duration
	// Hash is the chain over every message up to Position.
	Hash events.Hash
	// Serving says that reads are answered.
	Serving bool
	// Err is why it has stopped, or what it is trying to get over.
	Err error
}

// Status is that of every stream's states, the registry last.
func (l *Local) Status() []Status { return statuses(l.models.Load().states) }

// TreeStatus is that of every stream's tree.
func (l *Local) TreeStatus() []Status { return statuses(l.models.Load().trees) }

// AuditStatus is that of every stream's audit, if there is one.
func (l *Local) AuditStatus() []Status { return statuses(l.models.Load().audits) }

func statuses(of []*projection) []Status {
	all := make([]Status, len(of))
	for i, p := range of {
		all[i] = p.live.Load().status()
	}
	return all
}

func (w *worker) modelName() string { return w.stream + w.store.Load().model.suffix }

func (w *worker) status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.store.Load().position()
	failed := w.log.Failed(w.stream)
	s := Status{
		Stream: w.stream, Model: w.modelName(), Position: at.seq, Head: max(w.head.Seq, at.seq), Hash: at.hash,
		Serving: w.caughtUp && !w.stopped && failed == nil, Err: errors.Join(w.err, failed),
	}
	if s.Behind = s.Head - s.Position; s.Behind > 0 {
		s.Lag = max(0, w.head.Time.Sub(at.clock))
	}
	return s
}

func (w *worker) hasStopped() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stopped
}
