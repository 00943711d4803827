package rules

import "slices"

// InvalidBearer refuses an access token at an endpoint of the authority's own.
const InvalidBearer Reason = "invalid_bearer_token"

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
