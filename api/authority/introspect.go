package authority

import (
	"context"
	"errors"
	"fmt"

	"github.com/chancery-authority/chancery/api/credential"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/projector/fold"
)

// An Introspection is what may be said of an active token (RFC 7662 §2.2).
type Introspection struct {
	// Claims are those of an access token. Of a refresh token only those are
	// set that it shares with one.
	jose.Claims
	// Refresh says that it is a refresh token.
	Refresh bool
}

// Introspect tells a client about a token, or nil for one that is not active,
// not ours, or not for this client to know. It changes nothing.
func (a *Authority) Introspect(ctx context.Context, c fold.Client, token string) (*Introspection, error) {
	if kind, ok := credential.KindOf(token); ok {
		if kind != credential.RefreshToken {
			return nil, nil
		}
		return a.introspectRefreshToken(ctx, c, token)
	}
	keys := a.Keys.Verifier()
	claims, err := a.verify(ctx, token)
	if err != nil {
		return nil, doubt(err)
	}
	if !rules.MayIntrospect(c, claims.ClientID, claims.Audience) {
		return nil, nil
	}
	active, err := a.active(ctx, claims)
	if err != nil || !active {
		return nil, err
	}
	if err := a.verifiedBy(ctx, keys, token); err != nil {
		return nil, doubt(err)
	}
	return &Introspection{Claims: claims}, nil
}

// Validate refuses an access token that is not valid now, or not ours. Who holds
// one may ask, and learns nothing else of it.
func (a *Authority) Validate(ctx context.Context, token string) error {
	return a.accept(ctx, []presented{{text: token, parameter: "token", reason: InvalidToken}})
}

// holder is the client and the user, if there is one, of a token that this
// authority made. They exist: who does not find them is behind.
func (a *Authority) holder(ctx context.Context, clientID, userID string) (c fold.Client, u fold.User, err error) {
	if c, err = a.client(ctx, clientID); err != nil {
		return c, u, err
	}
	if userID != "" {
		if u, err = a.user(ctx, userID); err != nil {
			return c, u, err
		}
	}
	if !c.Exists() || userID != "" && !u.Exists() {
		return c, u, unavailable("find the token's client and user", errors.New("the log does not show them"))
	}
	return c, u, nil
}

// introspectRefreshToken asks the log, not only the row: whether a refresh
// token is spent changes with every rotation, and only its own client asks.
func (a *Authority) introspectRefreshToken(ctx context.Context, c fold.Client, token string) (*Introspection, error) {
	claims, err := a.parse(credential.RefreshToken, token)
	if err != nil {
		return nil, doubt(err)
	}
	if err := a.partition(ctx, claims.Grant.Partition()); err != nil {
		return nil, err
	}
	g, err := a.Grant(ctx, claims.Grant)
	if refusal := new(rules.Refusal); errors.As(err, &refusal) && refusal.Reason == rules.NotFound {
		return nil, a.inactiveIfLost(ctx, claims, refusal)
	}
	if err != nil {
		return nil, fmt.Errorf("introspect refresh token: %w", err)
	}
	if !rules.MayIntrospect(c, g.Client, nil) {
		return nil, nil
	}
	if err := a.Feed.Fresh(ctx, claims.Grant.Partition()); err != nil {
		return nil, unavailable("prove the feed fresh", err)
	}
	if a.Feed.GrantRevoked(g.ID) {
		return nil, nil
	}
	owner, user, err := a.holder(ctx, g.Client, g.User)
	if err != nil {
		return nil, err
	}
	if owner.Disabled {
		return nil, nil
	}
	holder := rules.Holder{Client: owner, User: user, Policy: a.policy(owner)}
	active, refusal := rules.RefreshTokenActive(g, holder, claims.Generation, claims.MACKey, a.Feed.Now(claims.Grant.Partition()))
	if refusal != nil && refusal.Overturnable {
		return nil, a.inactiveIfLost(ctx, claims, refusal)
	}
	if !active {
		return nil, nil
	}
	return &Introspection{Refresh: true, Claims: jose.Claims{
		Issuer: a.Issuer, Subject: g.Subject(), ClientID: g.Client, Scope: g.Scope, Grant: g.ID,
		IssuedAt: g.IssuedAt.Unix(), Expires: claims.Expires, AuthTime: g.AuthTime,
	}}, nil
}

// inactiveIfLost alarms of a token that is ahead of the log, unless it is known that
// its event was lost: then nil.
func (a *Authority) inactiveIfLost(ctx context.Context, claims credential.Claims, refusal *rules.Refusal) error {
	if a.credentialLost(claims) {
		return nil
	}
	return a.alarmBehind(ctx, claims.Grant, refusal)
}
