package eventlog

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrPartitionFailed is returned by appends and reads of a stream that was
// found shorter than, or different from, what was known of it. It stays so for
// the life of the Log; the reason is in the error.
var ErrPartitionFailed = errors.New("partition failed closed")

// stream is one open stream, a partition's or the registry's.
type stream struct {
	name string
	js   jetstream.Stream
	// high is the highest sequence this replica has seen stored, by whatever
	// way: acks, reads and follows.
	high   atomic.Uint64
	failed atomic.Pointer[error]
	// committer is how this replica appends to it.
	committer committer
}

func newStream(l *Log, name string, js jetstream.Stream) *stream {
	s := &stream{name: name, js: js}
	s.committer.log, s.committer.st, s.committer.written.Size = l, s, maxWritten
	return s
}

// saw notes that seq is stored.
func (s *stream) saw(seq uint64) {
	for {
		high := s.high.Load()
		if seq <= high || s.high.CompareAndSwap(high, seq) {
			return
		}
	}
}

// failure is nil, or why the stream is closed.
func (s *stream) failure() error {
	if p := s.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// FailPartition closes a stream, and only the first reason counts: from now on
// appends to it and reads of it return ErrPartitionFailed. Replay, Follow and
// Head still work, so that what happened can be looked at.
func (l *Log) FailPartition(stream string, reason error) {
	s, err := l.stream(stream)
	if err != nil {
		return
	}
	failure := fmt.Errorf("%w: %s: %w", ErrPartitionFailed, stream, reason)
	if s.failed.CompareAndSwap(nil, &failure) {
		l.cfg.Logger.Error("partition failed closed", "stream", stream, "reason", reason)
	}
}

// Failed is nil, or ErrPartitionFailed with the reason.
func (l *Log) Failed(stream string) error {
	s, err := l.stream(stream)
	if err != nil {
		return err
	}
	return s.failure()
}
