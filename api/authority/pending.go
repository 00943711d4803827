package authority

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// PendingLifetime is how long a person may take to sign in and to agree.
const PendingLifetime = 30 * time.Minute

// PushedLifetime is how long a pushed request waits for the browser (RFC 9126
// §2.2).
const PushedLifetime = 90 * time.Second

// A Pending is an authorization request (RFC 6749 §4.1.1) that waits for a
// person. It is kept by the browser, encrypted, so that every replica can go on
// with it and a flood of them fills no disk. Grant is drawn with it: the log
// opens a grant once, so the request is good for one code, whoever kept a copy.
type Pending struct {
	Grant  events.GrantID `json:"grant"`
	Client string         `json:"client,omitempty"`
	// Return is a path of our own to go back to, where a person signs in for no
	// client. Of the rest only Session, Browser and Expires are then in use.
	Return string `json:"return,omitempty"`
	// RedirectURI is as asked for, empty if it was not; Target is the one in
	// force.
	RedirectURI string `json:"redirect_uri,omitempty"`
	Target      string `json:"target,omitempty"`
	// ResponseMode is query or form_post.
	ResponseMode string   `json:"mode,omitempty"`
	State        string   `json:"state,omitempty"`
	Nonce        string   `json:"nonce,omitempty"`
	Scope        []string `json:"scope,omitempty"`
	Audience     []string `json:"aud,omitempty"`
	// Shown says that Scope and Audience are what the person was shown.
	Shown     bool     `json:"shown,omitempty"`
	Challenge string   `json:"challenge,omitempty"`
	Prompt    []string `json:"prompt,omitempty"`
	MaxAge    *int64   `json:"max_age,omitempty"`
	LoginHint string   `json:"login_hint,omitempty"`
	UILocales string   `json:"ui_locales,omitempty"`
	ACRValues []string `json:"acr_values,omitempty"`
	// Subject is the sub of who the client says that it is about (id_token_hint),
	// or empty.
	Subject string `json:"sub,omitempty"`
	// Session is the one that the person signed in to, or chose, for this
	// request.
	Session events.SessionID `json:"session,omitzero"`
	// SignedIn says that they signed in to it for this request.
	SignedIn bool `json:"signed_in,omitempty"`
	// Pushed says that the client sent the request ahead.
	Pushed bool `json:"pushed,omitempty"`
	// Login is who was accepted as the person and is not signed in yet, Agreed the
	// user who agreed to this very request, and Rejected the error that it is to
	// end with.
	Login    *AcceptedLogin `json:"login,omitempty"`
	Agreed   string         `json:"agreed,omitempty"`
	Rejected *Rejection     `json:"rejected,omitempty"`
	// Browser is a hash of the cookie of the only browser that may go on with the
	// request; empty for a pushed one that none has come with yet.
	Browser string `json:"browser,omitempty"`
	// Expires is in Unix seconds.
	Expires int64 `json:"exp"`
}

const pendingContext = "pending"

// maxPending bounds the JSON of a request, so that its text fits the address of
// a page, in bytes.
const maxPending = 8 << 10

// NewPending begins a request: it draws the grant, and ends in lifetime.
func (a *Authority) NewPending(lifetime time.Duration) Pending {
	return Pending{Grant: a.newGrantID(), Expires: a.PendingExpiry(lifetime)}
}

// PendingExpiry is the end of a request that waits from now on, in Unix seconds.
func (a *Authority) PendingExpiry(lifetime time.Duration) int64 {
	return a.Feed.Now(0).Add(lifetime).Unix()
}

// CheckPendingSize refuses a request that is too large to be kept by browsers.
func (a *Authority) CheckPendingSize(p Pending) error {
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode pending request: %w", err)
	}
	if len(text) > maxPending {
		return &rules.Refusal{Reason: rules.BadParameter, Detail: "the request is too large"}
	}
	return nil
}

// SealPending is the text that OpenPending reads.
func (a *Authority) SealPending(p Pending) (string, error) {
	return a.sealPending(p, pendingContext)
}

func (a *Authority) sealPending(v any, context string) (string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode pending request: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(a.Pending.Seal(text, []byte(context))), nil
}

// openPending reads into v what sealPending gave for the same context. The
// refusal is RequestExpired.
func (a *Authority) openPending(text, context string, v any) error {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return &rules.Refusal{Reason: RequestExpired, Parameter: "request", Detail: "not base64url"}
	}
	plain, err := a.Pending.Open(sealed, []byte(context))
	if err != nil {
		return &rules.Refusal{Reason: RequestExpired, Parameter: "request", Detail: "not one of ours"}
	}
	if err := json.Unmarshal(plain, v); err != nil {
		return fmt.Errorf("decode pending request: %w", err)
	}
	return nil
}

// OpenPending reads a request. The refusal is RequestExpired, with the request
// if it once was one of ours and the browser's, for a fresh start.
func (a *Authority) OpenPending(text, browser string) (Pending, error) {
	var p Pending
	if err := a.openPending(text, pendingContext, &p); err != nil {
		return p, err
	}
	if p.Browser != browser {
		return Pending{}, &rules.Refusal{Reason: RequestExpired, Parameter: "request", Detail: "another browser's"}
	}
	if a.Feed.Now(0).Unix() >= p.Expires {
		return p, &rules.Refusal{Reason: RequestExpired, Parameter: "request", Detail: "expired"}
	}
	return p, nil
}

// PendingUsed refuses a request whose code was given already, as RequestUsed.
func (a *Authority) PendingUsed(ctx context.Context, p Pending) error {
	if err := a.follow(ctx, p.Grant.Partition()); err != nil {
		return err
	}
	_, used, err := a.Log.Last(ctx, a.Log.Realm().GrantSubject(p.Grant))
	if err != nil {
		return unavailable("look for the request's grant", err)
	}
	if used {
		return &rules.Refusal{Reason: RequestUsed}
	}
	return nil
}

// consent is what a user agreed to. It is not in memory, as consents are many;
// the registry that is proved fresh proves the leader that is read.
func (a *Authority) consent(ctx context.Context, user, client string) (fold.Consent, error) {
	var given fold.Consent
	if err := a.requireFreshRegistry(ctx); err != nil {
		return given, err
	}
	last, ok, err := a.Log.Last(ctx, a.Log.Realm().ConsentSubject(user, client))
	if err != nil {
		return given, unavailable("read the consent", err)
	}
	if !ok {
		return given, nil
	}
	return given.Apply(last)
}

// Consented reports whether a client may have what it asks of a user without
// asking.
func (a *Authority) Consented(ctx context.Context, c fold.Client, user string, asked rules.Asked) (bool, error) {
	if c.FirstParty {
		return true, nil
	}
	given, err := a.consent(ctx, user, c.ID)
	return err == nil && rules.Consented(c, given, asked.Scope, asked.Audience), err
}

// GiveConsent records that a user lets a client have what it asks for.
func (a *Authority) GiveConsent(ctx context.Context, c fold.Client, u fold.User, asked rules.Asked, caller Caller) error {
	return a.changeConsent(ctx, u, c.ID, caller, func(given fold.Consent) events.Fact {
		return rules.GiveConsent(given, asked.Scope, asked.Audience)
	})
}

// WithdrawConsent ends what a user agreed with a client. What was issued by it
// stays.
func (a *Authority) WithdrawConsent(ctx context.Context, u fold.User, client string, caller Caller) error {
	return a.changeConsent(ctx, u, client, caller, rules.WithdrawConsent)
}

func (a *Authority) changeConsent(ctx context.Context, u fold.User, client string, caller Caller, decide func(fold.Consent) events.Fact) error {
	for range maxDecisions {
		given, err := a.consent(ctx, u.ID, client)
		if err != nil {
			return err
		}
		fact := decide(given)
		if fact == nil {
			return nil
		}
		e := a.event(a.Log.Realm().ConsentSubject(u.ID, client), caller.meta(userActor(u.ID)), fact)
		if _, err := foldable(given, given.Seq, e); err != nil {
			return err
		}
		a.seal(&e, u.OriginKey, caller)
		_, err = a.Log.Append(ctx, eventlog.Unit{Event: e, Expect: given.Seq})
		if !errors.Is(err, eventlog.ErrConflict) {
			return wrapUnavailable("append "+fact.Type(), err)
		}
	}
	return unavailable("decide on the consent", errors.New("others keep writing to it"))
}
