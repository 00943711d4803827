package projector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
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
}

var _ Reader = (*Remote)(nil)

// NewRemote reads the realm's grants from whoever serves them on nc.
func NewRemote(nc *nats.Conn, realm events.Realm) *Remote {
	return &Remote{nc: nc, realm: realm}
}

// Grant is described at Reader. It asks again, and so possibly another
// projector, a few times for up to a second.
func (r *Remote) Grant(ctx context.Context, id events.GrantID) (fold.Grant, error) {
	var err error
	for attempt := range readAttempts {
		var g fold.Grant
		if attempt > 0 && !errors.Is(err, context.DeadlineExceeded) {
			wait(ctx, readPause)
		}
		if ctx.Err() != nil {
			break
		}
		if g, err = r.ask(ctx, id); err == nil {
			return g, nil
		}
	}
	if ctx.Err() != nil {
		return fold.Grant{}, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	return fold.Grant{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// ask asks one projector.
func (r *Remote) ask(ctx context.Context, id events.GrantID) (g fold.Grant, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	reply, err := r.nc.RequestWithContext(ctx, readSubject(r.realm, id.Partition()), []byte(id.String()))
	if err != nil {
		return g, err
	}
	if code := reply.Header.Get(micro.ErrorCodeHeader); code != "" {
		return g, fmt.Errorf("projector answered %s %s", code, reply.Header.Get(micro.ErrorHeader))
	}
	if err := json.Unmarshal(reply.Data, &g); err != nil {
		return fold.Grant{}, fmt.Errorf("read reply: %w", err)
	}
	if g.Exists() && g.ID != id {
		return fold.Grant{}, errors.New("reply is about another grant")
	}
	return g, nil
}
