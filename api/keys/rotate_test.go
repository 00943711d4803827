package keys

import (
	"testing"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/projector/fold"
)

// A rotation takes nothing up that somebody else has left: a record that the log
// does not speak of may be of a log that was lost, however young it is.
func TestRotateMAC(t *testing.T) {
	r := newRealm(t)
	m := r.open(r.config(ring(t, "1"), jose.ES256))
	first := renderedBy(t, m)
	if _, err := m.vault.create(t.Context(), macRecord(2), newMAC()); err != nil {
		t.Fatal(err)
	}
	id, err := m.RotateMAC(t.Context())
	if _, active := m.MAC(); err != nil || id != 3 || active != 3 {
		t.Fatalf("got MAC key %d, %v, and %d renders, want 3", id, err, active)
	}
	if !parses(m, first) || !parses(m, renderedBy(t, m)) {
		t.Error("what was rendered before or after does not verify")
	}
	if got := r.kids(fold.KeyActive); len(got) != 3 { // the schedule retires the old one
		t.Errorf("active: %v", got)
	}
}
