package rules

import (
	"slices"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// The reasons for which a person's part in an authorization is refused (OIDC
// Core §3.1.2.6, RFC 6749 §4.1.2.1).
const (
	LoginRequired            Reason = "login_required"
	ConsentRequired          Reason = "consent_required"
	AccountSelectionRequired Reason = "account_selection_required"
	AccessDenied             Reason = "access_denied"
)

// Values of prompt (OIDC Core §3.1.2.1).
const (
	promptNone    = "none"
	promptLogin   = "login"
	promptConsent = "consent"
	promptSelect  = "select_account"
)

// Prompts are the values of prompt that are known.
func Prompts() []string { return []string{promptNone, promptLogin, promptConsent, promptSelect} }

// ParsePrompt splits a prompt parameter. None stands alone.
func ParsePrompt(s string) ([]string, *Refusal) {
	prompts := slices.Compact(slices.Sorted(slices.Values(strings.Fields(s))))
	for _, p := range prompts {
		if !slices.Contains(Prompts(), p) {
			return nil, refuse(BadParameter, "prompt", "not a known value")
		}
	}
	if slices.Contains(prompts, promptNone) && len(prompts) > 1 {
		return nil, refuse(BadParameter, "prompt", "none with others")
	}
	return prompts, nil
}

// An Interaction is what a person is asked for before a client gets its answer.
type Interaction string

// The interactions. The zero value is nothing more.
const (
	AskLogin   Interaction = "login"
	AskAccount Interaction = "select_account"
	AskConsent Interaction = "consent"
)

// A Visit is a person's browser before an authorization request.
type Visit struct {
	Prompt []string
	// MaxAge is how long ago the person may have authenticated, in seconds; nil
	// is any time.
	MaxAge *int64
	// Session is the browser's and stands; zero for none.
	Session fold.Session
	// Settled says that the person signed in, or chose the account, for this
	// very request, and SignedIn that they signed in.
	Settled, SignedIn bool
	// Another says that the client means somebody else than the session's user
	// (id_token_hint).
	Another bool
	// Consented says that the client need not be asked for.
	Consented bool
	// Agreed says that the person was asked for this very request and agreed.
	Agreed bool
	Now    time.Time
}

// Next is what the person is to be asked for. With prompt=none it is refused
// instead.
func (v Visit) Next() (Interaction, *Refusal) {
	next, refusal := AskLogin, LoginRequired
	switch {
	case v.mustLogin():
	case slices.Contains(v.Prompt, promptSelect) && !v.Settled:
		next, refusal = AskAccount, AccountSelectionRequired
	case !v.Consented || slices.Contains(v.Prompt, promptConsent) && !v.Agreed:
		next, refusal = AskConsent, ConsentRequired
	default:
		return "", nil
	}
	if slices.Contains(v.Prompt, promptNone) {
		return "", refuse(refusal, "prompt", "")
	}
	return next, nil
}

func (v Visit) mustLogin() bool {
	switch {
	case !v.Session.Exists(), v.Another:
		return true
	case v.SignedIn: // or max_age=0 would ask for ever
		return false
	case slices.Contains(v.Prompt, promptLogin):
		return true
	}
	return v.MaxAge != nil && (*v.MaxAge == 0 || v.Now.Unix()-v.Session.AuthTime > *v.MaxAge)
}

// Consented reports whether a client may have scope and audience of a user
// without asking: it is the installation's own, or all of it was agreed.
func Consented(c fold.Client, given fold.Consent, scope, audience []string) bool {
	if c.FirstParty {
		return true
	}
	return given.Exists() && !given.Withdrawn && within(scope, given.Scope) && within(audience, given.Audience)
}

func within(all, allowed []string) bool {
	return !slices.ContainsFunc(all, func(one string) bool { return !slices.Contains(allowed, one) })
}

// GiveConsent adds scope and audience to what a user agreed; nil for nothing
// new.
func GiveConsent(given fold.Consent, scope, audience []string) events.Fact {
	if given.Withdrawn {
		given = fold.Consent{}
	}
	if given.Exists() && within(scope, given.Scope) && within(audience, given.Audience) {
		return nil
	}
	return events.ConsentGiven{Scope: union(given.Scope, scope), Audience: union(given.Audience, audience)}
}

// WithdrawConsent ends what a user agreed; nil if nothing is agreed.
func WithdrawConsent(given fold.Consent) events.Fact {
	if !given.Exists() || given.Withdrawn {
		return nil
	}
	return events.ConsentWithdrawn{}
}

// union is sorted, so that the same agreement is the same event.
func union(a, b []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}
