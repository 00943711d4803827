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

// Outcomes of an append, besides stored.
var (
	// ErrConflict means lost for ever: another event took the place this one
	// was decided for. Fold it and decide again.
	ErrConflict = errors.New("another event was appended first")
	// ErrUnsettled means that the event may be stored, now or in a moment, or
	// may not. It must not be reported as done, nor as failed.
	ErrUnsettled = errors.New("outcome of the append is not known")
)

const (
	// settleTimeout bounds an append whose ctx has no deadline, and settleLimit
	// every append: a plain event must not be repeated when the server may have
	// forgotten its id.
	settleTimeout = 5 * time.Second
	settleLimit   = duplicateWindow / 2
	// attemptTimeout is how long one ack is waited for at first. Asking again
	// early does no harm, and finds a new leader sooner.
	attemptTimeout = time.Second
)

// Codes of the server's refusals (nats-server, errors.json).
const (
	codeWrongLastSequence  jetstream.ErrorCode = 10071 // the subject has moved on
	codeMessageTooLarge    jetstream.ErrorCode = 10054
	codeHeaderTooLarge     jetstream.ErrorCode = 10097
	codeOtherStream        jetstream.ErrorCode = 10060
	codeInvalidBatchHeader jetstream.ErrorCode = 10177
)

// A Unit is what is appended whole or not at all.
type Unit struct {
	Event events.Event
	// Expect is the sequence of the state that was decided on, 0 for none yet.
	// Subjects on which nothing is decided take no expectation.
	Expect uint64
	// Marker is committed in one atomic batch with a guarded event.
	Marker *events.Event
}

// A Receipt says where the event of a unit is stored.
type Receipt struct {
	Seq uint64
}

// Append stores a unit. Nil means that it is durable. ErrConflict means that
// it is not and never will be. ErrUnsettled means that neither could be
// established until ctx ended, or for five seconds if it has no deadline.
// ErrPartitionFailed means that the partition takes nothing more; the event
// may be stored all the same. Any other error means that nothing was sent, or
// that the server refused the event itself.
func (l *Log) Append(ctx context.Context, u Unit) (Receipt, error) {
	a, err := l.newAppend(u)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return Receipt{}, fmt.Errorf("append to %s: %w", u.Event.Subject, err)
	}
	ctx, cancel := withDefaultTimeout(ctx, settleTimeout)
	defer cancel()
	ctx, cancelLimit := context.WithTimeout(ctx, settleLimit)
	defer cancelLimit()
	ctx, ended := l.observe(ctx, a)
	seq, err := a.st.committer.append(ctx, a)
	ended(seq, err)
	if err != nil {
		err = l.withPermission(err, string(u.Event.Subject))
		return Receipt{}, fmt.Errorf("append %s to %s: %w", u.Event.Fact.Type(), u.Event.Subject, err)
	}
	return Receipt{Seq: seq}, nil
}

// appending is one unit on its way.
type appending struct {
	log  *Log
	st   *stream
	unit Unit
	// guarded events carry an expectation, plain ones their id.
	guarded bool
	// messages are the event and, if it has one, its marker.
	messages []events.Message
	// sent says that an earlier attempt may have been stored.
	sent bool
	// attempts is how often it was sent, and duplicate that the server had it
	// before.
	attempts  int
	duplicate bool
}

func (l *Log) newAppend(u Unit) (*appending, error) {
	st, err := l.route(u.Event.Subject)
	if err != nil {
		return nil, err
	}
	a := &appending{log: l, st: st, unit: u, guarded: u.Event.Subject.Guarded()}
	if !a.guarded && u.Expect != 0 {
		return nil, errors.New("an expectation on a subject that takes plain appends")
	}
	m, err := events.Encode(u.Event)
	if err != nil {
		return nil, err
	}
	a.messages = append(a.messages, m)
	if u.Marker != nil {
		return a, a.addMarker(*u.Marker)
	}
	return a, nil
}

// addMarker makes the unit a batch. The event's expectation guards both, so
// the marker needs neither an expectation nor an id.
func (a *appending) addMarker(marker events.Event) error {
	st, err := a.log.route(marker.Subject)
	if err != nil {
		return fmt.Errorf("marker: %w", err)
	}
	if st != a.st || !a.guarded || marker.Subject.Guarded() {
		return errors.New("a marker is a plain event beside a guarded one, in the same stream")
	}
	m, err := events.Encode(marker)
	if err != nil {
		return fmt.Errorf("marker: %w", err)
	}
	a.messages = append(a.messages, m)
	return nil
}

// settle sends the unit again and again, the same each time, until its outcome
// is known. The expectation, or the event's id, lets only one of them in.
func (a *appending) settle(ctx context.Context) (uint64, error) {
	pause := backoff{next: 4 * time.Millisecond, most: 250 * time.Millisecond}
	for patience := attemptTimeout; ; patience *= 2 {
		if err := a.st.failure(); err != nil {
			return 0, err
		}
		seq, err := a.attempt(ctx, patience)
		switch {
		case err == nil:
			return seq, nil
		case errors.Is(err, ErrConflict), errors.Is(err, ErrPartitionFailed):
			return 0, err
		case !a.sent && refused(err):
			return 0, err
		}
		a.sent = true
		if errors.Is(err, nats.ErrConnectionClosed) || !pause.wait(ctx) {
			return 0, fmt.Errorf("%w: %w", ErrUnsettled, err)
		}
	}
}

// attempt sends the unit once. An error other than ErrConflict and
// ErrPartitionFailed leaves the outcome open.
func (a *appending) attempt(ctx context.Context, patience time.Duration) (uint64, error) {
	a.attempts++
	known := a.st.high.Load()
	attempt, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	k, err := a.log.publish(attempt, a.build())
	if errorCode(err) == codeWrongLastSequence && a.guarded {
		return a.judge(ctx, err)
	}
	if err != nil {
		return 0, err
	}
	if !k.duplicate && k.first <= known {
		reason := fmt.Errorf("sequence %d was acknowledged for a new event when %d was known to be stored", k.first, known)
		a.log.FailPartition(a.st.name, reason)
		return 0, a.st.failure()
	}
	a.st.saw(k.last)
	a.duplicate = k.duplicate
	return k.first, nil
}

// judge decides a refused expectation by the first event that follows it: that
// one was accepted on the same expectation, and is mine or another's. The last
// event on the subject would not do, because somebody may have built on mine.
// No such event settles nothing: the leader that answers may be behind the
// state this was decided on.
func (a *appending) judge(ctx context.Context, refusal error) (uint64, error) {
	first, ok, err := a.st.next(ctx, a.unit.Event.Subject, a.unit.Expect)
	switch {
	case err != nil:
		return 0, fmt.Errorf("read who was first: %w", err)
	case !ok:
		return 0, refusal
	case first.Message.Header.Get(headerID) == a.unit.Event.ID:
		return first.Seq, nil
	}
	return 0, fmt.Errorf("%w: sequence %d", ErrConflict, first.Seq)
}

// refused reports whether the server, or the client library, would refuse the
// message at any time.
func refused(err error) bool {
	switch errorCode(err) {
	case codeMessageTooLarge, codeHeaderTooLarge, codeOtherStream, codeInvalidBatchHeader:
		return true
	}
	return errors.Is(err, nats.ErrMaxPayload)
}
