package rules

import "github.com/chancery-authority/chancery/projector/fold"

// A Party is what is known of the client or the user of a token.
type Party struct {
	Disabled bool
	// Epoch kills what was issued under an older one.
	Epoch uint64
}

// A LinkState is what is known of all that a link depends on.
type LinkState struct {
	// Lost says that an accepted loss of the log has ended the link's token.
	Lost bool
	// TokenRevoked and GrantRevoked say that there is a revocation of the link's
	// token by itself, and of its grant.
	TokenRevoked, GrantRevoked bool
	Client, User               Party
}

// ClientParty and UserParty are the parts of the folded states that count.
func ClientParty(c fold.Client) Party { return Party{c.Disabled, c.Epoch} }

// UserParty is described at ClientParty.
func UserParty(u fold.User) Party { return Party{u.Disabled, u.Epoch} }

// Ended says what has ended a link before its time, or nothing. It is the one
// place that decides it: introspection asks it, so do explanations of the past
// and resource servers that verify tokens by themselves.
func (l Link) Ended(s LinkState) Why {
	switch {
	case l.JTI != "" && s.Lost:
		return WhyLogRestored
	case l.JTI != "" && s.TokenRevoked:
		return WhyRevoked
	case !l.Grant.IsZero() && s.GrantRevoked:
		return WhyGrantRevoked
	}
	return l.ended(s.Client, s.User)
}

// ended says what of a token's client and user, if there is one, has ended it.
func (t IssuedTo) ended(client, user Party) Why {
	switch {
	case client.Disabled:
		return WhyClientDisabled
	case t.ClientEpoch < client.Epoch:
		return WhyClientCutOff
	case t.User == "":
		return ""
	case user.Disabled:
		return WhyUserDisabled
	case t.UserEpoch < user.Epoch:
		return WhyUserCutOff
	}
	return ""
}
