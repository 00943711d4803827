package authority

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/chancery-authority/chancery/api/credential"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/telemetry"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// Tokens is the answer to a token request (RFC 6749 §5.1). It holds secrets
// and must not be logged.
type Tokens struct {
	AccessToken string
	// RefreshToken is empty where none is issued.
	RefreshToken string
	// IDToken is empty where openid is not in the scope.
	IDToken string
	// ExpiresIn is the rest of the access token's life, in whole seconds.
	ExpiresIn int64
	Scope     []string
	// Type is the issued_token_type of an exchange (RFC 8693 §2.2.1).
	Type string
}

// A TokenRequest is what every grant type has: an authenticated client, and
// what it asks the answer to be narrowed to.
type TokenRequest struct {
	Client   fold.Client
	Scope    []string
	Audience []string
	// LoginClaims asks for a token as clients of the Login API read them.
	LoginClaims bool
	Caller      Caller
}

// RedeemCode answers a code exchange (RFC 6749 §4.1.3) with the PKCE verifier,
// if there is one.
func (a *Authority) RedeemCode(ctx context.Context, r TokenRequest, code, redirectURI, verifier string) (*Tokens, error) {
	claims, err := a.parse(credential.Code, code)
	if err != nil {
		return nil, badCredential(err, rules.InvalidCode, "code", claims.Grant)
	}
	return a.issueFromGrant(ctx, claims, rules.InvalidCode, r, func(g fold.Grant, h rules.Holder, now time.Time, m rules.Minting) rules.Outcome {
		return rules.RedeemCode(g, rules.CodeExchange{
			Holder: h, MACKey: claims.MACKey, RedirectURI: redirectURI, Verifier: verifier, Scope: r.Scope, Audience: r.Audience,
			Origin: a.origin(claims.Grant, r.Caller), Issuer: a.Issuer, Now: now,
		}, m)
	})
}

// Refresh answers a refresh (RFC 6749 §6).
func (a *Authority) Refresh(ctx context.Context, r TokenRequest, refreshToken string) (*Tokens, error) {
	claims, err := a.parse(credential.RefreshToken, refreshToken)
	if err != nil {
		return nil, badCredential(err, rules.InvalidRefreshToken, "refresh_token", claims.Grant)
	}
	return a.issueFromGrant(ctx, claims, rules.InvalidRefreshToken, r, func(g fold.Grant, h rules.Holder, now time.Time, m rules.Minting) rules.Outcome {
		return rules.RefreshToken(g, rules.Refresh{
			Holder: h, Generation: claims.Generation, MACKey: claims.MACKey, Scope: r.Scope, Audience: r.Audience,
			Origin:     a.origin(claims.Grant, r.Caller),
			SameOrigin: a.Addresses.Matches(g.Current.Origin, claims.Grant.String(), r.Caller.Address),
			Issuer:     a.Issuer, Now: now,
		}, m)
	})
}

// issueFromGrant runs the decision of a rule about a grant for its client, which
// came with a credential. Unknown refuses one that was lost.
func (a *Authority) issueFromGrant(
	ctx context.Context, of credential.Claims, unknown rules.Reason, r TokenRequest,
	rule func(fold.Grant, rules.Holder, time.Time, rules.Minting) rules.Outcome,
) (*Tokens, error) {
	m, err := a.minting(r.Client, r.LoginClaims)
	if err != nil {
		return nil, err
	}
	d := grantDecision{
		id:      of.Grant,
		of:      of,
		unknown: unknown,
		actor:   clientActor(r.Client.ID),
		caller:  r.Caller,
		render:  a.render,
		decide: func(g fold.Grant, u fold.User, now time.Time) rules.Outcome {
			h := rules.Holder{Client: r.Client, User: u, Policy: a.policy(r.Client)}
			return rule(g, h, now, m)
		},
	}
	return d.run(ctx, a)
}

// parse verifies a code or refresh token without any I/O, so that garbage and
// dead ones cost nothing.
func (a *Authority) parse(k credential.Kind, text string) (credential.Claims, error) {
	claims, err := a.read(k, text)
	if err != nil {
		return claims, err
	}
	if a.Feed.Now(claims.Grant.Partition()).Unix() >= claims.Expires {
		return claims, fmt.Errorf("%w at %d", errExpired, claims.Expires)
	}
	return claims, nil
}

// read is parse whatever the time. While a key of the realm is missing here, what
// does not verify may be good elsewhere: that is unavailable, not invalid.
func (a *Authority) read(k credential.Kind, text string) (credential.Claims, error) {
	ring, _ := a.Keys.MAC()
	claims, err := ring.Parse(k, text)
	if err != nil && a.Keys.Behind() {
		return claims, unavailable("verify the credential", err)
	}
	return claims, err
}

// errExpired is parse's, with claims that were proved.
var errExpired = errors.New("expired")

// badCredential is the refusal of what parse or verify did not accept, or its
// doubt. The grant is the one that was proved, or zero.
func badCredential(err error, reason rules.Reason, parameter string, grant events.GrantID) error {
	if isRefusal(err, Unavailable) {
		return err
	}
	refusal := &rules.Refusal{Reason: reason, Parameter: parameter, Detail: "does not verify", Cause: err.Error(), Grant: grant}
	if errors.Is(err, errExpired) || errors.Is(err, jose.ErrExpired) {
		refusal.Detail = "expired"
	}
	return refusal
}

// minting draws what new tokens of a client are made with.
func (a *Authority) minting(c fold.Client, loginClaims bool) (rules.Minting, error) {
	key, err := a.signer(c)
	if err != nil {
		return rules.Minting{}, err
	}
	_, mac := a.Keys.MAC()
	if mac == 0 {
		return rules.Minting{}, unavailable("choose a MAC key", errors.New("none is active here"))
	}
	return rules.Minting{JTI: rand.Text(), KID: key.Public().ID, MACKey: mac, LoginClaims: loginClaims}, nil
}

// signer is the key that a client's new tokens are signed by.
func (a *Authority) signer(c fold.Client) (jose.SigningKey, error) {
	alg := c.SigningAlg
	if alg == "" {
		alg = a.SigningAlgs[0]
	}
	key, err := a.Keys.Signer(alg)
	return key, wrapUnavailable("choose a signing key", err)
}

// SignLogoutToken signs what tells a client of the end of a session, as its ID
// tokens are signed.
func (a *Authority) SignLogoutToken(c fold.Client, claims jose.LogoutClaims) (string, error) {
	key, err := a.signer(c)
	if err != nil {
		return "", err
	}
	return jose.SignLogoutToken(key, claims)
}

// render makes the tokens of an issuance. Everything in them comes from the
// grant and the issuance, never from present keys or policy, so that the
// same issuance always gives the same tokens (signed anew). Only what is told of
// a person is read anew, where it is told.
func (a *Authority) render(ctx context.Context, g fold.Grant, i events.Issuance, now time.Time) (*Tokens, error) {
	claims := jose.Claims{
		Issuer: a.Issuer, Subject: g.Subject(), User: g.User, Audience: i.Audience, JTI: i.JTI,
		IssuedAt: i.IssuedAt, Expires: i.Expires, ClientID: g.Client, Scope: i.Scope,
		AuthTime: g.AuthTime, AMR: g.AMR, Session: g.Session, Grant: g.ID, Partition: g.ID.Partition(),
		ClientEpoch: g.ClientEpoch, UserEpoch: g.UserEpoch,
	}
	if err := a.addLoginClaims(ctx, &claims, i.LoginClaims); err != nil {
		return nil, err
	}
	text, err := a.sign(ctx, i.KID, claims)
	if err != nil {
		return nil, err
	}
	t := &Tokens{AccessToken: text, ExpiresIn: max(0, i.Expires-now.Unix()), Scope: i.Scope}
	if t.IDToken, err = a.idToken(g, i, text); err != nil {
		return nil, err
	}
	if i.HasRefresh() {
		ring, _ := a.Keys.MAC()
		t.RefreshToken, err = ring.Render(credential.RefreshToken, credential.Claims{
			Grant: g.ID, Generation: i.Generation, Expires: g.Expires, MACKey: i.MACKey,
		})
	}
	return t, err
}

// sign signs with the key of an event. A key that was dropped since signs
// nothing; the present one of the same algorithm takes its place.
func (a *Authority) sign(ctx context.Context, kid string, c jose.Claims) (string, error) {
	key, err := a.Keys.SignerByID(kid)
	if err != nil {
		return "", fmt.Errorf("find signing key: %w", err)
	}
	a.hideUser(&c)
	_, span := telemetry.Start(ctx, "sign")
	began := time.Now()
	text, err := jose.Sign(key, c)
	a.Telemetry.Signed(string(key.Public().Alg), began)
	telemetry.End(span, err)
	if err != nil {
		return "", fmt.Errorf("sign access token: %w", err)
	}
	return text, nil
}

// origin is the keyed hash of the caller's address within a grant.
func (a *Authority) origin(id events.GrantID, c Caller) string {
	return a.Addresses.Hash(id.String(), c.Address)
}
