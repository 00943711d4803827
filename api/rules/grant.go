package rules

import (
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// A Holder is who presents a code or refresh token, after it authenticated,
// with the resource owner as this replica knows them.
type Holder struct {
	Client fold.Client
	User   fold.User
	Policy Policy
}

// check refuses what holds for every use of a grant, whatever is presented.
// What is refused here is final, but for a grant or user that is not there:
// both were acknowledged before the token was made.
func (h Holder) check(g fold.Grant, reason Reason, now time.Time) *Refusal {
	switch {
	case !g.Exists():
		return behind("no such grant under a valid MAC")
	case g.Client != h.Client.ID:
		return refuse(reason, "", "of another client")
	case g.Revoked():
		return refuse(reason, "", "grant revoked").because(g.RevokedReason)
	case g.ClientEpoch < h.Client.Epoch:
		return refuse(reason, "", "the client was disabled or cut off since")
	case !h.User.Exists():
		return behind("no such user under a valid MAC")
	case h.User.Disabled:
		return refuse(reason, "", "the user is disabled")
	case g.UserEpoch < h.User.Epoch:
		return refuse(reason, "", "the user was disabled or cut off since")
	case !now.Before(grantEnd(g, h.Policy)):
		return refuse(reason, "", "grant expired")
	}
	return nil
}

// behind refuses what only a state behind the token can: a newer event may
// overturn it.
func behind(detail text) *Refusal {
	r := refuse(BehindTheToken, "", detail)
	r.Overturnable = true
	return r
}

// tolerated refuses a replay that does not end the grant, which a newer event
// could turn into one that does.
func tolerated(reason Reason, parameter string, detail text) Outcome {
	r := refuse(reason, parameter, detail)
	r.Overturnable = true
	return refused(r)
}

// grantEnd is the absolute end of a grant. A policy made shorter since it was
// opened applies; a longer one does not.
func grantEnd(g fold.Grant, p Policy) time.Time {
	if !g.Refreshable {
		return time.Unix(g.Expires, 0)
	}
	return earlier(g.OpenedAt.Add(p.RefreshAbsolute), g.Expires)
}

// accessTokenEnd is the expiry of an access token: nothing outlives its grant.
func accessTokenEnd(g fold.Grant, p Policy, now time.Time) time.Time {
	return earlier(now.Add(p.AccessToken), grantEnd(g, p).Unix())
}

// RevocationMark is the marker that goes with the revocation of a grant: it
// matters until the grant's last access token expires.
func RevocationMark(g fold.Grant, now time.Time) events.GrantRevocationMarked {
	return events.GrantRevocationMarked{
		Grant: g.ID,
		Until: earlier(now.Add(AccessTokenCap), g.Expires).Unix(),
	}
}
