package rules_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// people is a client that may ask for all that OpenID Connect has.
func people() fold.Client {
	c := web()
	c.Scope = append(c.Scope, rules.ScopeOpenID, rules.ScopeProfile, rules.ScopeEmail)
	return c
}

func TestOpenIDScopesMustBeAskedFor(t *testing.T) {
	g := opened(t, people())
	wantEqual(t, "without asking", g.Scope, []string{"read", "write"})
	g = opened(t, people(), "openid", "email")
	wantEqual(t, "asked for", g.Scope, []string{"openid", "email"})
	_, refusal := rules.OpenWithCode(rules.Authorization{
		Client: web(), User: alice(), Scope: []string{"openid"}, Challenge: challenge, Now: t0, Policy: rules.DefaultPolicy(),
	}, mint())
	wantRefusal(t, refusal, rules.InvalidScope)

	own, refusal := rules.IssueClientCredentials(rules.ClientCredentials{
		Client: people(), Policy: rules.DefaultPolicy(), Scope: []string{"openid", "read"}, Issuer: issuer, Now: t0,
	}, mint())
	wantRefusal(t, refusal, "")
	wantEqual(t, "a client's own", own.Scope, []string{"read"})
}

// TestOpenIDAudience has the issuer in it, where the UserInfo endpoint is.
func TestOpenIDAudience(t *testing.T) {
	api := []string{"https://api.example"}
	g := opened(t, people(), "openid", "read", "offline_access")
	x := exchange(people(), t0.Add(time.Second))
	x.Audience = api
	first := rules.RedeemCode(g, x, mint())
	wantEqual(t, "code", first.Issuance.Audience, []string{"https://api.example", issuer})
	g = applied(t, g, first, t0.Add(time.Second))

	again := refresh(people(), 1, t0.Add(time.Minute))
	again.Audience = api
	wantEqual(t, "refresh", rules.RefreshToken(g, again, mint()).Issuance.Audience, []string{"https://api.example", issuer})
	again.Scope = []string{"read"}
	wantEqual(t, "refresh without openid", rules.RefreshToken(g, again, mint()).Issuance.Audience, api)
}

func TestNonce(t *testing.T) {
	client := people()
	client.Public, client.PasswordLogin = true, true
	a := rules.Authorization{
		Client: client, User: alice(), Scope: []string{"openid"}, Challenge: challenge, Nonce: strings.Repeat("n", 512),
		AMR: []string{"pwd"}, ACR: "silver", Now: t0, Policy: rules.DefaultPolicy(),
	}
	open := map[string]func(rules.Authorization) (*events.GrantOpened, *rules.Refusal){
		"code": func(a rules.Authorization) (*events.GrantOpened, *rules.Refusal) {
			return rules.OpenWithCode(a, mint())
		},
		"password": func(a rules.Authorization) (*events.GrantOpened, *rules.Refusal) {
			return rules.OpenWithPassword(a, mint(), "here", issuer)
		},
	}
	for name, open := range open {
		fact, refusal := open(a)
		wantRefusal(t, refusal, "")
		if fact.Nonce != a.Nonce || fact.ACR != "silver" {
			t.Errorf("%s: opened %+v", name, fact)
		}
		long := a
		long.Nonce += "n"
		_, refusal = open(long)
		wantRefusal(t, refusal, rules.BadParameter)
	}
	a.Nonce += "n"
	_, refusal := a.CheckCodeRequest()
	wantRefusal(t, refusal, rules.BadParameter)
}

func TestSessionHasItsLevel(t *testing.T) {
	s := rules.OpenSession(alice(), []string{"pwd", "otp"}, "silver", rules.DefaultPolicy(), 1, t0)
	if s.ACR != "silver" || len(s.AMR) != 2 {
		t.Errorf("session %+v", s)
	}
}
