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

func TestPairwiseSubjectIsKept(t *testing.T) {
	fact, refusal := rules.OpenWithCode(rules.Authorization{
		Client: people(), User: alice(), Challenge: challenge, Pairwise: "hidden", Now: t0, Policy: rules.DefaultPolicy(),
	}, mint())
	wantRefusal(t, refusal, "")
	if g := apply(t, fold.Grant{}, *fact, t0); g.Subject() != "hidden" || g.User != alice().ID {
		t.Errorf("grant %+v", g)
	}
	if g := opened(t, people()); g.Subject() != alice().ID {
		t.Errorf("grant %+v", g)
	}
}

// TestExchangeOfAPairwiseToken keeps its sub, and the id that is decided by.
func TestExchangeOfAPairwiseToken(t *testing.T) {
	x := tokenExchange()
	x.Subject.Subject = "hidden"
	got, refusal := rules.ExchangeToken(x, mint())
	wantRefusal(t, refusal, "")
	if got.Subject != "hidden" || got.User != alice().ID {
		t.Errorf("got %+v", got)
	}
	x = delegated()
	actor := aliceToken()
	x.Actor, x.ActorType = &actor, rules.TokenTypeAccess
	got, refusal = rules.ExchangeToken(x, mint())
	wantRefusal(t, refusal, "")
	if last := got.Chain[len(got.Chain)-1].Actor; last.User != alice().ID || got.Act.Subject != alice().ID {
		t.Errorf("got %+v", got)
	}
	actor.Subject = "hidden"
	_, refusal = rules.ExchangeToken(x, mint())
	wantRefusal(t, refusal, rules.ExchangeNotAllowed)
}

func TestSubjectSettings(t *testing.T) {
	const app, other = "https://App.example:8443/callback", "https://other.example/callback"
	for _, test := range []struct {
		name, subjectType, sector string
		redirects                 []string
		want                      string // the sector, "-" for none, empty for refused
	}{
		{"nothing", "", "", []string{app, other}, "-"},
		{"public", "public", "", []string{app}, "app.example"},
		{"pairwise", "pairwise", "", []string{app, app + "/2"}, "app.example"},
		{"a sector of its own", "pairwise", "sector.example", []string{app, other}, "sector.example"},
		{"an IP address", "pairwise", "", []string{"http://127.0.0.1:9999/callback"}, "127.0.0.1"},
		{"two hosts", "pairwise", "", []string{app, other}, ""},
		{"no host", "pairwise", "", []string{"com.example.app:/callback"}, ""},
		{"a host and none", "pairwise", "", []string{app, "com.example.app://app.example/callback"}, ""},
		{"another type", "ephemeral", "", []string{app}, ""},
		{"a sector for nothing", "", "sector.example", []string{app}, ""},
		{"a URL", "pairwise", "https://sector.example", []string{app}, ""},
		{"upper case", "pairwise", "Sector.example", []string{app}, ""},
		{"a port", "pairwise", "sector.example:443", []string{app}, ""},
		{"NUL", "pairwise", "sector\x00.example", []string{app}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := people().ClientSettings
			s.SubjectType, s.SectorIdentifier, s.RedirectURIs = test.subjectType, test.sector, test.redirects
			_, refusal := rules.RegisterClient(fold.Client{}, "app", s, nil, []string{"ES256"})
			if test.want == "" {
				wantRefusal(t, refusal, rules.BadParameter)
				return
			}
			wantRefusal(t, refusal, "")
			if got := fold.Sector(s); got != strings.Trim(test.want, "-") {
				t.Errorf("sector %q", got)
			}
		})
	}
	_, refusal := rules.RegisterClient(fold.Client{}, "kvGsDeypW8d4cQjCP9jcKl2oL2TpC3HTTkoSoKaPV_M", people().ClientSettings, nil, nil)
	wantRefusal(t, refusal, rules.BadParameter)
}

func TestSessionHasItsLevel(t *testing.T) {
	s := rules.OpenSession(alice(), []string{"pwd", "otp"}, "silver", rules.DefaultPolicy(), 1, t0)
	if s.ACR != "silver" || len(s.AMR) != 2 {
		t.Errorf("session %+v", s)
	}
}
