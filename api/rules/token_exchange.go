package rules

import (
	"slices"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// MaxExchangeDepth is how many exchanges a token can at most be away from its
// root. It bounds the size of tokens, which name all that they were made from.
const MaxExchangeDepth = 8

// A Presented is a subject or actor token that was verified and is active.
type Presented struct {
	JTI         string
	Client      string
	ClientEpoch uint64
	Subject     string
	// User is the resource owner's id, which Subject is too unless it is pairwise;
	// empty for a client's own token.
	User      string
	UserEpoch uint64
	Scope     []string
	Audience  []string
	// IssuedAt and Expires are in Unix seconds.
	IssuedAt  int64
	Expires   int64
	Partition events.Partition
	// Grant is zero for a token that comes from client credentials.
	Grant events.GrantID
	// Act, MayAct and Chain are as in events.TokenExchanged.
	Act    *events.Actor
	MayAct map[string]string
	Chain  []events.Ancestor
}

// isClientsOwn reports whether a client got the token by its own credentials:
// the Login API's server token.
func (p Presented) isClientsOwn() bool {
	return p.Grant.IsZero() && p.Subject == p.Client && len(p.Chain) == 0
}

// isPairwise reports whether the token's sub hides its user's id.
func (p Presented) isPairwise() bool { return p.User != "" && p.User != p.Subject }

// depth is how many exchanges the token is away from its root.
func (p Presented) depth() (n int) {
	for _, a := range p.Chain {
		if a.Actor == nil {
			n++
		}
	}
	return n
}

// A TokenExchange asks for a token in the place of another (RFC 8693 §2.1).
type TokenExchange struct {
	Client  fold.Client
	Policy  Policy
	Subject Presented
	// Actor is nil for impersonation, and for a token with less of the same.
	Actor *Presented
	// ActorType is actor_token_type, as CheckExchangeTypes accepted it.
	ActorType string
	Scope     []string
	Audience  []string
	Issuer    string
	Now       time.Time
}

// CheckExchange reports whether a client may exchange tokens at all, with an
// actor token (delegation) or without one (impersonation; RFC 8693 §1.1).
func CheckExchange(c fold.Client, delegation bool) *Refusal {
	s := c.TokenExchange
	switch {
	case c.Public && !s.Public:
		return refuse(UnauthorizedClient, "grant_type", "a public client that is not allowed to exchange")
	case delegation && !s.Delegation:
		return refuse(UnauthorizedClient, "actor_token", "not allowed to delegate")
	case !delegation && !s.Impersonation:
		return refuse(UnauthorizedClient, "actor_token", "not allowed to exchange without an actor token")
	}
	return nil
}

// ExchangeToken decides a token exchange. The new token never outlives those
// that it is made from: their revocations are remembered until they expire,
// and would be forgotten while it lives.
func ExchangeToken(x TokenExchange, m Minting) (*events.TokenExchanged, *Refusal) {
	checks := []func(TokenExchange) *Refusal{checkSubject, checkActor, checkMayAct}
	for _, check := range checks {
		if refusal := check(x); refusal != nil {
			return nil, refusal
		}
	}
	scope, refusal := narrowScope(slices.DeleteFunc(slices.Clone(x.Subject.Scope), needsUser), x.Client.ClientSettings, x.Scope)
	if refusal != nil {
		return nil, refusal
	}
	audience, refusal := exchangedAudience(x)
	if refusal != nil {
		return nil, refusal
	}
	made := &events.TokenExchanged{
		AccessTokenIssued: events.AccessTokenIssued{
			JTI: m.JTI, Client: x.Client.ID, ClientEpoch: x.Client.Epoch, Subject: x.Subject.Subject,
			IssuedAt: x.Now.Unix(), Expires: x.end().Unix(), Scope: scope, Audience: audience, KID: m.KID, LoginClaims: m.LoginClaims,
		},
		Grant: x.Subject.Grant, UserEpoch: x.Subject.UserEpoch,
		Act: x.act(), MayAct: x.mayAct(), Chain: x.chain(),
	}
	if x.Subject.isPairwise() {
		made.User = x.Subject.User
	}
	return made, nil
}

// checkSubject refuses a token that ended while it was looked at, and one that
// was exchanged too often.
func checkSubject(x TokenExchange) *Refusal {
	if x.Now.Unix() >= x.Subject.Expires {
		return refuse(InvalidSubjectToken, "subject_token", "expires now")
	}
	if x.Subject.depth() >= max(1, x.Client.TokenExchange.MaxDepth) {
		return refuse(ExchangeNotAllowed, "subject_token", "exchanged as often as the client may")
	}
	return nil
}

// checkActor refuses an actor token that was itself exchanged: who acts by it
// may be somebody else, and act has no place to tell. It also keeps the chain of
// a token at two for each exchange. One with a pairwise subject is refused
// because the chain would tell its user's id.
func checkActor(x TokenExchange) *Refusal {
	switch {
	case x.Actor == nil:
		return nil
	case len(x.Actor.Chain) > 0:
		return refuse(ExchangeNotAllowed, "actor_token", "an exchanged token cannot act")
	case x.Actor.isPairwise():
		return refuse(ExchangeNotAllowed, "actor_token", "a pairwise subject cannot act")
	case x.Now.Unix() >= x.Actor.Expires:
		return refuse(InvalidActorToken, "actor_token", "expires now")
	case x.ActorType == TokenTypeServer && !x.Actor.isClientsOwn():
		return refuse(InvalidActorToken, "actor_token", "not a client's own token")
	}
	return nil
}

// checkMayAct holds the party that acts, or the client that impersonates, to
// the may_act of the subject token (RFC 8693 §4.4). A claim that is not known
// cannot be said to hold.
func checkMayAct(x TokenExchange) *Refusal {
	if x.Subject.MayAct == nil {
		return nil
	}
	party := map[string]string{"iss": x.Issuer, "sub": x.Client.ID, "client_id": x.Client.ID}
	parameter := "subject_token"
	if x.Actor != nil {
		party["sub"], party["client_id"] = x.Actor.Subject, x.Actor.Client
		parameter = "actor_token"
	}
	names := 0
	for name, value := range x.Subject.MayAct {
		if known, ok := party[name]; !ok || known != value {
			return refuse(ExchangeNotAllowed, parameter, "not the party of may_act")
		}
		if name != "iss" {
			names++
		}
	}
	if names == 0 {
		return refuse(ExchangeNotAllowed, parameter, "may_act names nobody")
	}
	return nil
}

func (x TokenExchange) end() time.Time {
	end := earlier(x.Now.Add(x.Policy.AccessToken), x.Subject.Expires)
	if x.Actor != nil {
		end = earlier(end, x.Actor.Expires)
	}
	return end
}

// exchangedAudience is what was asked for, within what the client's exchanged
// tokens may be for. Without a wish it is what the subject token is for, as far
// as that is allowed, or else what all of the client's tokens are for.
func exchangedAudience(x TokenExchange) ([]string, *Refusal) {
	allowed := slices.Concat(x.Client.Audience, x.Client.TokenExchange.Audiences)
	if len(x.Audience) > 0 {
		return narrowAudience(allowed, x.Audience)
	}
	same := slices.DeleteFunc(slices.Clone(x.Subject.Audience), func(a string) bool {
		return !slices.Contains(allowed, a)
	})
	switch {
	case len(same) > 0:
		return same, nil
	case len(x.Client.Audience) > 0:
		return slices.Clone(x.Client.Audience), nil
	}
	return []string{x.Issuer}, nil
}

// act wraps who acted before in who acts now (RFC 8693 §4.1).
func (x TokenExchange) act() *events.Actor {
	if x.Actor == nil {
		return x.Subject.Act
	}
	return &events.Actor{Subject: x.Actor.Subject, Client: x.Actor.Client, Act: x.Subject.Act}
}

// mayAct stays with what is made from a token, so that no exchange sheds it.
func (x TokenExchange) mayAct() map[string]string {
	switch {
	case x.Subject.MayAct != nil:
		return x.Subject.MayAct
	case x.Client.TokenExchange.MayAct != "":
		return map[string]string{"sub": x.Client.TokenExchange.MayAct}
	}
	return nil
}

func (x TokenExchange) chain() []events.Ancestor {
	chain := append(slices.Clone(x.Subject.Chain), x.Subject.ancestor())
	if x.Actor == nil {
		return chain
	}
	actor := x.Actor.ancestor()
	actor.Actor = &events.ActorToken{Partition: x.Actor.Partition, Grant: x.Actor.Grant}
	if !x.Actor.Grant.IsZero() {
		actor.Actor.User, actor.Actor.UserEpoch = x.Actor.User, x.Actor.UserEpoch
	}
	return append(chain, actor)
}

func (p Presented) ancestor() events.Ancestor {
	return events.Ancestor{JTI: p.JTI, Client: p.Client, ClientEpoch: p.ClientEpoch}
}
