package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/chancery-authority/chancery/events"
)

const (
	// readAttempts is how often a projector is asked before a read is given up,
	// and attemptTimeout how long each may take. A read takes well under a
	// millisecond; one that does not come has met a projector that hangs. Of two
	// the other one is met sooner or later, in all but one of 256 reads.
	readAttempts   = 8
	attemptTimeout = 125 * time.Millisecond
	// readPause is between attempts that failed at once: nobody listens, or the
	// one who does has just stopped.
	readPause = 50 * time.Millisecond
)

// Remote reads from projectors over NATS. It is safe for concurrent use.
type Remote struct {
	nc    *nats.Conn
	realm events.Realm
	states
}

var _ Reader = (*Remote)(nil)

// NewRemote reads the realm's partitions from whoever serves them on nc.
func NewRemote(nc *nats.Conn, realm events.Realm) *Remote {
	r := &Remote{nc: nc, realm: realm}
	r.states = states{r}
	return r
}

// read implements source. It asks again, and so possibly another projector, a
// few times for up to a second.
func (r *Remote) read(ctx context.Context, at place, what, key string) (state []byte, err error) {
	if of := trace.SpanFromContext(ctx); of.IsRecording() {
		var span trace.Span
		ctx, span = startRead(ctx, of.TracerProvider().Tracer(tracerName), trace.SpanKindClient, r.realm, at, what)
		defer func() { endSpan(span, err) }()
	}
	for attempt := range readAttempts {
		if attempt > 0 && !errors.Is(err, context.DeadlineExceeded) {
			wait(ctx, readPause)
		}
		if ctx.Err() != nil {
			break
		}
		if state, err = r.ask(ctx, at, what, key); err == nil {
			return state, nil
		}
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// ask asks one projector.
func (r *Remote) ask(ctx context.Context, at place, what, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	msg := nats.NewMsg(readSubject(r.realm, at, what))
	msg.Data = []byte(key)
	w3c.Inject(ctx, propagation.HeaderCarrier(msg.Header))
	reply, err := r.nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return nil, err
	}
	if code := reply.Header.Get(micro.ErrorCodeHeader); code != "" {
		return nil, fmt.Errorf("projector answered %s %s", code, reply.Header.Get(micro.ErrorHeader))
	}
	return reply.Data, nil
}
