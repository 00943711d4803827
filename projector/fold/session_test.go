package fold_test

import (
	"errors"
	"testing"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

func TestSession(t *testing.T) {
	subject := events.DefaultRealm.SessionSubject(grantID)
	opening := events.SessionOpened{User: "alice", UserEpoch: 2, AuthTime: 7, AMR: []string{"pwd"}, Expires: 99, MACKey: 1}
	s, err := apply(fold.Session{}, record(subject, opening))
	if err != nil || !s.Exists() || s.ID != grantID || s.User != "alice" || s.Ended {
		t.Fatalf("opened: %+v, %v", s, err)
	}
	elsewhere := events.DefaultRealm.GrantSubject(grantID)
	for name, rs := range map[string][]events.Recorded{
		"opened twice":         record(subject, opening, opening),
		"another's event":      record(subject, events.UserEnabled{}),
		"on a grant's subject": record(elsewhere, opening),
		"no id":                record("main.session.0.alice", opening),
	} {
		if _, err := apply(fold.Session{}, rs); !errors.Is(err, fold.ErrPoison) {
			t.Errorf("%s: got %v, want poison", name, err)
		}
	}
}
