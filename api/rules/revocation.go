package rules

import (
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// RevokeRefreshToken decides a client's request to revoke a refresh token of
// any generation, whose MAC was verified: it ends the grant (RFC 7009 §2.1).
// A grant that has ended already is no error.
func RevokeRefreshToken(g fold.Grant, c fold.Client, generation uint32, now time.Time) Outcome {
	switch {
	case !g.Exists():
		return refused(behind("no such grant under a valid MAC"))
	case g.Client != c.ID:
		return refused(refuse(TokenOfAnotherClient, "token", ""))
	case g.Revoked() || now.Unix() >= g.Expires:
		return Outcome{}
	}
	return Outcome{Fact: events.GrantRevoked{Reason: events.ReasonClientRequest, Generation: generation}}
}

// RevokeGrant decides to end a grant that is known to be there. The reason says
// who asked: events.ReasonUserRequest, or events.ReasonAdminRequest.
func RevokeGrant(g fold.Grant, reason string) Outcome {
	switch {
	case !g.Exists():
		return refused(behind("no such grant, and it was seen"))
	case g.Revoked():
		return Outcome{}
	}
	return Outcome{Fact: events.GrantRevoked{Reason: reason}}
}
