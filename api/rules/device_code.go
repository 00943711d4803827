package rules

import (
	"slices"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// DeviceCodeLifetime is how long a device waits for its person (RFC 8628 §3.2,
// expires_in).
const DeviceCodeLifetime = 10 * time.Minute

// CheckDeviceRequest reports what is wrong with the request of a device (RFC
// 8628 §3.1), before anybody is asked, or else what is asked for.
func (a Authorization) CheckDeviceRequest() (asked Asked, refusal *Refusal) {
	if refusal = CheckGrantType(a.Client, GrantDeviceCode); refusal != nil {
		return asked, refusal
	}
	asked.Scope, asked.Audience, refusal = a.wanted()
	return asked, refusal
}

// OpenWithDeviceCode opens a grant that a device code is to be redeemed for,
// until expires. It belongs to no session: to sign out at the browser that it
// was allowed at says nothing of the device.
func OpenWithDeviceCode(a Authorization, m Minting, expires time.Time) (*events.GrantOpened, *Refusal) {
	if _, refusal := a.CheckDeviceRequest(); refusal != nil {
		return nil, refusal
	}
	opened, refusal := a.open()
	if refusal != nil {
		return nil, refusal
	}
	opened.Session = events.SessionID{}
	opened.Code = &events.Code{MACKey: m.MACKey, Expires: expires.Unix(), Device: true}
	if !opened.Refreshable {
		opened.Expires = expires.Add(a.Policy.AccessToken).Unix()
	}
	return opened, nil
}

// A DeviceExchange is a poll with a device code whose MAC was verified and that
// has not expired (RFC 8628 §3.4). RedirectURI and Verifier are not in use.
type DeviceExchange struct {
	CodeExchange
	// SameOrigin says that it comes from the address which the code was redeemed
	// from.
	SameOrigin bool
}

// RedeemDeviceCode decides a poll. Until a person has allowed it there is no
// grant. As with RedeemCode, of any number of polls one is answered.
func RedeemDeviceCode(g fold.Grant, x DeviceExchange, m Minting) Outcome {
	if !g.Exists() {
		r := refuse(AuthorizationPending, "", "not allowed yet")
		r.Overturnable = true
		return refused(r)
	}
	if refusal := x.check(g, InvalidDeviceCode, x.Now); refusal != nil {
		return refused(refusal)
	}
	switch {
	case g.Code == nil || !g.Code.Device:
		return refused(refuse(InvalidDeviceCode, "device_code", "the grant never had a device code"))
	case g.Redeemed():
		return replayedDeviceCode(g, x)
	case x.Now.Unix() >= g.Code.Expires:
		return tolerated(DeviceCodeExpired, "device_code", "expired, and not redeemed")
	}
	// Some clients repeat here what they asked for in the beginning, where scopes
	// for refresh tokens are ignored if they may not have them.
	x.Scope = slices.DeleteFunc(slices.Clone(x.Scope), func(s string) bool {
		return isOffline(s) && !slices.Contains(g.Scope, s)
	})
	return x.redeem(g, m)
}

// replayedDeviceCode decides about a device code that comes again from its own
// client. Devices poll on when an answer is lost, and go nowhere by the way that
// makes the theft of other codes likely. So one that comes soon and from where
// the tokens went is refused and no more; from elsewhere one of the two is a
// thief, and the grant ends.
func replayedDeviceCode(g fold.Grant, x DeviceExchange) Outcome {
	const detail = "already redeemed"
	since := x.Now.Sub(g.RedeemedAt)
	if (x.SameOrigin || !x.Client.Public) && g.Current.Generation == 1 && since <= codeReplayGrace+maxClockSkew {
		return tolerated(InvalidDeviceCode, "device_code", detail)
	}
	return Outcome{Fact: events.GrantRevoked{Reason: events.ReasonCodeReuse}, Refusal: refuse(InvalidDeviceCode, "device_code", detail)}
}
