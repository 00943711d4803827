package rules

import (
	"slices"

	"github.com/chancery-authority/chancery/projector/fold"
)

const (
	// InvalidBearer refuses an access token that came with a request, in a header.
	InvalidBearer Reason = "invalid_bearer_token"
	// InsufficientScope refuses one that is in order, and not for this
	// (RFC 6750 §3.1).
	InsufficientScope Reason = "insufficient_scope"
	// FirstPartyRequired refuses what only the installation's own clients may do.
	FirstPartyRequired Reason = "first_party_required"
)

// CheckBearer decides whether an active access token opens what the authority
// itself keeps of a user (RFC 6750 §3.1). It must be for the issuer, or a
// resource server could use what was sent to it here, and come straight from a
// grant: who acts for the user, or in their place, is not the user.
func CheckBearer(p Presented, issuer string) *Refusal {
	switch {
	case !slices.Contains(p.Audience, issuer):
		return refuse(InvalidBearer, "", "not for the issuer")
	case p.Grant.IsZero():
		return refuse(InvalidBearer, "", "not a user's")
	case p.Act != nil || len(p.Chain) > 0:
		return refuse(InvalidBearer, "", "made from another token")
	}
	return nil
}

// CheckFirstParty decides whether a client may do what people are not asked for:
// read and change their record, and sign them out of everything.
func CheckFirstParty(c fold.Client) *Refusal {
	if !c.FirstParty {
		return refuse(FirstPartyRequired, "", "of another party")
	}
	return nil
}

// TellsName and TellsEmail report whether a token with the Login API's claims
// tells the person's name and address: to the installation's own clients, and to
// others if people agreed to it.
func TellsName(c fold.Client, scope []string) bool {
	return c.FirstParty || slices.Contains(scope, ScopeProfile)
}

// TellsEmail is described at TellsName.
func TellsEmail(c fold.Client, scope []string) bool {
	return c.FirstParty || slices.Contains(scope, ScopeEmail)
}

// CheckUserInfo decides whether the scope of a user's access token opens the
// UserInfo endpoint (OIDC Core §5.3).
func CheckUserInfo(scope []string) *Refusal {
	if !slices.Contains(scope, ScopeOpenID) {
		return refuse(InsufficientScope, "", "without openid")
	}
	return nil
}

// CheckServerToken decides whether an active access token is one that a client
// got by its own credentials, the Login API's server token.
func CheckServerToken(p Presented) *Refusal {
	if !p.isClientsOwn() {
		return refuse(InvalidBearer, "", "not a client's own token")
	}
	return nil
}
