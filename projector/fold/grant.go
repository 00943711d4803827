package fold

import (
	"cmp"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// A Grant is the state of one grant: one authorization by one resource owner
// for one client. The zero value is a grant that was never opened.
type Grant struct {
	ID events.GrantID `json:"id"`
	// Seq is the sequence of the last event folded, and so the expectation of
	// an append that is decided on this state. OpenedSeq is that of the first.
	Seq       uint64 `json:"seq"`
	OpenedSeq uint64 `json:"opened_seq"`

	Client      string       `json:"client"`
	User        string       `json:"user"`
	Scope       []string     `json:"scope,omitempty"`
	Audience    []string     `json:"aud,omitempty"`
	ClientEpoch uint64       `json:"client_epoch"`
	UserEpoch   uint64       `json:"user_epoch"`
	AuthTime    int64        `json:"auth_time"`
	AMR         []string     `json:"amr,omitempty"`
	OpenedAt    time.Time    `json:"opened_at"`
	Expires     int64        `json:"exp"`
	Refreshable bool         `json:"refreshable,omitempty"`
	Code        *events.Code `json:"code,omitempty"`
	// Session is the one that the grant was opened in, if any.
	Session events.SessionID `json:"session,omitzero"`
	// ACR, Nonce and Pairwise are as in events.GrantOpened.
	ACR      string `json:"acr,omitempty"`
	Nonce    string `json:"nonce,omitempty"`
	Pairwise string `json:"pairwise_sub,omitempty"`

	// Current is the newest issuance, and IssuedAt the log's time of it. Its
	// generation is 0 before the code is redeemed.
	Current events.Issuance `json:"current,omitzero"`
	// PreviousMACKey is that of the generation before. A token of the same generation
	// with another key is one whose event the log has lost.
	PreviousMACKey uint8     `json:"previous_mac,omitempty"`
	IssuedAt       time.Time `json:"issued_at,omitzero"`
	// RedeemedAt is the log's time of the code exchange.
	RedeemedAt time.Time `json:"redeemed_at,omitzero"`
	// Repeated says that the current generation was answered again.
	Repeated bool `json:"repeated,omitempty"`

	// RevokedReason is empty for a grant that was not revoked.
	RevokedReason string    `json:"revoked_reason,omitempty"`
	RevokedAt     time.Time `json:"revoked_at,omitzero"`
}

// Exists reports whether the grant was opened.
func (g Grant) Exists() bool { return g.Seq != 0 }

// Revoked reports whether the grant was ended before its time.
func (g Grant) Revoked() bool { return g.RevokedReason != "" }

// Subject is the sub of the grant's tokens.
func (g Grant) Subject() string { return cmp.Or(g.Pairwise, g.User) }

// Redeemed reports whether the grant's code is spent, or never was needed.
func (g Grant) Redeemed() bool { return g.Current.Generation > 0 }

// Apply folds the next event of the grant's subject.
func (g Grant) Apply(r events.Recorded) (Grant, error) {
	if why := g.refuses(r); why != "" {
		return g, poison(r, why)
	}
	next, why := g.advance(r)
	if why != "" {
		return g, poison(r, why)
	}
	next.Seq = r.Seq
	return next, nil
}

// refuses says why r cannot be next, whatever it says.
func (g Grant) refuses(r events.Recorded) string {
	_, opening := r.Fact.(events.GrantOpened)
	switch {
	case r.Seq <= g.Seq:
		return "out of order"
	case opening && g.Exists():
		return "already opened"
	case !opening && !g.Exists():
		return "never opened"
	case g.Exists() && !r.Subject.IsGrant(g.ID):
		return "another grant's event"
	case g.Revoked() && g.RevokedReason != events.ReasonLogRestored:
		return "already revoked"
	}
	return ""
}

// advance folds what may be next. A grant that was lost has ended, whatever a
// replica appends to it that has not heard of that yet.
func (g Grant) advance(r events.Recorded) (Grant, string) {
	if g.Revoked() {
		return g, ""
	}
	switch f := r.Fact.(type) {
	case events.GrantOpened:
		return opened(r, f)
	case events.CodeRedeemed:
		if g.Code == nil || g.Redeemed() || f.Generation != 1 {
			return g, "no code to redeem"
		}
		g.Current, g.IssuedAt, g.RedeemedAt = f.Issuance, r.Stored, r.Stored
	case events.RefreshTokenRotated:
		if !g.Current.HasRefresh() || f.Generation != g.Current.Generation+1 || !f.HasRefresh() {
			return g, "not the next generation"
		}
		g.PreviousMACKey = g.Current.MACKey
		g.Current, g.IssuedAt, g.Repeated = f.Issuance, r.Stored, false
	case events.RefreshTokenRepeated:
		if f.Generation != g.Current.Generation || g.Repeated || f.Generation < 2 {
			return g, "not a first repeat of the current generation"
		}
		g.Repeated = true
	case events.GrantRevoked:
		if f.Reason == "" {
			return g, "no reason"
		}
		g.RevokedReason, g.RevokedAt = f.Reason, r.Stored
	default:
		return g, "not a grant's event"
	}
	return g, ""
}

func opened(r events.Recorded, f events.GrantOpened) (Grant, string) {
	id, err := events.ParseGrantID(r.Subject.ID())
	switch {
	case err != nil:
		return Grant{}, err.Error()
	case !r.Subject.IsGrant(id):
		return Grant{}, "not in the partition that its id names"
	case (f.Code == nil) == (f.Issued == nil):
		return Grant{}, "want either a code or an issuance"
	case f.Issued != nil && f.Issued.Generation != 1:
		return Grant{}, "first issuance is not generation 1"
	}
	g := Grant{
		ID: id, OpenedSeq: r.Seq, Client: f.Client, User: f.User, Scope: f.Scope, Audience: f.Audience,
		ClientEpoch: f.ClientEpoch, UserEpoch: f.UserEpoch, AuthTime: f.AuthTime, AMR: f.AMR,
		OpenedAt: r.Stored, Expires: f.Expires, Refreshable: f.Refreshable, Code: f.Code, Session: f.Session,
		ACR: f.ACR, Nonce: f.Nonce, Pairwise: f.Pairwise,
	}
	if f.Issued != nil {
		g.Current, g.IssuedAt, g.RedeemedAt = *f.Issued, r.Stored, r.Stored
	}
	return g, ""
}
