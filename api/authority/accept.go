package authority

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// An AcceptedLogin is somebody who has authenticated for a pending request, and
// is signed in when the browser comes with it. The session's id is drawn before,
// and the log opens it once, so a copy of the request signs nobody in again.
type AcceptedLogin struct {
	Session events.SessionID `json:"session"`
	User    string           `json:"user"`
	// UserEpoch ends the acceptance with whatever a cut-off ends.
	UserEpoch uint64   `json:"user_epoch"`
	AMR       []string `json:"amr,omitempty"`
	ACR       string   `json:"acr,omitempty"`
	// At is when, in Unix seconds.
	At int64 `json:"at"`
	// Forget ends the sign-in with the browser's run.
	Forget bool `json:"forget,omitempty"`
}

// A Rejection is the error that a request ends with (RFC 6749 §4.1.2.1).
type Rejection struct {
	Error       string `json:"error"`
	Description string `json:"description,omitempty"`
}

// A Login is how a user has authenticated: AMR as of RFC 8176, and ACR empty
// where no level is claimed.
type Login struct {
	AMR []string
	ACR string
	// Forget ends the sign-in with the browser's run.
	Forget bool
}

// AcceptLogin has a user signed in when the browser comes with the request. Our
// own page and the administrators' interface both end here.
func (a *Authority) AcceptLogin(p Pending, u fold.User, l Login) Pending {
	id := a.newGrantID()
	p.Login = &AcceptedLogin{
		Session: id, User: u.ID, UserEpoch: u.Epoch, AMR: l.AMR, ACR: l.ACR, Forget: l.Forget,
		At: a.Feed.Now(id.Partition()).Unix(),
	}
	p.Agreed = ""
	return p
}

// AcceptConsent records that a user lets a client have what a request asks for,
// and that it was this request that they were asked for.
func (a *Authority) AcceptConsent(ctx context.Context, p Pending, c fold.Client, u fold.User, asked rules.Asked, caller Caller) (Pending, error) {
	if err := a.GiveConsent(ctx, c, u, asked, caller); err != nil {
		return p, err
	}
	p.Scope, p.Audience, p.Shown, p.Agreed = asked.Scope, asked.Audience, true, u.ID
	return p, nil
}

// SignInAccepted opens the session of a login that was accepted. The refusals are
// RequestUsed, RequestExpired for a user who was cut off since, and
// AccountDisabled.
func (a *Authority) SignInAccepted(ctx context.Context, l AcceptedLogin, caller Caller) (auth *Authentication, text string, err error) {
	u, err := a.acceptable(ctx, l.User)
	if err != nil {
		return nil, "", err
	}
	if u.Epoch != l.UserEpoch {
		return nil, "", &rules.Refusal{Reason: RequestExpired, Parameter: "request", Detail: "cut off since"}
	}
	auth, text, err = a.openSession(ctx, l.Session, u, l.AMR, l.ACR, time.Unix(l.At, 0), caller)
	if errors.Is(err, eventlog.ErrConflict) {
		return nil, "", &rules.Refusal{Reason: RequestUsed}
	}
	return auth, text, err
}

// acceptable is a user who may sign in.
func (a *Authority) acceptable(ctx context.Context, id string) (fold.User, error) {
	if err := a.requireFreshRegistry(ctx); err != nil {
		return fold.User{}, err
	}
	u, err := a.User(ctx, id)
	if err != nil {
		return u, err
	}
	if u, err = a.newest(ctx, u); err != nil {
		return u, err
	}
	if u.Disabled {
		return u, &rules.Refusal{Reason: AccountDisabled, User: u.ID}
	}
	return u, nil
}

// PersonClaims are what an operator knows of a person, by the names of OpenID
// Connect Core §5.1. What is not known is empty.
type PersonClaims struct {
	Username, Email, Nickname, FirstName, LastName, Birthday string
}

// tell puts into a record what is known, but for the user name: that is settled
// with the registration.
func (c PersonClaims) tell(p *person) {
	for field, value := range map[*string]string{
		&p.Email: c.Email, &p.Nickname: c.Nickname, &p.FirstName: c.FirstName, &p.LastName: c.LastName, &p.Birthday: c.Birthday,
	} {
		if value != "" {
			*field = value
		}
	}
}

// Subject is the user of an operator's own id, who is registered if need be. The
// refusals are rules.Conflict for a client's id, and AccountDisabled.
func (a *Authority) Subject(ctx context.Context, id string, claims PersonClaims, caller Caller) (fold.User, error) {
	if !events.ValidID(id) {
		return fold.User{}, &rules.Refusal{Reason: rules.BadParameter, Parameter: "subject"}
	}
	u, err := a.acceptable(ctx, id)
	if isRefusal(err, rules.NotFound) {
		return a.registerSubject(ctx, id, claims, caller)
	}
	if err != nil || claims == (PersonClaims{}) {
		return u, err
	}
	_, err = a.records.update(ctx, id, claims.tell)
	return u, err
}

// OpenPendingAnywhere reads a request for an administrator, who does not have the
// browser's cookie. What comes of it is good in that browser only. A request that
// no browser has come with, or that was answered, is refused.
func (a *Authority) OpenPendingAnywhere(ctx context.Context, text string) (Pending, error) {
	var p Pending
	if err := a.openPending(text, pendingContext, &p); err != nil {
		return p, err
	}
	if p.Browser == "" {
		return p, &rules.Refusal{Reason: RequestExpired, Parameter: "request", Detail: "no browser has come with it"}
	}
	if a.Feed.Now(0).Unix() >= p.Expires {
		return p, &rules.Refusal{Reason: RequestExpired, Parameter: "request", Detail: "expired"}
	}
	return p, a.PendingUsed(ctx, p)
}

// PersonOf is who has signed in, or chose to go on, for a request. The refusal is
// rules.LoginRequired.
func (a *Authority) PersonOf(ctx context.Context, p Pending) (*Authentication, error) {
	nobody := &rules.Refusal{Reason: rules.LoginRequired, Parameter: "request"}
	if p.Session.IsZero() || p.Login != nil {
		return nil, nobody
	}
	auth, err := a.SessionByID(ctx, p.Session)
	if isRefusal(err, NoSession) {
		return nil, nobody
	}
	return auth, err
}

// AcceptConsentTo is AcceptConsent to a part of what is asked for; a nil scope is
// all of it.
func (a *Authority) AcceptConsentTo(ctx context.Context, p Pending, c fold.Client, scope []string, asked rules.Asked, caller Caller) (Pending, error) {
	auth, err := a.PersonOf(ctx, p)
	if err != nil {
		return p, err
	}
	if scope != nil {
		outside := func(one string) bool { return !slices.Contains(asked.Scope, one) }
		if len(scope) == 0 || slices.ContainsFunc(scope, outside) {
			return p, &rules.Refusal{Reason: rules.BadParameter, Parameter: "scope", Detail: "not of what is asked for"}
		}
		asked.Scope = scope
	}
	return a.AcceptConsent(ctx, p, c, auth.User, asked, caller)
}
