package rules

import (
	"slices"
	"time"

	"github.com/chancery-authority/chancery/projector/fold"
)

// MayIntrospect reports whether a client is entitled to hear about a token:
// only a confidential one that the token is for, that it was issued to, or
// that is named for it (RFC 7662 §2.1, §4).
func MayIntrospect(c fold.Client, tokenClient string, audience []string) bool {
	if c.Public {
		return false
	}
	return c.IntrospectAny || c.ID == tokenClient || slices.Contains(audience, c.ID)
}

// MayFollowRevocations reports whether a client, of all there are, may hear of
// everything that ends access tokens. That is a confidential one that may introspect
// tokens of others: it is named for it, or there are tokens that are for it.
func MayFollowRevocations(c fold.Client, all []fold.Client) bool {
	if c.Public {
		return false
	}
	return c.IntrospectAny || slices.ContainsFunc(all, func(of fold.Client) bool {
		return slices.Contains(of.Audience, c.ID) || slices.Contains(of.TokenExchange.Audiences, c.ID)
	})
}

// RefreshTokenActive decides whether the refresh token of a generation, rendered
// with a MAC key, could be used now. Introspection never changes a grant: an older generation is
// inactive, not reuse. The refusal is one that a newer event may overturn.
func RefreshTokenActive(g fold.Grant, h Holder, generation uint32, macKey uint8, now time.Time) (bool, *Refusal) {
	if refusal := h.check(g, InvalidRefreshToken, now); refusal != nil {
		return false, refusal
	}
	if generation > g.Current.Generation {
		return false, behind("the token is of a generation the grant has not reached")
	}
	idle := now.Before(g.IssuedAt.Add(h.Policy.RefreshIdle))
	current := generation == g.Current.Generation && g.Current.HasRefresh() && macKey == g.Current.MACKey
	return current && idle, nil
}

// CodeActive decides whether the code of a grant could be redeemed now, by who
// has what belongs to it. There is no introspection of codes: it is for Explain.
func CodeActive(g fold.Grant, h Holder, now time.Time) bool {
	if h.check(g, InvalidCode, now) != nil || g.Code == nil || g.Code.Device {
		return false
	}
	return !g.Redeemed() && now.Before(codeEnd(g, h.Policy))
}

// GrantActive decides whether a grant stands now: whether anything could be had
// by it is for its codes and tokens.
func GrantActive(g fold.Grant, h Holder, now time.Time) bool {
	return h.check(g, InvalidRefreshToken, now) == nil
}

// An IssuedTo is what an access token says of its origin.
type IssuedTo struct {
	Client      string
	ClientEpoch uint64
	// User is empty for a token of the client itself.
	User      string
	UserEpoch uint64
}

// InForce reports whether the client, and the user if there is one, still
// stand behind a token: neither is disabled, nor was since it was issued.
func (t IssuedTo) InForce(c fold.Client, u fold.User) bool {
	if !c.Exists() || t.User != "" && !u.Exists() {
		return false
	}
	return t.ended(ClientParty(c), UserParty(u)) == ""
}
