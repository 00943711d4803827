package projector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// ErrUnavailable is returned when no read model can answer now: it is being
// built, has stopped, or cannot be reached. It says nothing about what was
// asked for; the request is answered 503.
var ErrUnavailable = errors.New("read model is not available")

// A Reader reads what was folded. It is Local where the projector runs in the
// same process and Remote where it does not.
type Reader interface {
	// Grant reads the row of a grant, with the sequence it was folded to. It is
	// zero if there is no row, which is no proof that there is no grant: the row
	// may be behind the log, and the rows of finished grants are deleted. The
	// only error, besides that of ctx, is ErrUnavailable.
	Grant(ctx context.Context, id events.GrantID) (fold.Grant, error)
	// Session is the same of a session, with whether it has ended.
	Session(ctx context.Context, id events.SessionID) (fold.Session, error)
}

// What can be read, as the names of queries and subjects.
const (
	readGrant   = "grant"
	readSession = "session"
)

// A source reads states as JSON, null or nil if there is no row.
type source interface {
	read(ctx context.Context, p events.Partition, what, id string) ([]byte, error)
}

// states reads what a source has as what it is.
type states struct{ source source }

// Grant is described at Reader.
func (s states) Grant(ctx context.Context, id events.GrantID) (fold.Grant, error) {
	return readState(ctx, s.source, readGrant, id, func(g fold.Grant) events.GrantID { return g.ID })
}

// Session is described at Reader.
func (s states) Session(ctx context.Context, id events.SessionID) (fold.Session, error) {
	return readState(ctx, s.source, readSession, id, func(s fold.Session) events.SessionID { return s.ID })
}

func readState[S any](ctx context.Context, from source, what string, id events.GrantID, idOf func(S) events.GrantID) (S, error) {
	var state S
	raw, err := from.read(ctx, id.Partition(), what, id.String())
	if err != nil || raw == nil {
		return state, err
	}
	if err := json.Unmarshal(raw, &state); err != nil {
		return state, fmt.Errorf("%w: read %s: %w", ErrUnavailable, what, err)
	}
	if got := idOf(state); !got.IsZero() && got != id {
		return state, fmt.Errorf("%w: read %s: it is another one's", ErrUnavailable, what)
	}
	return state, nil
}
