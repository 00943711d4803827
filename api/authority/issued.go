package authority

import (
	"context"

	"github.com/chancery-authority/chancery/api/endings"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// ClientCredentials answers a client that asks for itself (RFC 6749 §4.4).
func (a *Authority) ClientCredentials(ctx context.Context, r TokenRequest) (*Tokens, error) {
	m, err := a.minting(r.Client, r.LoginClaims)
	if err != nil {
		return nil, err
	}
	p := a.spread(r.Client.ID)
	fact, refusal := rules.IssueClientCredentials(rules.ClientCredentials{
		Client: r.Client, Policy: a.policy(r.Client), Scope: r.Scope, Audience: r.Audience, Issuer: a.Issuer, Now: a.Feed.Now(p),
	}, m)
	if refusal != nil {
		return nil, refusal
	}
	fact.Origin = a.Addresses.Hash(r.Client.ID, r.Caller.Address)
	return a.issue(ctx, r, *fact, *fact, a.claims(p, *fact))
}

// An ExchangeRequest is what a token exchange has beside what all token
// requests have (RFC 8693 §2.1).
type ExchangeRequest struct {
	TokenRequest
	SubjectToken string
	// ActorToken is empty for impersonation; ActorType is its type, as
	// rules.CheckExchangeTypes accepted it.
	ActorToken, ActorType string
}

// ExchangeToken answers a token exchange (RFC 8693 §2).
func (a *Authority) ExchangeToken(ctx context.Context, r ExchangeRequest) (*Tokens, error) {
	if refusal := rules.CheckExchange(r.Client, r.ActorToken != ""); refusal != nil {
		return nil, refusal
	}
	m, err := a.minting(r.Client, r.LoginClaims)
	if err != nil {
		return nil, err
	}
	x, err := a.exchange(ctx, r)
	if err != nil {
		return nil, err
	}
	fact, refusal := rules.ExchangeToken(x, m)
	if refusal != nil {
		return nil, aboutToken(x.Subject.Grant, x.Subject.User, refusal)
	}
	fact.Origin = a.Addresses.Hash(r.Client.ID, r.Caller.Address)
	c := a.claims(x.Subject.Partition, fact.AccessTokenIssued)
	c.Grant, c.UserEpoch, c.Act, c.MayAct, c.Chain = fact.Grant, fact.UserEpoch, fact.Act, fact.MayAct, fact.Chain
	c.User = x.Subject.User
	tokens, err := a.issue(ctx, r.TokenRequest, fact.AccessTokenIssued, *fact, c)
	if err != nil {
		return nil, err
	}
	tokens.Type = rules.TokenTypeAccess
	return tokens, nil
}

// exchange is what the rule decides on. Both tokens are verified by one proof of
// freshness, so that none was active only before the other.
func (a *Authority) exchange(ctx context.Context, r ExchangeRequest) (x rules.TokenExchange, err error) {
	x = rules.TokenExchange{
		Client: r.Client, Policy: a.policy(r.Client), ActorType: r.ActorType,
		Scope: r.Scope, Audience: r.Audience, Issuer: a.Issuer,
	}
	tokens := []presented{{text: r.SubjectToken, parameter: "subject_token", reason: rules.InvalidSubjectToken}}
	if r.ActorToken != "" {
		tokens = append(tokens, presented{text: r.ActorToken, parameter: "actor_token", reason: rules.InvalidActorToken})
	}
	if err := a.accept(ctx, tokens); err != nil {
		return x, err
	}
	x.Subject = tokens[0].seen()
	if len(tokens) > 1 {
		actor := tokens[1].seen()
		x.Actor = &actor
	}
	x.Now = a.Feed.Now(x.Subject.Partition)
	return x, nil
}

// A presented is a token that came with a request, and how it is refused.
type presented struct {
	text      string
	parameter string
	reason    rules.Reason
	claims    jose.Claims
}

// accept verifies tokens and reads their claims. Whatever is wrong with one, the
// answer is the same (RFC 8693 §2.2.2); only the log tells.
func (a *Authority) accept(ctx context.Context, tokens []presented) (err error) {
	var all []rules.Link
	keys := a.Keys.Verifier()
	for i, t := range tokens {
		if tokens[i].claims, err = a.verify(ctx, t.text); err != nil {
			return badCredential(err, t.reason, t.parameter, events.GrantID{})
		}
		all = append(all, lineage(tokens[i].claims)...)
	}
	if err := a.requireFresh(ctx, all); err != nil {
		return err
	}
	for _, t := range tokens {
		if err := a.verifiedBy(ctx, keys, t.text); err != nil {
			return badCredential(err, t.reason, t.parameter, events.GrantID{})
		}
		switch active, err := a.stand(ctx, lineage(t.claims)); {
		case err != nil:
			return err
		case !active:
			return aboutToken(t.claims.Grant, t.claims.User, &rules.Refusal{
				Reason: t.reason, Parameter: t.parameter, Detail: "it was revoked, its client or user disabled, or its user cut off",
			})
		}
	}
	return nil
}

// aboutToken is a refusal with the grant and the resource owner of an access
// token that was verified, if it has them.
func aboutToken(grant events.GrantID, user string, refusal *rules.Refusal) *rules.Refusal {
	if grant.IsZero() {
		return refusal
	}
	return refusal.About(grant, user)
}

// seen is what the rules see of a token.
func (t presented) seen() rules.Presented { return endings.Presented(t.claims) }

// claims are those that every token outside a grant's rotation has.
func (a *Authority) claims(p events.Partition, f events.AccessTokenIssued) jose.Claims {
	return jose.Claims{
		Issuer: a.Issuer, Subject: f.Subject, Audience: f.Audience, JTI: f.JTI,
		IssuedAt: f.IssuedAt, Expires: f.Expires, ClientID: f.Client, Scope: f.Scope,
		Partition: p, ClientEpoch: f.ClientEpoch,
	}
}

// issue signs a token outside a grant's rotation and makes its event durable.
// f is what fact has of it.
func (a *Authority) issue(ctx context.Context, r TokenRequest, f events.AccessTokenIssued, fact events.Fact, c jose.Claims) (*Tokens, error) {
	if err := a.addLoginClaims(ctx, &c, f.LoginClaims); err != nil {
		return nil, err
	}
	text, err := a.sign(ctx, f.KID, c)
	if err != nil {
		return nil, err
	}
	e := a.event(a.Log.Realm().IssuedSubject(c.Partition, r.Client.ID), r.Caller.meta(clientActor(r.Client.ID)), fact)
	a.sealClient(&e, r.Client, f.Origin, r.Caller)
	if _, err := a.Log.Append(ctx, eventlog.Unit{Event: e}); err != nil {
		return nil, unavailable("append "+fact.Type(), err)
	}
	a.lastOrigin.Store(r.Client.ID, f.Origin)
	return &Tokens{AccessToken: text, ExpiresIn: f.Expires - f.IssuedAt, Scope: f.Scope}, nil
}
