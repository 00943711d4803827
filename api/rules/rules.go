// Package rules decides what is allowed: one pure function per grant, from
// the folded state, the request and the time to one event, a refusal, or both.
// It knows no network, clock, randomness, HTTP or token text; the ids that go
// into an event and the time are arguments.
package rules

import (
	"slices"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// A Reason says why a request was refused. The api package has one table that
// gives each its HTTP status and error code.
type Reason string

// The reasons for which a rule refuses.
const (
	MissingParameter     Reason = "missing_parameter"
	BadParameter         Reason = "bad_parameter"
	UnauthorizedClient   Reason = "unauthorized_client"
	InvalidScope         Reason = "invalid_scope"
	InvalidTarget        Reason = "invalid_target"
	RedirectNotAllowed   Reason = "redirect_not_allowed"
	ChallengeRequired    Reason = "code_challenge_required"
	InvalidCode          Reason = "invalid_code"
	InvalidRefreshToken  Reason = "invalid_refresh_token"
	TokenOfAnotherClient Reason = "token_of_another_client"
	InvalidSubjectToken  Reason = "invalid_subject_token"
	InvalidActorToken    Reason = "invalid_actor_token"
	ExchangeNotAllowed   Reason = "exchange_not_allowed"
	BehindTheToken       Reason = "behind_the_token"

	// The answers to a device that polls (RFC 8628 §3.5).
	AuthorizationPending Reason = "authorization_pending"
	SlowDown             Reason = "slow_down"
	DeviceDenied         Reason = "device_denied"
	DeviceCodeExpired    Reason = "device_code_expired"
	InvalidDeviceCode    Reason = "invalid_device_code"
	// UnknownUserCode is for the person who typed one.
	UnknownUserCode Reason = "unknown_user_code"
)

// A Refusal is the answer no. It changes nothing by itself.
type Refusal struct {
	Reason Reason
	// Parameter is the request parameter that is at fault, or empty.
	Parameter string
	// Detail is for the log and the operator, never for the client: it tells
	// apart what a client must not be able to. It is kept for ever, so nothing
	// that was sent can be part of it: see text.
	Detail text
	// Cause is what else there is to say to an operator. It is not kept.
	Cause string
	// Grant and User are whom it is about, where that was proved. They are for
	// the audit.
	Grant events.GrantID
	User  string
	// Overturnable says that an event newer than the state decided on could
	// turn the answer, or have the grant revoked with it: confirm on the log
	// before giving it.
	Overturnable bool
	// RetryAfter is how long the same request would be refused for; 0 is not
	// known.
	RetryAfter time.Duration
}

// Error makes a refusal an error, for the edge that answers it.
func (r *Refusal) Error() string {
	s := string(r.Reason)
	if r.Parameter != "" {
		s += " (" + r.Parameter + ")"
	}
	if r.Detail != "" {
		s += ": " + string(r.Detail)
	}
	if r.Cause != "" {
		s += ": " + r.Cause
	}
	return s
}

// About is the refusal with whom it is about.
func (r *Refusal) About(grant events.GrantID, user string) *Refusal {
	told := *r
	told.Grant, told.User = grant, user
	return &told
}

// because adds the cause.
func (r *Refusal) because(cause string) *Refusal {
	r.Cause = cause
	return r
}

// A text is a constant of this program: other packages cannot name its type, so
// what they assign to it can only be one.
type text string

func refuse(reason Reason, parameter string, detail text) *Refusal {
	return &Refusal{Reason: reason, Parameter: parameter, Detail: detail}
}

// An Outcome is what a rule decided about a grant.
type Outcome struct {
	// Fact is to be appended, expecting the sequence of the state it was
	// decided on. Nil means that nothing is to be written.
	Fact events.Fact
	// Issuance is what to answer with, once Fact is durable. Nil for a refusal.
	Issuance *events.Issuance
	// ConfirmLast asks for a proof that costs no write: the last event of the
	// subject, read from the leader, must be the one the decision was made on.
	ConfirmLast bool
	// Refusal is the answer no. With a Fact (a revocation), the fact comes
	// first.
	Refusal *Refusal
}

func refused(r *Refusal) Outcome { return Outcome{Refusal: r} }

// Minting is what a new token is made with, drawn at the edge.
type Minting struct {
	// JTI is the access token's id.
	JTI string
	// KID is the key that will sign it.
	KID string
	// MACKey authenticates the code or refresh token.
	MACKey uint8
	// LoginClaims asks for the claims that clients of the Login API read.
	LoginClaims bool
}

// userAudience is the audience of a token from a user's grant. One with the
// scope openid, or with the Login API's claims, is for the issuer too, whatever
// it was narrowed to: clients have no other token for the UserInfo endpoint
// (OIDC Core §5.3) or for their user's profile.
func (m Minting) userAudience(scope, audience []string, issuer string) []string {
	wanted := m.LoginClaims || slices.Contains(scope, ScopeOpenID)
	if !wanted || slices.Contains(audience, issuer) {
		return audience
	}
	return append(slices.Clip(audience), issuer)
}

func issuance(m Minting, generation uint32, now, expires time.Time, scope, audience []string) events.Issuance {
	return events.Issuance{
		Generation: generation,
		JTI:        m.JTI,
		IssuedAt:   now.Unix(),
		Expires:    expires.Unix(),
		Scope:      scope,
		Audience:   audience,
		KID:        m.KID,

		LoginClaims: m.LoginClaims,
	}
}
