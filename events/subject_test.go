package events_test

import (
	"testing"

	"github.com/chancery-authority/chancery/events"
)

func TestKindAndIsGrant(t *testing.T) {
	id, other := events.NewGrantID(200, [16]byte{15: 0xab}), events.NewGrantID(20, [16]byte{15: 0xab})
	for subject, want := range map[events.Subject]struct {
		kind  string
		grant bool
	}{
		events.DefaultRealm.GrantSubject(id):             {"grant", true},
		events.Realm("another").GrantSubject(id):         {"grant", true},
		events.DefaultRealm.GrantSubject(other):          {"grant", false},
		events.DefaultRealm.SessionSubject(id):           {"session", false},
		events.DefaultRealm.GrantSubject(id) + ".x":      {"grant", false},
		"main.grant.20." + events.Subject(id.String()):   {"grant", false},
		"main.grant.0200." + events.Subject(id.String()): {"grant", false},
		events.Subject(id.String()):                      {"", false},
		events.DefaultRealm.RegistryTickSubject():        {"tick", false},
		events.DefaultRealm.ConsentSubject("u", "web"):   {"consent", false},
		"": {"", false},
	} {
		if got := subject.Kind(); got != want.kind {
			t.Errorf("%q is of kind %q, want %q", subject, got, want.kind)
		}
		if got := subject.IsGrant(id); got != want.grant {
			t.Errorf("%q is the grant's: %v", subject, got)
		}
	}
}
