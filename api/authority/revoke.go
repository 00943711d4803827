package authority

import (
	"context"
	"errors"
	"time"

	"github.com/chancery-authority/chancery/api/credential"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// Revoke ends a token for its client (RFC 7009 §2). A token that is not ours,
// or dead already, is no error: the client's purpose is achieved. Nil means
// that the revocation, if there was anything to revoke, is durable.
func (a *Authority) Revoke(ctx context.Context, c fold.Client, token string, caller Caller) error {
	if kind, ok := credential.KindOf(token); ok {
		return a.revokeCredential(ctx, c, kind, token, caller)
	}
	claims, err := a.verify(ctx, token)
	if err != nil {
		return doubt(err) // RFC 7009 §2.2: an invalid token is no error
	}
	return a.revokeAccessToken(ctx, c, claims, caller)
}

func (a *Authority) revokeCredential(ctx context.Context, c fold.Client, kind credential.Kind, token string, caller Caller) error {
	if kind != credential.RefreshToken {
		return nil
	}
	claims, err := a.parse(kind, token)
	if err != nil {
		return doubt(err) // RFC 7009 §2.2: an invalid token is no error
	}
	d := grantDecision{
		id: claims.Grant, of: claims, unknown: rules.InvalidRefreshToken, actor: clientActor(c.ID), caller: caller,
		decide: func(g fold.Grant, _ fold.User, now time.Time) rules.Outcome {
			return rules.RevokeRefreshToken(g, c, claims.Generation, now)
		},
	}
	if _, err = d.run(ctx, a); isRefusal(err, rules.InvalidRefreshToken) {
		return nil // lost with the log, and so as invalid
	}
	return err
}

// revokeAccessToken ends one access token and not its grant.
func (a *Authority) revokeAccessToken(ctx context.Context, c fold.Client, claims jose.Claims, caller Caller) error {
	if claims.ClientID != c.ID {
		return aboutToken(claims.Grant, claims.User, &rules.Refusal{Reason: rules.TokenOfAnotherClient, Parameter: "token"})
	}
	if a.Feed.TokenRevoked(claims.JTI) {
		return nil
	}
	e := a.event(a.Log.Realm().RevokedSubject(claims.Partition), caller.meta(clientActor(c.ID)), events.AccessTokenRevoked{
		JTI: claims.JTI, Client: c.ID, Until: claims.Expires,
	})
	if _, err := a.Log.Append(ctx, eventlog.Unit{Event: e}); err != nil {
		return unavailable("append "+e.Fact.Type(), err)
	}
	a.Feed.Learn(claims.Partition, fold.Revocation{JTI: claims.JTI, Until: claims.Expires})
	return nil
}

// Grant is the state of a grant, confirmed on the log, for an administrator.
func (a *Authority) Grant(ctx context.Context, id events.GrantID) (fold.Grant, error) {
	there, err := a.hasPartition(ctx, id.Partition())
	if err == nil && !there {
		err = &rules.Refusal{Reason: rules.NotFound, Parameter: "grant"}
	}
	if err != nil {
		return fold.Grant{}, err
	}
	g, err := a.Reader.Grant(ctx, id)
	if err != nil {
		return g, unavailable("read the grant", err)
	}
	if g, err = catchUp(ctx, a.Log, a.Log.Realm().GrantSubject(id), g, g.Seq); err != nil {
		return g, unavailable("catch up with the grant", err)
	}
	if !g.Exists() {
		return g, &rules.Refusal{Reason: rules.NotFound, Parameter: "grant"}
	}
	return a.afterLosses(g), nil
}

// RevokeGrant ends a grant for an administrator.
func (a *Authority) RevokeGrant(ctx context.Context, id events.GrantID, caller Caller) error {
	if _, err := a.Grant(ctx, id); err != nil {
		return err
	}
	return a.endGrant(ctx, id, adminActor, events.ReasonAdminRequest, caller)
}

// endGrant ends a grant that is known to be there.
func (a *Authority) endGrant(ctx context.Context, id events.GrantID, actor, reason string, caller Caller) error {
	d := grantDecision{
		id: id, actor: actor, caller: caller,
		decide: func(g fold.Grant, _ fold.User, _ time.Time) rules.Outcome { return rules.RevokeGrant(g, reason) },
	}
	_, err := d.run(ctx, a)
	return err
}

// verify verifies an access token's text, without revocations. As in parse, a
// missing key makes it unavailable, and so does a partition that this replica
// cannot follow.
func (a *Authority) verify(ctx context.Context, token string) (jose.Claims, error) {
	claims, err := a.Keys.Verifier().Verify(token, a.Feed.Now(0))
	switch {
	case errors.Is(err, jose.ErrInvalid) && a.Keys.Behind():
		return claims, unavailable("verify the access token", err)
	case err != nil:
		return claims, err
	}
	if err := a.follow(ctx, claims.Partition); err != nil {
		return claims, err
	}
	err = a.findUser(&claims)
	return claims, err
}

// verifiedBy verifies a token again that was verified with some keys, if they are
// not those of now: what was waited for in between may have dropped one.
func (a *Authority) verifiedBy(ctx context.Context, keys *jose.Verifier, token string) error {
	if a.Keys.Verifier() == keys {
		return nil
	}
	_, err := a.verify(ctx, token)
	return err
}

// doubt is nil for a token that is bad, and err for one that may not be.
func doubt(err error) error {
	if isRefusal(err, Unavailable) {
		return err
	}
	return nil
}
