package authority

import (
	"slices"

	"github.com/chancery-authority/chancery/api/credential"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// afterLosses is a grant with what accepted losses of the log did to it. Its row
// may be behind them, and its subject does not tell of them.
func (a *Authority) afterLosses(g fold.Grant) fold.Grant {
	for _, x := range a.Feed.Restorations(g.ID.Partition()) {
		g = x.Grant(g)
	}
	return g
}

// sessionLost reports whether an accepted loss has ended a session.
func (a *Authority) sessionLost(s fold.Session) bool {
	return slices.ContainsFunc(a.Feed.Restorations(s.ID.Partition()), func(x fold.Restoration) bool { return x.Ends(s.Seq) })
}

// tokenLost reports whether an accepted loss of a partition has ended the access
// tokens that were issued at a time, in Unix seconds.
func (a *Authority) tokenLost(p events.Partition, iat int64) bool {
	return slices.ContainsFunc(a.Feed.Restorations(p), func(x fold.Restoration) bool { return x.EndsIssuedAt(iat) })
}

// credentialLost reports whether a credential may be one whose event was lost, which
// was accepted: its MAC key is of before the loss.
func (a *Authority) credentialLost(c credential.Claims) bool {
	losses := a.Feed.Restorations(c.Grant.Partition())
	return slices.ContainsFunc(a.Feed.Keys(), func(k fold.Key) bool {
		return k.MACKey == c.MACKey && k.Use == events.KeyUseMAC &&
			slices.ContainsFunc(losses, func(x fold.Restoration) bool { return k.ActivatedSeq < x.Seq })
	})
}

// lost refuses a credential whose event the log has lost, which was accepted: it
// is not to be waited for.
func lost(c credential.Claims, reason rules.Reason) *rules.Refusal {
	return &rules.Refusal{Reason: reason, Detail: "its event was lost with the log", Grant: c.Grant}
}
