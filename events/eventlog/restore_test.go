package eventlog

import (
	"testing"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/embedded/snapshot"
)

// TestUndoLeavesAnothersAlone restores while another process makes the same realm, and
// gives up.
func TestUndoLeavesAnothersAlone(t *testing.T) {
	t.Parallel()
	nc := embeddedtest.Single(t).Conn()
	r, err := NewRestorer(t.Context(), nc, Config{Realm: events.DefaultRealm})
	if err != nil {
		t.Fatal(err)
	}
	stream := events.DefaultRealm.RegistryStream()
	var log *Log
	for _, when := range []string{"while it is sent", "before it is sent"} {
		err := r.Stream(t.Context(), stream, snapshot.State{}, func(*snapshot.Writer) (err error) {
			log, err = Open(t.Context(), nc, Config{Realm: events.DefaultRealm})
			return err
		})
		if err == nil {
			t.Fatal("it was restored over another's")
		}
		if err := r.Undo(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := log.Head(t.Context(), stream); err != nil {
			t.Fatalf("what another made %s is gone: %v", when, err)
		}
	}
}
