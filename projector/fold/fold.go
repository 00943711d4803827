// Package fold is what is true now, as pure functions of what happened: each
// state type has an Apply that takes the next recorded event of its subject.
// No I/O, no clock: the same events always give the same state.
package fold

import (
	"errors"
	"fmt"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// ErrPoison is returned for an event that cannot follow the state it is
// applied to. A projector stops there, loudly; it is never skipped.
var ErrPoison = errors.New("event cannot be folded")

// Slack is how long a row outlives its expiry, in seconds of the log's time.
// An append that was decided just before the end may be stored after it: by
// the second a clock may be off and the seconds an unknown outcome takes to
// settle. A minute is more than both, and it is what the revocation feed
// allows too.
const Slack = 60

// Finished reports whether something that expires (Unix seconds) is over by
// clock, the newest of the log's timestamps, so that its row is deleted.
func Finished(expires int64, clock time.Time) bool { return expires+Slack <= clock.Unix() }

func poison(r events.Recorded, why string) error {
	return fmt.Errorf("%w: sequence %d, %s on %s: %s", ErrPoison, r.Seq, r.Fact.Type(), r.Subject, why)
}
