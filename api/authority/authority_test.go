package authority

import (
	"errors"
	"testing"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// TestNothingUnfoldableIsAppended decides a rotation that has no refresh token.
func TestNothingUnfoldableIsAppended(t *testing.T) {
	id := events.NewGrantID(0, [16]byte{1: 1})
	g := fold.Grant{ID: id, Seq: 7, Current: events.Issuance{Generation: 1, MACKey: 1}}
	e := events.Event{ID: "e", Subject: events.DefaultRealm.GrantSubject(id)}

	e.Fact = events.RefreshTokenRotated{Issuance: events.Issuance{Generation: 2, MACKey: 1}}
	if _, err := foldable(g, g.Seq, e); err != nil {
		t.Error(err)
	}
	e.Fact = events.RefreshTokenRotated{Issuance: events.Issuance{Generation: 2}}
	if _, err := foldable(g, g.Seq, e); !errors.Is(err, fold.ErrPoison) {
		t.Errorf("got %v, want ErrPoison", err)
	}
}
