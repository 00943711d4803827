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
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// An AuthorizationRequest asks for a code (RFC 6749 §4.1.1) or, without a
// redirect, for tokens at once.
type AuthorizationRequest struct {
	Client      fold.Client
	RedirectURI string
	Scope       []string
	Audience    []string
	// Exact is as in rules.Authorization.
	Exact bool
	// Challenge is the PKCE S256 challenge, or empty.
	Challenge string
	// Nonce is for the ID token (OIDC Core §3.1.2.1), or empty.
	Nonce string
	// Grant is the id of the grant to open, where it was drawn before; then the
	// request is good for one. Zero draws one.
	Grant events.GrantID
	// ByConsent says that the user's consent was asked for, or found. It is looked
	// at again once the grant is open, and before anybody has its code.
	ByConsent bool
	// LoginClaims is as in TokenRequest, where tokens are given at once.
	LoginClaims bool
	Caller      Caller
}

func (a *Authority) authorization(r AuthorizationRequest, auth Authentication, p events.Partition) rules.Authorization {
	now := a.Feed.Now(p)
	made := rules.Authorization{
		Client: r.Client, User: auth.User, Scope: r.Scope, Audience: r.Audience, Exact: r.Exact, RedirectURI: r.RedirectURI,
		Challenge: r.Challenge, Nonce: r.Nonce, AuthTime: now, AMR: []string{AMRPassword}, Now: now, Policy: a.policy(r.Client),
	}
	if made.Client.SubjectType == rules.SubjectPairwise {
		made.Pairwise = a.SubjectOf(made.Client, made.User.ID)
	}
	if s := auth.Session; s.Exists() {
		made.SessionExpires = s.Expires
		made.Session, made.AuthTime, made.AMR, made.ACR = s.ID, time.Unix(s.AuthTime, 0), s.AMR, s.ACR
	}
	return made
}

// SubjectOf is the sub that a client is told of a user (OIDC Core §8).
func (a *Authority) SubjectOf(c fold.Client, user string) string {
	if c.SubjectType == rules.SubjectPairwise {
		return a.Keys.PairwiseSubject(fold.Sector(c.ClientSettings), user)
	}
	return user
}

// HintedSubject is the sub that an ID token of a client names (id_token_hint).
func (a *Authority) HintedSubject(c fold.Client, idToken string) (string, error) {
	claims, err := a.Keys.Verifier().VerifyIDToken(idToken)
	switch {
	case errors.Is(err, jose.ErrInvalid) && a.Keys.Behind():
		return "", unavailable("verify the ID token", err)
	case err != nil || claims.ClientID != c.ID:
		return "", &rules.Refusal{Reason: rules.BadParameter, Parameter: "id_token_hint", Detail: "not an ID token of the client"}
	}
	return claims.Subject, nil
}

// AMRPassword is the amr of who gave a password (RFC 8176 §2).
const AMRPassword = "pwd"

// CheckCodeRequest refuses what is wrong with a request for a code before the
// user is asked for anything, and says what it comes down to.
func (a *Authority) CheckCodeRequest(r AuthorizationRequest) (rules.Asked, error) {
	asked, refusal := a.authorization(r, Authentication{}, 0).CheckCodeRequest()
	if refusal != nil {
		return asked, refusal
	}
	return asked, nil
}

// Code is an authorization code and where to send it.
type Code struct {
	Text        string
	RedirectURI string
}

// OpenWithCode opens a grant of a user who has authenticated, and gives the
// code for it.
func (a *Authority) OpenWithCode(ctx context.Context, r AuthorizationRequest, auth Authentication) (*Code, error) {
	id := r.Grant
	if id.IsZero() {
		id = a.newGrantID()
	}
	ring, mac := a.Keys.MAC()
	if mac == 0 {
		return nil, unavailable("choose a MAC key", errors.New("none is active here"))
	}
	var err error
	if r.Client, err = a.newestClient(ctx, r.Client, NoSuchClient); err != nil {
		return nil, err
	}
	fact, refusal := rules.OpenWithCode(a.authorization(r, auth, id.Partition()), rules.Minting{MACKey: mac})
	if refusal != nil {
		return nil, refusal
	}
	text, err := ring.Render(credential.Code, credential.Claims{Grant: id, Expires: fact.Code.Expires, MACKey: mac})
	if err != nil {
		return nil, fmt.Errorf("render code: %w", err)
	}
	err = a.open(ctx, id, *fact, auth.User, r.Caller)
	if errors.Is(err, eventlog.ErrConflict) && !r.Grant.IsZero() {
		return nil, &rules.Refusal{Reason: RequestUsed}
	}
	if err == nil && r.ByConsent {
		err = a.stillConsented(ctx, id, r, auth.User, *fact)
	}
	if err != nil {
		return nil, err
	}
	return &Code{Text: text, RedirectURI: fact.Code.RedirectURI}, nil
}

// stillConsented refuses a grant, and ends it, if the consent to it was withdrawn
// while it was opened. Who withdraws one ends the grants that are open after that;
// so of any grant either they know, or this does.
func (a *Authority) stillConsented(ctx context.Context, id events.GrantID, r AuthorizationRequest, u fold.User, opened events.GrantOpened) error {
	ok, err := a.Consented(ctx, r.Client, u.ID, rules.Asked{Scope: opened.Scope, Audience: opened.Audience})
	if err != nil || ok {
		return err
	}
	if err := a.endGrant(ctx, id, userActor(u.ID), events.ReasonUserRequest, r.Caller); err != nil {
		return err
	}
	return &rules.Refusal{Reason: rules.ConsentRequired, Detail: "withdrawn meanwhile"}
}

// OpenWithPassword opens a grant for a first-party public client that sent the
// user's password, and gives its tokens.
func (a *Authority) OpenWithPassword(ctx context.Context, r AuthorizationRequest, u fold.User) (*Tokens, error) {
	id := a.newGrantID()
	var err error
	if r.Client, err = a.newestClient(ctx, r.Client, NoSuchClient); err != nil {
		return nil, err
	}
	m, err := a.minting(r.Client, r.LoginClaims)
	if err != nil {
		return nil, err
	}
	fact, refusal := rules.OpenWithPassword(a.authorization(r, Authentication{User: u}, id.Partition()), m, a.origin(id, r.Caller), a.Issuer)
	if refusal != nil {
		return nil, refusal.About(events.GrantID{}, u.ID)
	}
	g := fold.Grant{
		ID: id, Client: fact.Client, User: fact.User, ClientEpoch: fact.ClientEpoch, UserEpoch: fact.UserEpoch,
		AuthTime: fact.AuthTime, AMR: fact.AMR, ACR: fact.ACR, Nonce: fact.Nonce, Pairwise: fact.Pairwise, Expires: fact.Expires,
	}
	tokens, err := a.render(ctx, g, *fact.Issued, time.Unix(fact.Issued.IssuedAt, 0))
	if err != nil {
		return nil, err
	}
	return tokens, a.open(ctx, id, *fact, u, r.Caller)
}

func (a *Authority) open(ctx context.Context, id events.GrantID, fact events.GrantOpened, u fold.User, caller Caller) error {
	if err := a.partition(ctx, id.Partition()); err != nil {
		return err
	}
	e := a.event(a.Log.Realm().GrantSubject(id), caller.meta(userActor(u.ID)), fact)
	opened, err := foldable(fold.Grant{}, 0, e)
	if err != nil {
		return err
	}
	a.seal(&e, u.OriginKey, caller)
	receipt, err := a.Log.Append(ctx, eventlog.Unit{Event: e})
	if errors.Is(err, eventlog.ErrConflict) {
		return fmt.Errorf("open grant: id %s drawn twice: %w", id, err)
	}
	if err != nil {
		return unavailable("append "+fact.Type(), err)
	}
	opened.Seq, opened.OpenedSeq = receipt.Seq, receipt.Seq
	a.written.put(opened)
	return nil
}

// newGrantID draws an id in any of the partitions in use.
func (a *Authority) newGrantID() events.GrantID {
	var random [16]byte
	_, _ = rand.Read(random[:])
	partitions := a.Partitions()
	return events.NewGrantID(partitions[int(random[0])%len(partitions)], random)
}
