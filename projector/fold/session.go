package fold

import (
	"time"

	"github.com/chancery-authority/chancery/events"
)

// A Session is a person signed in at a user agent. Nothing of it ever changes
// but that it ends, which is a Revocation's.
type Session struct {
	ID  events.SessionID `json:"id"`
	Seq uint64           `json:"seq"`
	events.SessionOpened
	OpenedAt time.Time `json:"opened_at"`
	// Ended is set where a session is read together with its end.
	Ended bool `json:"ended,omitempty"`
}

// Exists reports whether the session was opened.
func (s Session) Exists() bool { return s.Seq != 0 }

// Apply folds the one event of the session's subject.
func (s Session) Apply(r events.Recorded) (Session, error) {
	if s.Exists() {
		return s, poison(r, "already opened")
	}
	f, ok := r.Fact.(events.SessionOpened)
	if !ok {
		return s, poison(r, "not a session's event")
	}
	id, err := events.ParseGrantID(r.Subject.ID())
	if err != nil {
		return s, poison(r, err.Error())
	}
	if r.Subject != r.Subject.Realm().SessionSubject(id) {
		return s, poison(r, "not in the partition that its id names")
	}
	return Session{ID: id, Seq: r.Seq, SessionOpened: f, OpenedAt: r.Stored}, nil
}
