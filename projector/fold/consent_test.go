package fold_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

func TestConsent(t *testing.T) {
	subject := events.DefaultRealm.ConsentSubject("alice", "web")
	given := record(subject, events.ConsentGiven{Scope: []string{"read"}}, events.ConsentWithdrawn{}, events.ConsentGiven{Scope: []string{"write"}})
	for n, want := range []fold.Consent{
		{},
		{ConsentGiven: events.ConsentGiven{Scope: []string{"read"}}},
		{Withdrawn: true},
		{ConsentGiven: events.ConsentGiven{Scope: []string{"write"}}},
	} {
		c, err := apply(fold.Consent{}, given[:n])
		if err != nil || c.Exists() != (n > 0) || c.Withdrawn != want.Withdrawn || !slices.Equal(c.Scope, want.Scope) {
			t.Errorf("after %d events: %+v, %v", n, c, err)
		}
		if n > 0 && (c.User != "alice" || c.Client != "web") {
			t.Errorf("after %d events it is %s's of %s", n, c.User, c.Client)
		}
	}
	for name, rs := range map[string][]events.Recorded{
		"another fact":    record(subject, events.UserEnabled{}),
		"another subject": record(events.DefaultRealm.UserSubject("alice"), events.ConsentWithdrawn{}),
		"another's":       append(record(subject, events.ConsentWithdrawn{}), record(events.DefaultRealm.ConsentSubject("bob", "web"), events.ConsentWithdrawn{}, events.ConsentWithdrawn{})[1]),
		"out of order":    {given[1], given[0]},
	} {
		if _, err := apply(fold.Consent{}, rs); !errors.Is(err, fold.ErrPoison) {
			t.Errorf("%s: got %v, want poison", name, err)
		}
	}
}
