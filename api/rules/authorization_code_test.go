package rules_test

import (
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

const redeemed = "code.redeemed.v1"

func TestRedeemCode(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*fold.Grant, *rules.CodeExchange)
		event  string
		reason rules.Reason
	}{
		{"as asked for", nil, redeemed, ""},
		{"another client", func(_ *fold.Grant, x *rules.CodeExchange) { x.Client.ID = "other" }, "", rules.InvalidCode},
		{"another redirect", func(_ *fold.Grant, x *rules.CodeExchange) { x.RedirectURI = callback + "/" }, "", rules.InvalidCode},
		{"no redirect where one was given", func(_ *fold.Grant, x *rules.CodeExchange) { x.RedirectURI = "" }, "", rules.InvalidCode},
		{"no redirect where none was given", func(g *fold.Grant, x *rules.CodeExchange) {
			code := *g.Code
			code.RedirectGiven = false
			g.Code, x.RedirectURI = &code, ""
		}, redeemed, ""},
		{"another verifier", func(_ *fold.Grant, x *rules.CodeExchange) { x.Verifier = "x" + verifier[1:] }, "", rules.InvalidCode},
		{"no verifier", func(_ *fold.Grant, x *rules.CodeExchange) { x.Verifier = "" }, "", rules.InvalidCode},
		{"the challenge as verifier (plain)", func(_ *fold.Grant, x *rules.CodeExchange) { x.Verifier = challenge }, "", rules.InvalidCode},
		{"a verifier without a challenge", func(g *fold.Grant, _ *rules.CodeExchange) {
			code := *g.Code
			code.Challenge = ""
			g.Code = &code
		}, "", rules.InvalidCode},
		{"expired", func(_ *fold.Grant, x *rules.CodeExchange) { x.Now = t0.Add(time.Minute) }, "", rules.InvalidCode},
		{"policy made shorter", func(_ *fold.Grant, x *rules.CodeExchange) { x.Policy.Code = time.Second }, "", rules.InvalidCode},
		{"revoked", func(g *fold.Grant, _ *rules.CodeExchange) { g.RevokedReason = events.ReasonCodeReuse }, "", rules.InvalidCode},
		{"user disabled", func(_ *fold.Grant, x *rules.CodeExchange) { x.User.Disabled = true }, "", rules.InvalidCode},
		{"not there", func(g *fold.Grant, _ *rules.CodeExchange) { *g = fold.Grant{} }, "", rules.BehindTheToken},
		{"a scope beyond", func(_ *fold.Grant, x *rules.CodeExchange) { x.Scope = []string{"admin"} }, "", rules.InvalidScope},
		{"a target beyond", func(_ *fold.Grant, x *rules.CodeExchange) { x.Audience = []string{"urn:x"} }, "", rules.InvalidTarget},
	} {
		t.Run(test.name, func(t *testing.T) {
			g, x := opened(t, web(), "read"), exchange(web(), t0.Add(time.Second))
			if test.change != nil {
				test.change(&g, &x)
			}
			want(t, rules.RedeemCode(g, x, mint()), test.event, test.reason)
		})
	}
}

func TestRefreshTokenOnlyWhereAskedForAndAllowed(t *testing.T) {
	codeOnly := web()
	codeOnly.GrantTypes = []string{rules.GrantAuthorizationCode}
	for _, test := range []struct {
		name   string
		client fold.Client
		scope  []string
		want   bool
	}{
		{"RFC dialect", web(), []string{"read", "offline_access"}, true},
		{"Login API", web(), []string{"offline"}, true},
		{"not asked for", web(), []string{"read"}, false},
		{"nothing asked for", web(), nil, false},
		{"not allowed", codeOnly, []string{"read", "offline_access"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := opened(t, test.client, test.scope...)
			out := rules.RedeemCode(g, exchange(test.client, t0.Add(time.Second)), mint())
			want(t, out, redeemed, "")
			if out.Issuance.HasRefresh() != test.want {
				t.Errorf("refresh token: %v", out.Issuance.HasRefresh())
			}
		})
	}
}

func TestReplayedCode(t *testing.T) {
	redeemedAt := t0.Add(time.Second)
	for _, test := range []struct {
		name   string
		after  time.Duration
		change func(*fold.Grant, *rules.CodeExchange)
		event  string
	}{
		{"at once", 0, nil, ""},
		{"within 10 s", 10 * time.Second, nil, ""},
		{"later", 12 * time.Second, nil, revoked},
		{"after the code's own end", 2 * time.Minute, nil, revoked},
		{"after generation 1 was used", time.Second, func(g *fold.Grant, _ *rules.CodeExchange) { g.Current.Generation = 2 }, revoked},
		{"without PKCE", time.Second, func(g *fold.Grant, x *rules.CodeExchange) {
			code := *g.Code
			code.Challenge = ""
			g.Code, x.Verifier = &code, ""
		}, revoked},
		{"wrong verifier, later", time.Minute, func(_ *fold.Grant, x *rules.CodeExchange) { x.Verifier = "x" + verifier[1:] }, ""},
		{"wrong client, later", time.Minute, func(_ *fold.Grant, x *rules.CodeExchange) { x.Client.ID = "other" }, ""},
		{"wrong redirect, later", time.Minute, func(_ *fold.Grant, x *rules.CodeExchange) { x.RedirectURI = "https://x" }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := opened(t, web(), "read", "offline_access")
			g = applied(t, g, rules.RedeemCode(g, exchange(web(), redeemedAt), mint()), redeemedAt)
			x := exchange(web(), redeemedAt.Add(test.after))
			if test.change != nil {
				test.change(&g, &x)
			}
			want(t, rules.RedeemCode(g, x, mint()), test.event, rules.InvalidCode)
		})
	}
}

func TestCodeRequest(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*rules.Authorization)
		reason rules.Reason
	}{
		{"as registered", nil, ""},
		{"no redirect, one registered", func(a *rules.Authorization) { a.RedirectURI = "" }, ""},
		{"no redirect, two registered", func(a *rules.Authorization) {
			a.RedirectURI, a.Client.RedirectURIs = "", []string{callback, callback + "2"}
		}, rules.MissingParameter},
		{"another redirect", func(a *rules.Authorization) { a.RedirectURI = callback + "?x" }, rules.RedirectNotAllowed},
		{"redirect in another case", func(a *rules.Authorization) { a.RedirectURI = "https://APP.example/callback" }, rules.RedirectNotAllowed},
		{"redirect with user information", func(a *rules.Authorization) { a.RedirectURI = "https://app.example@evil.example/callback" }, rules.RedirectNotAllowed},
		{"redirect with dots", func(a *rules.Authorization) { a.RedirectURI = "https://app.example/x/..%2fcallback" }, rules.RedirectNotAllowed},
		{"not a grant type of the client", func(a *rules.Authorization) { a.Client.GrantTypes = nil }, rules.UnauthorizedClient},
		{"a public client without PKCE", func(a *rules.Authorization) { a.Client.Public, a.Challenge = true, "" }, rules.ChallengeRequired},
		{"PKCE required", func(a *rules.Authorization) { a.Client.RequirePKCE, a.Challenge = true, "" }, rules.ChallengeRequired},
		{"a confidential client without PKCE", func(a *rules.Authorization) { a.Challenge = "" }, ""},
		{"a scope beyond", func(a *rules.Authorization) { a.Scope = []string{"admin"} }, rules.InvalidScope},
		{"a target beyond", func(a *rules.Authorization) { a.Audience = []string{"https://other.example"} }, rules.InvalidTarget},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := rules.Authorization{
				Client: web(), User: alice(), RedirectURI: callback, Challenge: challenge,
				Scope: []string{"read"}, Now: t0, Policy: rules.DefaultPolicy(),
			}
			if test.change != nil {
				test.change(&a)
			}
			_, refusal := rules.OpenWithCode(a, mint())
			wantRefusal(t, refusal, test.reason)
		})
	}
}

func TestPasswordLogin(t *testing.T) {
	marked := spa()
	marked.PasswordLogin = true
	for _, test := range []struct {
		name   string
		client fold.Client
		reason rules.Reason
	}{
		{"marked", marked, ""},
		{"not marked", spa(), rules.UnauthorizedClient},
		{"confidential", web(), rules.UnauthorizedClient},
	} {
		t.Run(test.name, func(t *testing.T) {
			fact, refusal := rules.OpenWithPassword(rules.Authorization{
				Client: test.client, User: alice(), Scope: []string{"read", "offline"}, AuthTime: t0, Now: t0, Policy: rules.DefaultPolicy(),
			}, mint(), "here", issuer)
			wantRefusal(t, refusal, test.reason)
			if refusal != nil {
				return
			}
			g := apply(t, fold.Grant{}, *fact, t0)
			want(t, rules.RefreshToken(g, refresh(test.client, 1, t0.Add(time.Second)), mint()), rotated, "")
		})
	}
}
