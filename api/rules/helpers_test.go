package rules_test

import (
	"slices"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

const (
	issuer    = "https://issuer.example"
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	callback  = "https://app.example/callback"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func web() fold.Client {
	return fold.Client{ID: "web", Seq: 1, ClientSettings: events.ClientSettings{
		GrantTypes:   []string{rules.GrantAuthorizationCode, rules.GrantRefreshToken, rules.GrantClientCredentials},
		RedirectURIs: []string{callback},
		Scope:        []string{"read", "write"},
		Audience:     []string{"https://api.example", "https://files.example"},
	}}
}

func spa() fold.Client {
	c := web()
	c.ID, c.Public = "spa", true
	c.GrantTypes = []string{rules.GrantAuthorizationCode, rules.GrantRefreshToken}
	return c
}

func alice() fold.User { return fold.User{ID: "5e3b6a1c-0000-4000-8000-000000000001", Seq: 2} }

func holder(c fold.Client) rules.Holder {
	return rules.Holder{Client: c, User: alice(), Policy: rules.DefaultPolicy()}
}

func mint() rules.Minting { return rules.Minting{JTI: "jti", KID: "kid", MACKey: 1} }

// opened is a grant with a code, opened at t0.
func opened(t *testing.T, c fold.Client, scope ...string) fold.Grant {
	t.Helper()
	fact, refusal := rules.OpenWithCode(rules.Authorization{
		Client: c, User: alice(), Scope: scope, RedirectURI: callback, Challenge: challenge,
		AuthTime: t0, Now: t0, Policy: rules.DefaultPolicy(),
	}, mint())
	if refusal != nil {
		t.Fatalf("open: %v", refusal)
	}
	return apply(t, fold.Grant{}, *fact, t0)
}

// at is a grant at a generation; the last was issued at the given time.
func at(t *testing.T, c fold.Client, generation uint32, issued time.Time) fold.Grant {
	t.Helper()
	g := opened(t, c, "read", "write", "offline_access")
	g = applied(t, g, rules.RedeemCode(g, exchange(c, t0.Add(time.Second)), mint()), t0.Add(time.Second))
	for n := uint32(1); n < generation; n++ {
		when := t0.Add(time.Minute)
		if n+1 == generation {
			when = issued
		}
		out := rules.RefreshToken(g, refresh(c, n, when), mint())
		g = applied(t, g, out, when)
	}
	return g
}

func exchange(c fold.Client, now time.Time) rules.CodeExchange {
	return rules.CodeExchange{Holder: holder(c), MACKey: 1, RedirectURI: callback, Verifier: verifier, Issuer: issuer, Origin: "here", Now: now}
}

func refresh(c fold.Client, generation uint32, now time.Time) rules.Refresh {
	return rules.Refresh{Holder: holder(c), Generation: generation, MACKey: 1, Issuer: issuer, Origin: "here", SameOrigin: true, Now: now}
}

func applied(t *testing.T, g fold.Grant, out rules.Outcome, stored time.Time) fold.Grant {
	t.Helper()
	if out.Fact == nil {
		t.Fatalf("no fact: %+v", out.Refusal)
	}
	return apply(t, g, out.Fact, stored)
}

func apply(t *testing.T, g fold.Grant, f events.Fact, stored time.Time) fold.Grant {
	t.Helper()
	subject := events.DefaultRealm.GrantSubject(events.NewGrantID(0, [16]byte{15: 7}))
	next, err := g.Apply(events.Recorded{
		Event: events.Event{ID: "e", Subject: subject, Fact: f}, Seq: g.Seq + 1, Stored: stored,
	})
	if err != nil {
		t.Fatalf("the fold refuses what the rule decided: %v", err)
	}
	return next
}

// want checks an outcome: the type of the event or "", and the reason or "".
func want(t *testing.T, out rules.Outcome, event string, reason rules.Reason) {
	t.Helper()
	var got string
	if out.Fact != nil {
		got = out.Fact.Type()
	}
	if got != event {
		t.Errorf("event = %q, want %q", got, event)
	}
	wantRefusal(t, out.Refusal, reason)
	if (out.Refusal == nil) != (out.Issuance != nil) {
		t.Errorf("refusal %v and issuance %v", out.Refusal, out.Issuance)
	}
}

func wantRefusal(t *testing.T, r *rules.Refusal, reason rules.Reason) {
	t.Helper()
	switch {
	case r == nil && reason != "":
		t.Errorf("accepted, want refusal %s", reason)
	case r != nil && r.Reason != reason:
		t.Errorf("refused with %v, want %q", r, reason)
	}
}

func wantEqual(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s = %q, want %q", what, got, want)
	}
}
