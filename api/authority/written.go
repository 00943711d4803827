package authority

import (
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/recent"
	"github.com/chancery-authority/chancery/projector/fold"
)

const (
	// maxWritten is how many grants are remembered at least, of about 1 KB each.
	maxWritten = 4096
	// writtenFor is how long one is decided on. Read models are behind by some
	// milliseconds; and the times in it are by this replica's clock, not the log's, so
	// that whatever that clock did moves no bound of a lifetime by more than this.
	writtenFor = time.Second
)

// written has grants as this replica wrote them a moment ago. It saves work, and
// decides nothing that the log does not guard.
type written struct {
	grants recent.Map[events.GrantID, writtenGrant]
}

type writtenGrant struct {
	grant fold.Grant
	at    time.Time
}

func (w *written) get(id events.GrantID) (fold.Grant, bool) {
	last, ok := w.grants.Get(id)
	if !ok || time.Since(last.at) > writtenFor {
		return fold.Grant{}, false
	}
	return last.grant, true
}

// put remembers what was written, unless something newer was.
func (w *written) put(g fold.Grant) {
	if last, ok := w.grants.Get(g.ID); !ok || last.grant.Seq < g.Seq {
		w.grants.Put(g.ID, writtenGrant{g, time.Now()})
	}
}

// forget forgets a grant that somebody else has written to, unless this replica has
// in the meantime.
func (w *written) forget(g fold.Grant) {
	if last, ok := w.grants.Get(g.ID); ok && last.grant.Seq == g.Seq {
		w.grants.Delete(g.ID)
	}
}
