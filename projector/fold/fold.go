// Package fold is what is true now, as pure functions of what happened: each
// state type has an Apply that takes the next recorded event of its subject.
// No I/O, no clock: the same events always give the same state.
package fold

import (
	"errors"
	"fmt"

	"github.com/chancery-authority/chancery/events"
)

// ErrPoison is returned for an event that cannot follow the state it is
// applied to. A projector stops there, loudly; it is never skipped.
var ErrPoison = errors.New("event cannot be folded")

func poison(r events.Recorded, why string) error {
	return fmt.Errorf("%w: sequence %d, %s on %s: %s", ErrPoison, r.Seq, r.Fact.Type(), r.Subject, why)
}
