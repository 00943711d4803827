package rules

import (
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// OpenSession is the session of a user who has just authenticated, by the
// methods of amr (RFC 8176) and to the level of acr, which is empty where none is
// claimed.
func OpenSession(u fold.User, amr []string, acr string, p Policy, macKey uint8, now time.Time) events.SessionOpened {
	return events.SessionOpened{
		User: u.ID, UserEpoch: u.Epoch, AuthTime: now.Unix(), AMR: amr, ACR: acr,
		Expires: now.Add(p.Session).Unix(), MACKey: macKey,
	}
}

// SessionInForce reports whether a session still stands for its user: it
// neither ended nor expired, and the user was neither disabled nor cut off
// since.
func SessionInForce(s fold.Session, u fold.User, now time.Time) bool {
	return s.Exists() && !s.Ended && now.Unix() < s.Expires &&
		u.Exists() && !u.Disabled && s.UserEpoch >= u.Epoch
}

// GrantInForce reports whether a grant gives its client anything: a code that is
// to be redeemed, or tokens.
func GrantInForce(g fold.Grant, c fold.Client, u fold.User, now time.Time) bool {
	redeemable := g.Redeemed() || g.Code != nil && now.Unix() < g.Code.Expires
	return g.Exists() && !g.Revoked() && redeemable && now.Unix() < g.Expires &&
		IssuedTo{g.Client, g.ClientEpoch, g.User, g.UserEpoch}.InForce(c, u)
}
