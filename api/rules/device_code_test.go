package rules_test

import (
	"slices"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

const pollGrace = 11 * time.Second

func tv() fold.Client {
	c := spa()
	c.ID, c.RedirectURIs = "tv", nil
	c.GrantTypes = []string{rules.GrantDeviceCode, rules.GrantRefreshToken}
	return c
}

func allowance(c fold.Client, scope ...string) rules.Authorization {
	return rules.Authorization{
		Client: c, User: alice(), Scope: scope, AuthTime: t0, Session: events.NewGrantID(0, [16]byte{15: 9}),
		Now: t0, Policy: rules.DefaultPolicy(),
	}
}

// allowed is a grant with a device code that a person allowed at t0.
func allowed(t *testing.T, c fold.Client, scope ...string) fold.Grant {
	t.Helper()
	fact, refusal := rules.OpenWithDeviceCode(allowance(c, scope...), mint(), t0.Add(rules.DeviceCodeLifetime))
	if refusal != nil {
		t.Fatalf("open: %v", refusal)
	}
	return apply(t, fold.Grant{}, *fact, t0)
}

func poll(c fold.Client, now time.Time) rules.DeviceExchange {
	x := exchange(c, now)
	x.RedirectURI, x.Verifier = "", ""
	return rules.DeviceExchange{CodeExchange: x, SameOrigin: true}
}

func TestOpenWithDeviceCode(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*rules.Authorization)
		reason rules.Reason
	}{
		{"as asked for", nil, ""},
		{"a client without the grant", func(a *rules.Authorization) { a.Client = web() }, rules.UnauthorizedClient},
		{"a scope beyond", func(a *rules.Authorization) { a.Scope = []string{"admin"} }, rules.InvalidScope},
		{"a target beyond", func(a *rules.Authorization) { a.Audience = []string{"urn:x"} }, rules.InvalidTarget},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := allowance(tv(), "read", "offline_access")
			if test.change != nil {
				test.change(&a)
			}
			fact, refusal := rules.OpenWithDeviceCode(a, mint(), t0.Add(time.Minute))
			wantRefusal(t, refusal, test.reason)
			if _, checked := a.CheckDeviceRequest(); (checked == nil) != (refusal == nil) {
				t.Errorf("checked in the beginning: %v", checked)
			}
			if refusal != nil {
				return
			}
			if fact.Code == nil || !fact.Code.Device || fact.Code.Expires != t0.Add(time.Minute).Unix() || fact.Code.MACKey != 1 {
				t.Errorf("code %+v", fact.Code)
			}
			if fact.Session != (events.SessionID{}) {
				t.Error("the device is signed in to the browser's session")
			}
		})
	}
}

func TestRedeemDeviceCode(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*fold.Grant, *rules.DeviceExchange)
		event  string
		reason rules.Reason
	}{
		{"as asked for", nil, redeemed, ""},
		{"at the last moment", func(_ *fold.Grant, x *rules.DeviceExchange) {
			x.Now = t0.Add(rules.DeviceCodeLifetime - time.Second)
		}, redeemed, ""},
		{"not allowed yet", func(g *fold.Grant, _ *rules.DeviceExchange) { *g = fold.Grant{} }, "", rules.AuthorizationPending},
		{"another client", func(_ *fold.Grant, x *rules.DeviceExchange) { x.Client.ID = "other" }, "", rules.InvalidDeviceCode},
		{"client disabled since", func(_ *fold.Grant, x *rules.DeviceExchange) { x.Client.Epoch = 1 }, "", rules.InvalidDeviceCode},
		{"user disabled", func(_ *fold.Grant, x *rules.DeviceExchange) { x.User.Disabled = true }, "", rules.InvalidDeviceCode},
		{"user cut off", func(_ *fold.Grant, x *rules.DeviceExchange) { x.User.Epoch = 1 }, "", rules.InvalidDeviceCode},
		{"revoked", func(g *fold.Grant, _ *rules.DeviceExchange) { g.RevokedReason = events.ReasonUserRequest }, "", rules.InvalidDeviceCode},
		{"expired", func(_ *fold.Grant, x *rules.DeviceExchange) { x.Now = t0.Add(rules.DeviceCodeLifetime) }, "", rules.DeviceCodeExpired},
		{"a grant of a code", func(g *fold.Grant, _ *rules.DeviceExchange) {
			code := *g.Code
			code.Device = false
			g.Code = &code
		}, "", rules.InvalidDeviceCode},
		{"a grant of a password", func(g *fold.Grant, _ *rules.DeviceExchange) { g.Code = nil }, "", rules.InvalidDeviceCode},
		{"narrower", func(_ *fold.Grant, x *rules.DeviceExchange) { x.Scope = []string{"read"} }, redeemed, ""},
		{"a scope beyond", func(_ *fold.Grant, x *rules.DeviceExchange) { x.Scope = []string{"admin"} }, "", rules.InvalidScope},
		{"a refresh token that was left out", func(g *fold.Grant, x *rules.DeviceExchange) {
			g.Scope, x.Scope = []string{"read"}, []string{"read", "offline_access"}
		}, redeemed, ""},
		{"a target beyond", func(_ *fold.Grant, x *rules.DeviceExchange) { x.Audience = []string{"urn:x"} }, "", rules.InvalidTarget},
	} {
		t.Run(test.name, func(t *testing.T) {
			g, x := allowed(t, tv(), "read", "write", "offline_access"), poll(tv(), t0.Add(time.Second))
			if test.change != nil {
				test.change(&g, &x)
			}
			out := rules.RedeemDeviceCode(g, x, mint())
			want(t, out, test.event, test.reason)
			if out.Issuance != nil && (out.Issuance.Generation != 1 || out.Issuance.Origin != "here") {
				t.Errorf("issued %+v", out.Issuance)
			}
			if pending := test.reason == rules.AuthorizationPending; pending && !out.Refusal.Overturnable {
				t.Error("nobody looks at the log for what was allowed a moment ago")
			}
		})
	}
}

// TestDeviceGetsWhatWasShown and nothing, where that was nothing.
func TestDeviceGetsWhatWasShown(t *testing.T) {
	a := allowance(tv())
	a.Exact = true
	fact, refusal := rules.OpenWithDeviceCode(a, mint(), t0.Add(time.Minute))
	if refusal != nil || len(fact.Scope) > 0 || len(fact.Audience) > 0 {
		t.Errorf("opened %+v, %v", fact, refusal)
	}
}

// TestDeviceCodeIsNoCode has neither endpoint of the one take the other.
func TestDeviceCodeIsNoCode(t *testing.T) {
	want(t, rules.RedeemCode(allowed(t, tv(), "read"), poll(tv(), t0).CodeExchange, mint()), "", rules.InvalidCode)
}

func TestDeviceCodeTwice(t *testing.T) {
	first := t0.Add(time.Second)
	for _, test := range []struct {
		name   string
		after  time.Duration
		change func(*fold.Grant, *rules.DeviceExchange)
		event  string
	}{
		{"the next poll, after a lost answer", 5 * time.Second, nil, ""},
		{"at the end of the grace", pollGrace, nil, ""},
		{"later", pollGrace + time.Second, nil, revoked},
		{"from elsewhere", time.Second, func(_ *fold.Grant, x *rules.DeviceExchange) { x.SameOrigin = false }, revoked},
		{"from elsewhere, with a secret", time.Second, func(_ *fold.Grant, x *rules.DeviceExchange) { x.SameOrigin, x.Client.Public = false, false }, ""},
		{"after a refresh", time.Second, func(g *fold.Grant, _ *rules.DeviceExchange) { g.Current.Generation = 2 }, revoked},
		{"by another client", time.Hour, func(_ *fold.Grant, x *rules.DeviceExchange) { x.Client.ID = "other" }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := allowed(t, tv(), "read", "offline_access")
			g = applied(t, g, rules.RedeemDeviceCode(g, poll(tv(), first), mint()), first)
			x := poll(tv(), first.Add(test.after))
			if test.change != nil {
				test.change(&g, &x)
			}
			want(t, rules.RedeemDeviceCode(g, x, mint()), test.event, rules.InvalidDeviceCode)
		})
	}
}

func TestDeviceGrantEndsWithItsToken(t *testing.T) {
	g := allowed(t, tv(), "read")
	out := rules.RedeemDeviceCode(g, poll(tv(), t0.Add(9*time.Minute)), mint())
	want(t, out, redeemed, "")
	if out.Issuance.HasRefresh() || out.Issuance.Expires > g.Expires || out.Issuance.Expires != t0.Add(9*time.Minute+time.Hour).Unix() {
		t.Errorf("issued %+v of a grant until %d", out.Issuance, g.Expires)
	}
	if !slices.Equal(out.Issuance.Scope, []string{"read"}) {
		t.Errorf("scope %v", out.Issuance.Scope)
	}
}
