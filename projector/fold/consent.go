package fold

import (
	"strings"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// A Consent is what a user agreed that a client may have. Every event of its
// subject says all of it, so the last one is enough.
type Consent struct {
	User   string `json:"user"`
	Client string `json:"client"`
	Seq    uint64 `json:"seq"`
	events.ConsentGiven
	// Withdrawn says that nothing is agreed any more.
	Withdrawn bool      `json:"withdrawn,omitempty"`
	At        time.Time `json:"at"`
}

// Exists reports whether the user was ever asked.
func (c Consent) Exists() bool { return c.Seq != 0 }

// Apply folds an event of the consent's subject.
func (c Consent) Apply(r events.Recorded) (Consent, error) {
	if r.Seq <= c.Seq {
		return c, poison(r, "out of order")
	}
	parts := strings.Split(string(r.Subject), ".")
	if len(parts) != 4 || r.Subject != r.Subject.Realm().ConsentSubject(parts[2], parts[3]) {
		return c, poison(r, "not the subject of a consent")
	}
	next := Consent{User: parts[2], Client: parts[3], Seq: r.Seq, At: r.Stored}
	if c.Exists() && (next.User != c.User || next.Client != c.Client) {
		return c, poison(r, "another consent's event")
	}
	switch f := r.Fact.(type) {
	case events.ConsentGiven:
		next.ConsentGiven = f
	case events.ConsentWithdrawn:
		next.Withdrawn = true
	default:
		return c, poison(r, "not a consent's event")
	}
	return next, nil
}
