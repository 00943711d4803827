package authority

import (
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// TestWritten remembers what is newest, for a while, and forgets only that which was
// known to whom it is told by.
func TestWritten(t *testing.T) {
	w := written{}
	w.grants.Size = 8
	id := events.NewGrantID(0, [16]byte{1})
	at := func(seq uint64) fold.Grant { return fold.Grant{ID: id, Seq: seq} }
	want := func(what string, seq uint64) {
		t.Helper()
		if g, ok := w.get(id); ok != (seq > 0) || g.Seq != seq {
			t.Errorf("%s: sequence %d, %v, want %d", what, g.Seq, ok, seq)
		}
	}
	want("nothing written", 0)
	w.put(at(5))
	w.put(at(4))
	want("the older one told later", 5)
	w.put(at(6))
	w.forget(at(5))
	want("forgotten by who knew an older one", 6)
	w.forget(at(6))
	want("forgotten", 0)
	w.grants.Put(id, writtenGrant{at(7), time.Now().Add(-2 * writtenFor)})
	want("written a while ago", 0)
	w.put(at(8))
	want("written again", 8)
}
