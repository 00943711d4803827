package rules_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

var aliceGrant = events.NewGrantID(2, [16]byte{15: 9})

func gateway() fold.Client {
	c := web()
	c.ID, c.Epoch = "gateway", 4
	c.GrantTypes = []string{rules.GrantTokenExchange}
	c.TokenExchange = events.ExchangeSettings{
		Impersonation: true, Delegation: true, MaxDepth: 2, Audiences: []string{"https://ledger.example"},
	}
	return c
}

// aliceToken is one of alice's, at the web client.
func aliceToken() rules.Presented {
	return rules.Presented{
		JTI: "subject", Client: "web", ClientEpoch: 1, Subject: alice().ID, User: alice().ID, UserEpoch: 3,
		Scope: []string{"read", "write", "offline_access"}, Audience: []string{"https://api.example", "https://else.example"},
		Expires: t0.Unix() + 600, Partition: 2, Grant: aliceGrant,
	}
}

// serviceToken is one that a client has by its own credentials.
func serviceToken() rules.Presented {
	return rules.Presented{JTI: "actor", Client: "service", ClientEpoch: 2, Subject: "service", Expires: t0.Unix() + 300, Partition: 1}
}

func tokenExchange() rules.TokenExchange {
	return rules.TokenExchange{Client: gateway(), Policy: rules.DefaultPolicy(), Subject: aliceToken(), Issuer: issuer, Now: t0}
}

func delegated() rules.TokenExchange {
	x := tokenExchange()
	actor := serviceToken()
	x.Actor, x.ActorType = &actor, rules.TokenTypeServer
	return x
}

func TestImpersonation(t *testing.T) {
	got, refusal := rules.ExchangeToken(tokenExchange(), mint())
	wantRefusal(t, refusal, "")
	want := &events.TokenExchanged{
		AccessTokenIssued: events.AccessTokenIssued{
			JTI: "jti", Client: "gateway", ClientEpoch: 4, Subject: alice().ID, IssuedAt: t0.Unix(), Expires: t0.Unix() + 600,
			Scope: []string{"read", "write"}, Audience: []string{"https://api.example"}, KID: "kid",
		},
		Grant: aliceGrant, UserEpoch: 3, Chain: []events.Ancestor{{JTI: "subject", Client: "web", ClientEpoch: 1}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestDelegation wraps who acted before in who acts now, and keeps everything
// that the token was made from.
func TestDelegation(t *testing.T) {
	x := delegated()
	before := &events.Actor{Subject: "first", Client: "first"}
	x.Subject.Act, x.Subject.Chain = before, []events.Ancestor{{JTI: "root", Client: "web"}}
	got, refusal := rules.ExchangeToken(x, mint())
	wantRefusal(t, refusal, "")
	if want := (&events.Actor{Subject: "service", Client: "service", Act: before}); !reflect.DeepEqual(got.Act, want) {
		t.Errorf("act = %+v, want %+v", got.Act, want)
	}
	want := []events.Ancestor{
		{JTI: "root", Client: "web"},
		{JTI: "subject", Client: "web", ClientEpoch: 1},
		{JTI: "actor", Client: "service", ClientEpoch: 2, Actor: &events.ActorToken{Partition: 1}},
	}
	if !reflect.DeepEqual(got.Chain, want) {
		t.Errorf("chain = %+v, want %+v", got.Chain, want)
	}
	if got.Expires != x.Actor.Expires {
		t.Errorf("it outlives the actor token by %d s", got.Expires-x.Actor.Expires)
	}
}

// TestDelegationByAUser keeps what the actor token depends on: its grant and
// user are not the subject's.
func TestDelegationByAUser(t *testing.T) {
	x := delegated()
	x.ActorType = rules.TokenTypeJWT
	x.Actor.Subject, x.Actor.User = "bob", "bob"
	x.Actor.Grant, x.Actor.UserEpoch = events.NewGrantID(1, [16]byte{15: 1}), 7
	got, refusal := rules.ExchangeToken(x, mint())
	wantRefusal(t, refusal, "")
	want := &events.ActorToken{Partition: 1, Grant: x.Actor.Grant, User: "bob", UserEpoch: 7}
	if actor := got.Chain[len(got.Chain)-1].Actor; !reflect.DeepEqual(actor, want) {
		t.Errorf("actor = %+v, want %+v", actor, want)
	}
}

func TestExchangeOfAClientsOwnToken(t *testing.T) {
	x := tokenExchange()
	x.Subject = serviceToken()
	x.Subject.Scope = []string{"read"}
	got, refusal := rules.ExchangeToken(x, mint())
	wantRefusal(t, refusal, "")
	if got.Subject != "service" || !got.Grant.IsZero() || got.UserEpoch != 0 || got.Chain[0].JTI != "actor" {
		t.Errorf("got %+v", got)
	}
}

func TestExchangeRefusals(t *testing.T) {
	two := []events.Ancestor{{JTI: "a", Client: "web"}, {JTI: "b", Client: "web"}}
	for name, test := range map[string]struct {
		change func(*rules.TokenExchange)
		reason rules.Reason
	}{
		"too deep":                   {func(x *rules.TokenExchange) { x.Subject.Chain = two }, rules.ExchangeNotAllowed},
		"actors count for no depth":  {func(x *rules.TokenExchange) { x.Subject.Chain = deep() }, ""},
		"no depth of its own":        {func(x *rules.TokenExchange) { x.Client.TokenExchange.MaxDepth = 0 }, ""},
		"no depth, exchanged before": {func(x *rules.TokenExchange) { x.Client.TokenExchange.MaxDepth, x.Subject.Chain = 0, two[:1] }, rules.ExchangeNotAllowed},
		"an exchanged actor":         {func(x *rules.TokenExchange) { x.Actor.Chain = two[:1] }, rules.ExchangeNotAllowed},
		"a user for a server":        {func(x *rules.TokenExchange) { x.Actor.Subject, x.Actor.Grant = "bob", aliceGrant }, rules.InvalidActorToken},
		"a user as an access token": {func(x *rules.TokenExchange) {
			x.Actor.Subject, x.Actor.Grant, x.ActorType = "bob", aliceGrant, rules.TokenTypeAccess
		}, ""},
		"scope beyond the subject":  {func(x *rules.TokenExchange) { x.Subject.Scope, x.Scope = []string{"read"}, []string{"write"} }, rules.InvalidScope},
		"scope beyond the client":   {func(x *rules.TokenExchange) { x.Client.Scope, x.Scope = []string{"read"}, []string{"write"} }, rules.InvalidScope},
		"a scope to refresh":        {func(x *rules.TokenExchange) { x.Scope = []string{"offline_access"} }, rules.InvalidScope},
		"no scope in common":        {func(x *rules.TokenExchange) { x.Client.Scope = nil }, rules.InvalidScope},
		"audience beyond":           {func(x *rules.TokenExchange) { x.Audience = []string{"https://else.example"} }, rules.InvalidTarget},
		"one of two beyond":         {func(x *rules.TokenExchange) { x.Audience = []string{"https://api.example", "x"} }, rules.InvalidTarget},
		"the subject ends now":      {func(x *rules.TokenExchange) { x.Subject.Expires = t0.Unix() }, rules.InvalidSubjectToken},
		"the actor ended":           {func(x *rules.TokenExchange) { x.Actor.Expires = t0.Unix() }, rules.InvalidActorToken},
		"may_act is the actor":      {mayAct("sub", "service"), ""},
		"may_act in full":           {mayAct("sub", "service", "iss", issuer, "client_id", "service"), ""},
		"may_act is another":        {mayAct("sub", "gateway"), rules.ExchangeNotAllowed},
		"may_act of another issuer": {mayAct("sub", "service", "iss", "https://evil.example"), rules.ExchangeNotAllowed},
		"may_act not understood":    {mayAct("sub", "service", "org", "x"), rules.ExchangeNotAllowed},
		"may_act names nobody":      {mayAct("iss", issuer), rules.ExchangeNotAllowed},
		"may_act is empty":          {mayAct(), rules.ExchangeNotAllowed},
		"may_act, nobody acts": {func(x *rules.TokenExchange) {
			mayAct("sub", "service")(x)
			x.Actor = nil
		}, rules.ExchangeNotAllowed},
		"may_act is the client itself": {func(x *rules.TokenExchange) {
			mayAct("sub", "gateway")(x)
			x.Actor = nil
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			x := delegated()
			test.change(&x)
			got, refusal := rules.ExchangeToken(x, mint())
			wantRefusal(t, refusal, test.reason)
			if (got == nil) != (refusal != nil) {
				t.Errorf("fact %+v and refusal %v", got, refusal)
			}
		})
	}
}

// deep is one exchange with an actor.
func deep() []events.Ancestor {
	return []events.Ancestor{{JTI: "a", Client: "web"}, {JTI: "b", Client: "service", Actor: &events.ActorToken{}}}
}

func mayAct(pairs ...string) func(*rules.TokenExchange) {
	claims := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		claims[pairs[i]] = pairs[i+1]
	}
	return func(x *rules.TokenExchange) { x.Subject.MayAct = claims }
}

// TestMayActStays: neither the holder nor a policy can take it off.
func TestMayActStays(t *testing.T) {
	x := delegated()
	x.Client.TokenExchange.MayAct = "other"
	got, _ := rules.ExchangeToken(x, mint())
	if want := map[string]string{"sub": "other"}; !reflect.DeepEqual(got.MayAct, want) {
		t.Errorf("by policy: %v, want %v", got.MayAct, want)
	}
	mayAct("sub", "service")(&x)
	got, _ = rules.ExchangeToken(x, mint())
	if !reflect.DeepEqual(got.MayAct, x.Subject.MayAct) {
		t.Errorf("after an exchange: %v, want %v", got.MayAct, x.Subject.MayAct)
	}
}

func TestExchangedTargets(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*rules.TokenExchange)
		want   string
	}{
		"of the subject, as far as allowed": {func(*rules.TokenExchange) {}, "https://api.example"},
		"the client's own":                  {func(x *rules.TokenExchange) { x.Subject.Audience = []string{issuer} }, "https://api.example https://files.example"},
		"nobody's":                          {func(x *rules.TokenExchange) { x.Subject.Audience, x.Client.Audience = nil, nil }, issuer},
		"beyond the client's, by policy":    {func(x *rules.TokenExchange) { x.Audience = []string{"https://ledger.example"} }, "https://ledger.example"},
		"beyond the subject's":              {func(x *rules.TokenExchange) { x.Audience = []string{"https://files.example"} }, "https://files.example"},
	} {
		t.Run(name, func(t *testing.T) {
			x := tokenExchange()
			test.change(&x)
			got, refusal := rules.ExchangeToken(x, mint())
			wantRefusal(t, refusal, "")
			wantEqual(t, "aud", got.Audience, strings.Fields(test.want))
		})
	}
}

func TestExchangeLifetime(t *testing.T) {
	x := tokenExchange()
	x.Subject.Expires = t0.Add(rules.AccessTokenCap).Unix()
	x.Policy.AccessToken = time.Minute
	if got, _ := rules.ExchangeToken(x, mint()); got.Expires != t0.Unix()+60 {
		t.Errorf("lives %d s, want the client's minute", got.Expires-t0.Unix())
	}
}

func TestWhoMayExchange(t *testing.T) {
	for name, test := range map[string]struct {
		public                bool
		settings              events.ExchangeSettings
		impersonate, delegate rules.Reason
	}{
		"nothing":       {false, events.ExchangeSettings{}, rules.UnauthorizedClient, rules.UnauthorizedClient},
		"impersonation": {false, events.ExchangeSettings{Impersonation: true}, "", rules.UnauthorizedClient},
		"delegation":    {false, events.ExchangeSettings{Delegation: true}, rules.UnauthorizedClient, ""},
		"public":        {true, events.ExchangeSettings{Impersonation: true, Delegation: true}, rules.UnauthorizedClient, rules.UnauthorizedClient},
		"named":         {true, events.ExchangeSettings{Impersonation: true, Delegation: true, Public: true}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := gateway()
			c.Public, c.TokenExchange = test.public, test.settings
			wantRefusal(t, rules.CheckExchange(c, false), test.impersonate)
			wantRefusal(t, rules.CheckExchange(c, true), test.delegate)
		})
	}
}

func TestExchangeTypes(t *testing.T) {
	for name, test := range map[string]struct {
		types  rules.ExchangeTypes
		reason rules.Reason
	}{
		"URN":                       {rules.ExchangeTypes{Subject: rules.TokenTypeAccess}, ""},
		"short":                     {rules.ExchangeTypes{Subject: "access_token", Requested: "access_token"}, ""},
		"server token":              {rules.ExchangeTypes{Subject: "access_token", HasActor: true, Actor: "server_token"}, ""},
		"JWT actor":                 {rules.ExchangeTypes{Subject: "access_token", HasActor: true, Actor: rules.TokenTypeJWT}, ""},
		"no subject type":           {rules.ExchangeTypes{}, rules.MissingParameter},
		"a refresh token":           {rules.ExchangeTypes{Subject: "urn:ietf:params:oauth:token-type:refresh_token"}, rules.BadParameter},
		"a server token as subject": {rules.ExchangeTypes{Subject: "server_token"}, rules.BadParameter},
		"ask for a refresh token":   {rules.ExchangeTypes{Subject: "access_token", Requested: "urn:ietf:params:oauth:token-type:refresh_token"}, rules.BadParameter},
		"actor without a type":      {rules.ExchangeTypes{Subject: "access_token", HasActor: true}, rules.MissingParameter},
		"a type without actor":      {rules.ExchangeTypes{Subject: "access_token", Actor: "server_token"}, rules.BadParameter},
		"actor of another type":     {rules.ExchangeTypes{Subject: "access_token", HasActor: true, Actor: "urn:ietf:params:oauth:token-type:saml2"}, rules.BadParameter},
	} {
		t.Run(name, func(t *testing.T) { wantRefusal(t, rules.CheckExchangeTypes(test.types), test.reason) })
	}
}

func TestExchangeSettings(t *testing.T) {
	for name, test := range map[string]struct {
		client func(*events.ClientSettings)
		ok     bool
	}{
		"nothing":           {func(*events.ClientSettings) {}, true},
		"the deepest":       {func(s *events.ClientSettings) { s.TokenExchange.MaxDepth = rules.MaxExchangeDepth }, true},
		"too deep":          {func(s *events.ClientSettings) { s.TokenExchange.MaxDepth = rules.MaxExchangeDepth + 1 }, false},
		"negative":          {func(s *events.ClientSettings) { s.TokenExchange.MaxDepth = -1 }, false},
		"public by mistake": {func(s *events.ClientSettings) { s.TokenExchange.Public = true }, false},
		"no client":         {func(s *events.ClientSettings) { s.TokenExchange.MayAct = "a b" }, false},
		"a control":         {func(s *events.ClientSettings) { s.TokenExchange.Audiences = []string{"a\n"} }, false},
		"public, not named": {func(s *events.ClientSettings) { s.Public, s.GrantTypes = true, []string{rules.GrantTokenExchange} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := gateway().ClientSettings
			test.client(&s)
			_, refusal := rules.RegisterClient(fold.Client{}, "c", s, nil, nil)
			if (refusal == nil) != test.ok {
				t.Errorf("refusal %v, ok is %v", refusal, test.ok)
			}
		})
	}
}
