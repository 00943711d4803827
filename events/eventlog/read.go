package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events"
)

// headerID has the event id.
const headerID = "ce-id"

// An Entry is a stored message, not decoded yet.
type Entry struct {
	// Seq is the sequence in the stream, from 1.
	Seq uint64
	// Stored is the log server's timestamp.
	Stored time.Time
	// Message has the event's own headers; those of the transport are gone.
	Message events.Message

	// decoded is what Recorded gives, once Decode was called.
	decoded *events.Recorded
}

// Decode decodes the entry ahead of time, for who has another to do it. What
// cannot be decoded is left to Recorded.
func (e *Entry) Decode() {
	if r, err := e.Recorded(); err == nil {
		e.decoded = &r
	}
}

// Recorded decodes the entry. The errors are those of events.Decode, with the
// sequence.
func (e Entry) Recorded() (events.Recorded, error) {
	if e.decoded != nil {
		return *e.decoded, nil
	}
	ev, err := events.Decode(e.Message)
	if err != nil {
		return events.Recorded{}, fmt.Errorf("sequence %d: %w", e.Seq, err)
	}
	return events.Recorded{Event: ev, Seq: e.Seq, Stored: e.Stored}, nil
}

func newMessage(subject string, h nats.Header, data []byte) events.Message {
	return events.Message{Subject: subject, Header: events.OwnHeader(h), Data: data}
}

func newEntry(m *jetstream.RawStreamMsg) Entry {
	return Entry{Seq: m.Sequence, Stored: m.Time, Message: newMessage(m.Subject, m.Header, m.Data)}
}

// After reads the events of one subject that follow sequence seq, in order,
// from the stream's leader. What it shows is true; what it does not show
// proves nothing, because a leader cut off from the others answers from the
// past.
func (l *Log) After(ctx context.Context, s events.Subject, seq uint64) ([]events.Recorded, error) {
	st, err := l.readable(s)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s, err)
	}
	var found []events.Recorded
	for {
		e, ok, err := st.next(ctx, s, seq)
		if err != nil {
			return nil, fmt.Errorf("read %s after %d: %w", s, seq, err)
		}
		if !ok {
			return found, nil
		}
		r, err := e.Recorded()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", s, err)
		}
		found = append(found, r)
		seq = e.Seq
	}
}

// Last reads the last event of one subject from the stream's leader; ok is
// false if it shows none. See After for what that means.
func (l *Log) Last(ctx context.Context, s events.Subject) (r events.Recorded, ok bool, err error) {
	st, err := l.readable(s)
	if err != nil {
		return r, false, fmt.Errorf("read last of %s: %w", s, err)
	}
	e, ok, err := st.last(ctx, string(s))
	if err == nil && ok {
		r, err = e.Recorded()
	}
	if err != nil {
		return r, false, fmt.Errorf("read last of %s: %w", s, err)
	}
	return r, ok, nil
}

// At reads the event of that sequence from the stream's leader or, where it was
// forgotten, from the archive; ok is false if neither shows one. See After for
// what that means.
func (l *Log) At(ctx context.Context, stream string, seq uint64) (r events.Recorded, ok bool, err error) {
	st, err := l.stream(stream)
	if err == nil {
		err = st.failure()
	}
	var e Entry
	if err == nil {
		e, ok, err = st.at(ctx, seq)
	}
	if err == nil && !ok {
		e, ok, err = l.archivedAt(ctx, st, seq)
	}
	if err == nil && ok {
		r, err = e.Recorded()
	}
	if err != nil {
		return r, false, fmt.Errorf("read sequence %d of %s: %w", seq, stream, err)
	}
	return r, ok, nil
}

func (l *Log) readable(s events.Subject) (*stream, error) {
	st, err := l.route(s)
	if err != nil {
		return nil, err
	}
	return st, st.failure()
}

// next is the first message on the subject after sequence seq.
func (s *stream) next(ctx context.Context, subject events.Subject, seq uint64) (Entry, bool, error) {
	return s.find(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return s.js.GetMsg(ctx, seq+1, jetstream.WithGetMsgSubject(string(subject)))
	})
}

// at is the message of that sequence.
func (s *stream) at(ctx context.Context, seq uint64) (Entry, bool, error) {
	return s.find(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return s.js.GetMsg(ctx, seq)
	})
}

// last is the last message on a subject, which may have wildcards.
func (s *stream) last(ctx context.Context, subject string) (Entry, bool, error) {
	return s.find(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return s.js.GetLastMsgForSubject(ctx, subject)
	})
}

func (s *stream) find(ctx context.Context, get func(context.Context) (*jetstream.RawStreamMsg, error)) (e Entry, ok bool, err error) {
	ctx, cancel := withDefaultTimeout(ctx, readTimeout)
	defer cancel()
	err = retry(ctx, func(ctx context.Context) error {
		m, err := get(ctx)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err == nil {
			s.saw(m.Sequence)
			e, ok = newEntry(m), true
		}
		return err
	})
	return e, ok, err
}

// Head is where a stream stands, as its leader sees it.
type Head struct {
	// First is the oldest sequence that is still there: 1, until an archiver
	// has purged older ones. Seq is the newest, 0 if there never was any.
	First, Seq uint64
	// Time is the newest message's timestamp.
	Time time.Time
	// Created is when the stream was made. A change means another stream under
	// the same name.
	Created time.Time
	// Replicas is how many servers keep the stream. Of several, one that leads
	// and is cut off, or has only just begun to lead, shows an older head.
	Replicas int
}

// Head reads where a stream stands.
func (l *Log) Head(ctx context.Context, stream string) (Head, error) {
	st, err := l.stream(stream)
	if err != nil {
		return Head{}, fmt.Errorf("read head: %w", err)
	}
	info, err := st.info(ctx)
	if err != nil {
		return Head{}, fmt.Errorf("read head of %s: %w", stream, err)
	}
	st.saw(info.State.LastSeq)
	return Head{
		First:    info.State.FirstSeq,
		Seq:      info.State.LastSeq,
		Time:     info.State.LastTime,
		Created:  info.Created,
		Replicas: info.Config.Replicas,
	}, nil
}

func (s *stream) info(ctx context.Context) (info *jetstream.StreamInfo, err error) {
	ctx, cancel := withDefaultTimeout(ctx, readTimeout)
	defer cancel()
	err = retry(ctx, func(ctx context.Context) error {
		info, err = s.js.Info(ctx)
		return err
	})
	return info, err
}
