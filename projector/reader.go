package projector

import (
	"context"
	"errors"

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
}
