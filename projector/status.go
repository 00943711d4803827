package projector

import (
	"errors"
	"os"
	"slices"
	"strings"
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

// FeedStatus is how a feed follows one stream.
type FeedStatus struct {
	Stream string
	// Position is the sequence of the last entry taken in.
	Position uint64
	// Age is how old the newest proof of freshness is, Bound how old it may be.
	Age, Bound time.Duration
	// Ticks is how many were sent to prove it, Unproved how many of them proved
	// nothing, and Stale how often somebody was told ErrStale.
	Ticks, Unproved, Stale uint64
	// ClockSkew is how far the local clock is behind the log's, at least, or ahead
	// if negative.
	ClockSkew time.Duration
	// Err is why it can be followed no more.
	Err error
}

// Status is that of every stream, ordered by name.
func (f *Feed) Status() []FeedStatus {
	var all []FeedStatus
	for _, fed := range f.followed.Load().followers {
		all = append(all, fed.status())
	}
	slices.SortFunc(all, func(a, b FeedStatus) int { return strings.Compare(a.Stream, b.Stream) })
	return all
}

func (f *follower) status() FeedStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return FeedStatus{
		Stream: f.stream, Position: f.seq, Age: f.since(f.proved), Bound: f.cfg.Bound, ClockSkew: f.skew, Err: f.err,
		Ticks: f.ticks, Unproved: f.unproved, Stale: f.stale.Load(),
	}
}

// A FileStatus is how large the files of a read model are, in bytes.
type FileStatus struct {
	Stream, Model string
	// Database is the file that the rows are in, and WAL what SQLite has not moved
	// there yet. It grows for as long as somebody reads an old state.
	Database, WAL int64
}

// Files are those of every live read model.
func (l *Local) Files() []FileStatus {
	var all []FileStatus
	for _, p := range l.all() {
		path := p.live.Load().store.Load().path
		all = append(all, FileStatus{Stream: p.stream, Model: p.name(), Database: size(path), WAL: size(path + "-wal")})
	}
	return all
}

// size is 0 for a file that is not there.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
