package rules

import (
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// reuseSlack is how long past the retry window a spent token is refused
// without revoking: the replicas' clocks are not one clock.
const reuseSlack = 2 * time.Second

// lostGeneration is told of a token that was rendered with another key than the one
// that the log has of its generation: its own event was lost, and the generation was
// issued once more since.
const lostGeneration = "of a generation that the log has lost"

// A Refresh is a token request with a refresh token whose MAC was verified
// (RFC 6749 §6).
type Refresh struct {
	Holder
	// Generation is the one that the token names, and MACKey the id of the key that
	// it was rendered with.
	Generation uint32
	MACKey     uint8
	Scope      []string
	Audience   []string
	// Origin is the keyed hash of the address that asks, and SameOrigin says
	// that it is the address which the current generation was issued to.
	Origin     string
	SameOrigin bool
	Issuer     string
	Now        time.Time
}

// RefreshToken decides a refresh. With g the grant's generation, the token of
// g is rotated, that of g-1 is answered again inside the retry window, and an
// older one is reuse, which ends the grant (RFC 9700 §4.14.2). Generations
// order the tokens, not clocks.
func RefreshToken(g fold.Grant, x Refresh, m Minting) Outcome {
	if refusal := x.check(g, InvalidRefreshToken, x.Now); refusal != nil {
		return refused(refusal)
	}
	current := g.Current.Generation
	switch {
	case x.Generation > current, !g.Current.HasRefresh():
		return refused(behind("the token is of a generation the grant has not reached"))
	case x.Generation == current && x.MACKey != g.Current.MACKey, x.Generation+1 == current && x.MACKey != g.PreviousMACKey:
		return refused(refuse(InvalidRefreshToken, "", lostGeneration))
	case x.Generation == current:
		return rotate(g, x, m)
	case x.Generation+1 == current:
		return spent(g, x)
	}
	return reuse(x)
}

func rotate(g fold.Grant, x Refresh, m Minting) Outcome {
	if !x.Now.Before(g.IssuedAt.Add(x.Policy.RefreshIdle)) {
		return tolerated(InvalidRefreshToken, "", "idle for too long")
	}
	scope, refusal := narrowScope(g.Scope, x.Client.ClientSettings, x.Scope)
	if refusal != nil {
		return refused(refusal)
	}
	audience, refusal := issuedAudience(g.Audience, x.Client.ClientSettings, x.Audience, x.Issuer)
	if refusal != nil {
		return refused(refusal)
	}
	i := issuance(m, g.Current.Generation+1, x.Now, accessTokenEnd(g, x.Policy, x.Now), scope, m.userAudience(scope, audience, x.Issuer))
	i.MACKey = m.MACKey
	i.Origin = x.Origin
	return Outcome{Fact: events.RefreshTokenRotated{Issuance: i}, Issuance: &i}
}

// spent decides about the token before the current one: the retry of a client
// whose answer was lost, or a thief's.
func spent(g fold.Grant, x Refresh) Outcome {
	since := x.Now.Sub(g.IssuedAt)
	switch {
	case since > x.Policy.RetryWindow+reuseSlack:
		return reuse(x)
	case since > x.Policy.RetryWindow, x.Policy.RetryWindow == 0: // no window, wherever the clocks are
		return tolerated(InvalidRefreshToken, "", "spent, just outside the retry window")
	case x.Client.Public && !x.SameOrigin:
		// A public client proves nothing: its retry must at least come from
		// where the rotation came from, or a thief who follows the victim
		// inside every window would never be noticed.
		return tolerated(InvalidRefreshToken, "", "retry from another address")
	}
	current := g.Current
	if g.Repeated {
		return Outcome{Issuance: &current, ConfirmLast: true}
	}
	return Outcome{
		Fact:     events.RefreshTokenRepeated{Generation: current.Generation, JTI: current.JTI, KID: current.KID},
		Issuance: &current,
	}
}

func reuse(x Refresh) Outcome {
	return Outcome{
		Fact:    events.GrantRevoked{Reason: events.ReasonRefreshTokenReuse, Generation: x.Generation},
		Refusal: refuse(InvalidRefreshToken, "", "reuse of a spent refresh token"),
	}
}
