package rules

import (
	"slices"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

const (
	// codeReplayGrace is how long after its redemption a code may come again
	// without the grant being taken for stolen: a client whose answer was lost.
	codeReplayGrace = 10 * time.Second
	// maxClockSkew is the most a replica that is ready can be off the log's
	// clock. A clock that is ahead must not revoke anybody.
	maxClockSkew = time.Second
)

// A CodeExchange is a token request with a code whose MAC was verified
// (RFC 6749 §4.1.3).
type CodeExchange struct {
	Holder
	// MACKey is the id of the key that the code was rendered with.
	MACKey      uint8
	RedirectURI string
	// Verifier is the PKCE code_verifier, or empty.
	Verifier string
	// Scope and Audience narrow the answer, as asked for.
	Scope    []string
	Audience []string
	// Origin is the keyed hash of the address that asks.
	Origin string
	Issuer string
	Now    time.Time
}

// RedeemCode decides a code exchange. The code is spent by the event's append
// and nothing else, so of any number of racing exchanges one is answered.
func RedeemCode(g fold.Grant, x CodeExchange, m Minting) Outcome {
	if refusal := x.check(g, InvalidCode, x.Now); refusal != nil {
		return refused(refusal)
	}
	if refusal := x.checkBinding(g); refusal != nil {
		return refused(refusal)
	}
	if g.Redeemed() {
		return replayedCode(g, x)
	}
	if !x.Now.Before(codeEnd(g, x.Policy)) {
		return tolerated(InvalidCode, "code", "expired, and not redeemed")
	}
	return x.redeem(g, m)
}

// redeem issues generation 1, in the course of which the code is spent.
func (x CodeExchange) redeem(g fold.Grant, m Minting) Outcome {
	scope, refusal := narrowScope(g.Scope, x.Client.ClientSettings, x.Scope)
	if refusal != nil {
		return refused(refusal)
	}
	audience, refusal := issuedAudience(g.Audience, x.Client.ClientSettings, x.Audience, x.Issuer)
	if refusal != nil {
		return refused(refusal)
	}
	i := issuance(m, 1, x.Now, accessTokenEnd(g, x.Policy, x.Now), scope, m.userAudience(scope, audience, x.Issuer))
	if g.Refreshable && slices.Contains(x.Client.GrantTypes, GrantRefreshToken) {
		i.MACKey = m.MACKey
		i.Origin = x.Origin
	}
	if g.Code.Device { // which tells a poll after the last from a thief's
		i.Origin = x.Origin
	}
	return Outcome{Fact: events.CodeRedeemed{Issuance: i}, Issuance: &i}
}

// checkBinding refuses a code that is used elsewhere than it was meant for.
// None of this changes the grant: who holds only the code cannot end it.
func (x CodeExchange) checkBinding(g fold.Grant) *Refusal {
	switch {
	case g.Code == nil || g.Code.Device:
		return refuse(InvalidCode, "code", "the grant never had a code")
	case x.MACKey != g.Code.MACKey: // the same request was answered again, after a loss
		return refuse(InvalidCode, "code", "of an opening that the log has lost")
	case x.RedirectURI != g.Code.RedirectURI && (g.Code.RedirectGiven || x.RedirectURI != ""):
		return refuse(InvalidCode, "redirect_uri", "not the one of the authorization request")
	case !verifierMatches(g.Code.Challenge, x.Verifier):
		return refuse(InvalidCode, "code_verifier", "does not match the challenge")
	}
	return nil
}

func codeEnd(g fold.Grant, p Policy) time.Time {
	return earlier(g.OpenedAt.Add(p.Code), g.Code.Expires)
}

// replayedCode decides about a code that comes again from its own client with
// its own verifier (RFC 6749 §4.1.2: SHOULD revoke). Without PKCE nothing
// tells the client from a thief; with it, a short while after the redemption a
// lost answer is likelier, unless what was issued is in use.
func replayedCode(g fold.Grant, x CodeExchange) Outcome {
	const detail = "already redeemed"
	since := x.Now.Sub(g.RedeemedAt)
	if g.Code.Challenge != "" && g.Current.Generation == 1 && since <= codeReplayGrace+maxClockSkew {
		return tolerated(InvalidCode, "code", detail)
	}
	return Outcome{Fact: events.GrantRevoked{Reason: events.ReasonCodeReuse}, Refusal: refuse(InvalidCode, "code", detail)}
}
