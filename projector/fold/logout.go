package fold

import (
	"github.com/chancery-authority/chancery/events"
)

// LogoutReach is how long after a session's own end, in seconds, it is still
// known who took part in it and who was told of its end. Delivery is given up
// well within it.
const LogoutReach = 2 * 60 * 60

// A Participant is a client that got a grant in a session, and so is told when
// that ends.
type Participant struct {
	// Seq is the newest of its grants' openings.
	Seq     uint64           `json:"seq"`
	Session events.SessionID `json:"session"`
	Client  string           `json:"client"`
	User    string           `json:"user"`
	// Subject is what the client knows the user by.
	Subject   string `json:"sub"`
	UserEpoch uint64 `json:"user_epoch"`
	// Expires, in Unix seconds, is when the session would.
	Expires int64 `json:"exp"`
}

// Participates is who takes part in a session by the opening of a grant. Of
// anything else, and of a grant that was opened in no session, ok is false.
func Participates(r events.Recorded) (p Participant, ok bool) {
	f, ok := r.Fact.(events.GrantOpened)
	if !ok || f.Session.IsZero() {
		return Participant{}, false
	}
	p = Participant{
		Seq: r.Seq, Session: f.Session, Client: f.Client, User: f.User, Subject: f.User,
		UserEpoch: f.UserEpoch, Expires: f.SessionExpires,
	}
	if f.Pairwise != "" {
		p.Subject = f.Pairwise
	}
	if p.Expires == 0 { // it was opened before that was noted
		p.Expires = f.Expires
	}
	return p, true
}

// A Logout is how it went to tell a client that a session has ended.
type Logout struct {
	Seq uint64 `json:"seq"`
	events.LogoutOutcome
	// Delivered is false for a client that was given up.
	Delivered bool `json:"delivered,omitempty"`
}

// LoggedOut folds an event of a partition's logout subject.
func LoggedOut(r events.Recorded) (Logout, error) {
	l := Logout{Seq: r.Seq}
	switch f := r.Fact.(type) {
	case events.LogoutDelivered:
		l.LogoutOutcome, l.Delivered = f.LogoutOutcome, true
	case events.LogoutFailed:
		l.LogoutOutcome = f.LogoutOutcome
	default:
		return Logout{}, poison(r, "not the outcome of a logout")
	}
	if l.Session.IsZero() || l.Client == "" {
		return Logout{}, poison(r, "names no session or no client")
	}
	return l, nil
}
