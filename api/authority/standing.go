package authority

import (
	"context"
	"errors"
	"slices"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// A Standing is whether what was issued still stands, for an administrator. It is
// as fresh as what this replica knows.
type Standing struct {
	// Ended says that something ended it before its time, and Reason what.
	Ended, Expired bool
	Reason         string
}

// Reasons for which what was issued does not stand, beside those of events and
// those of rules.Why.
const (
	endedToken    = "token_revoked"
	endedGrant    = string(rules.WhyGrantRevoked)
	endedAncestor = "ancestor_ended"
	expiredCode   = "code_not_redeemed"
)

// GrantStanding is that of a grant that is in the log, with its state.
func (a *Authority) GrantStanding(ctx context.Context, id events.GrantID) (fold.Grant, Standing, error) {
	g, err := a.someGrant(ctx, id)
	if errors.Is(err, errForgotten) {
		return g, Standing{Expired: true}, nil
	}
	if err != nil {
		return g, Standing{}, err
	}
	now := a.Feed.Now(id.Partition()).Unix()
	switch {
	case g.Revoked():
		return g, Standing{Ended: true, Reason: g.RevokedReason}, nil
	case now >= g.Expires:
		return g, Standing{Expired: true}, nil
	case !g.Redeemed() && g.Code != nil && now >= g.Code.Expires:
		return g, Standing{Expired: true, Reason: expiredCode}, nil
	}
	reason, err := a.endedBy(ctx, rules.Link{Partition: id.Partition(), Grant: id, IssuedTo: issuedTo(g)})
	return g, Standing{Ended: reason != "", Reason: reason}, err
}

// TokenStanding is that of an access token, from the event that issued it and the
// grant of that, if it is one's.
func (a *Authority) TokenStanding(ctx context.Context, p events.Partition, fact events.Fact, g fold.Grant) (Standing, error) {
	line := lineOf(p, fact)
	var expires int64
	switch f := fact.(type) {
	case events.AccessTokenIssued:
		expires = f.Expires
	case events.TokenExchanged:
		expires = f.Expires
	default:
		i, _ := IssuanceOf(fact)
		expires = i.Expires
		line = []rules.Link{{JTI: i.JTI, Partition: p, Grant: g.ID, IssuedAt: i.IssuedAt, IssuedTo: issuedTo(g)}}
	}
	if a.Feed.Now(p).Unix() >= expires {
		return Standing{Expired: true}, nil
	}
	for i, l := range slices.Backward(line) { // what ended first ended the rest
		reason, err := a.endedBy(ctx, l)
		switch {
		case err != nil:
			return Standing{}, err
		case reason != "" && i > 0 && reason != endedGrant:
			return Standing{Ended: true, Reason: endedAncestor}, nil
		case reason != "":
			return Standing{Ended: true, Reason: reason}, nil
		}
	}
	return Standing{}, nil
}

// IssuanceOf is what an event on a grant's subject issued, if it did.
func IssuanceOf(fact events.Fact) (events.Issuance, bool) {
	switch f := fact.(type) {
	case events.GrantOpened:
		if f.Issued != nil {
			return *f.Issued, true
		}
	case events.CodeRedeemed:
		return f.Issuance, true
	case events.RefreshTokenRotated:
		return f.Issuance, true
	}
	return events.Issuance{}, false
}

func issuedTo(g fold.Grant) rules.IssuedTo {
	return rules.IssuedTo{Client: g.Client, ClientEpoch: g.ClientEpoch, User: g.User, UserEpoch: g.UserEpoch}
}

// endedBy says what ended one token of a line, or nothing.
func (a *Authority) endedBy(ctx context.Context, l rules.Link) (string, error) {
	why, err := a.ended(ctx, l)
	if why == rules.WhyRevoked {
		return endedToken, err
	}
	return string(why), err
}
