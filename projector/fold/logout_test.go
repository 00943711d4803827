package fold_test

import (
	"testing"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

func TestParticipates(t *testing.T) {
	session := events.NewGrantID(7, [16]byte{15: 1})
	opened := withCode()
	opened.UserEpoch = 2
	if p, ok := fold.Participates(onGrant(opened)[0]); ok {
		t.Errorf("in no session %+v", p)
	}
	opened.Session, opened.SessionExpires = session, 99
	want := fold.Participant{Seq: 10, Session: session, Client: "web", User: "alice", Subject: "alice", UserEpoch: 2, Expires: 99}
	if p, ok := fold.Participates(onGrant(opened)[0]); !ok || p != want {
		t.Errorf("got %+v, %t, want %+v", p, ok, want)
	}
	opened.Pairwise, opened.SessionExpires = "somebody", 0
	want.Subject, want.Expires = "somebody", opened.Expires
	if p, ok := fold.Participates(onGrant(opened)[0]); !ok || p != want {
		t.Errorf("got %+v, %t, want %+v", p, ok, want)
	}
	if p, ok := fold.Participates(onGrant(revoked())[0]); ok {
		t.Errorf("by a revocation %+v", p)
	}
}

func TestLoggedOut(t *testing.T) {
	on := func(f events.Fact) events.Recorded { return record(events.DefaultRealm.LogoutSubject(3), f)[0] }
	outcome := events.LogoutOutcome{Session: grantID, Client: "web", User: "alice", Attempts: 2, Status: 200, Until: 9}
	for _, delivered := range []bool{true, false} {
		fact := events.Fact(events.LogoutFailed{LogoutOutcome: outcome})
		if delivered {
			fact = events.LogoutDelivered{LogoutOutcome: outcome}
		}
		l, err := fold.LoggedOut(on(fact))
		if want := (fold.Logout{Seq: 10, LogoutOutcome: outcome, Delivered: delivered}); l != want || err != nil {
			t.Errorf("got %+v, %v, want %+v", l, err, want)
		}
	}
	for _, f := range []events.Fact{
		revoked(),
		events.LogoutDelivered{},
		events.LogoutFailed{LogoutOutcome: events.LogoutOutcome{Session: grantID}},
		events.LogoutFailed{LogoutOutcome: events.LogoutOutcome{Client: "web"}},
	} {
		_, err := fold.LoggedOut(on(f))
		wantPoison(t, err)
	}
}
