package fold

import (
	"github.com/chancery-authority/chancery/events"
)

// An AccessToken is one access token outside a grant's rotation.
type AccessToken struct {
	// Seq is the event that issued it. The subject is shared by all tokens of
	// a client, so the token is its own aggregate: one event, never changed.
	Seq uint64 `json:"seq"`
	events.AccessTokenIssued
	// Grant is the one at the root of a token that was exchanged, zero if there
	// is none.
	Grant events.GrantID `json:"grant,omitzero"`
	// Parent is the jti of the token it was exchanged for, Actor the sub of who
	// acts. Both are empty for a token that came of no exchange.
	Parent string `json:"parent,omitempty"`
	Actor  string `json:"actor,omitempty"`
}

// IssuedAccessToken folds the one event of an access token outside a grant's
// rotation.
func IssuedAccessToken(r events.Recorded) (AccessToken, error) {
	switch f := r.Fact.(type) {
	case events.AccessTokenIssued:
		return AccessToken{Seq: r.Seq, AccessTokenIssued: f}, nil
	case events.TokenExchanged:
		t := AccessToken{Seq: r.Seq, AccessTokenIssued: f.AccessTokenIssued, Grant: f.Grant, Parent: parent(f.Chain)}
		if t.Parent == "" {
			return AccessToken{}, poison(r, "made from no token")
		}
		if f.Act != nil {
			t.Actor = f.Act.Subject
		}
		return t, nil
	}
	return AccessToken{}, poison(r, "not a token's event")
}

// parent is the jti of the last subject token.
func parent(chain []events.Ancestor) (jti string) {
	for _, a := range chain {
		if a.Actor == nil {
			jti = a.JTI
		}
	}
	return jti
}

// A Revocation is a marker that access tokens are dead before their time:
// all of a grant's, or a single one.
type Revocation struct {
	// Seq is the marker's.
	Seq uint64 `json:"seq"`
	// One of these is set: a grant was revoked, a single token, or a session
	// ended.
	Grant   events.GrantID   `json:"grant,omitzero"`
	JTI     string           `json:"jti,omitempty"`
	Session events.SessionID `json:"session,omitzero"`
	// Until, in Unix seconds, is when what it revokes would have expired.
	Until int64 `json:"until"`
}

// Revoked folds an event of a partition's revocation subject. A tick revokes
// nothing, and what an accepted loss ends is a Restoration's: ok is false.
func Revoked(r events.Recorded) (rev Revocation, ok bool, err error) {
	switch f := r.Fact.(type) {
	case events.GrantRevocationMarked:
		if f.Grant.IsZero() {
			return Revocation{}, false, poison(r, "names no grant")
		}
		return Revocation{Seq: r.Seq, Grant: f.Grant, Until: f.Until}, true, nil
	case events.AccessTokenRevoked:
		if f.JTI == "" {
			return Revocation{}, false, poison(r, "names no token")
		}
		return Revocation{Seq: r.Seq, JTI: f.JTI, Until: f.Until}, true, nil
	case events.SessionEnded:
		if f.Session.IsZero() {
			return Revocation{}, false, poison(r, "names no session")
		}
		return Revocation{Seq: r.Seq, Session: f.Session, Until: f.Until}, true, nil
	case events.FeedTicked, events.LogRestored:
		return Revocation{}, false, nil
	}
	return Revocation{}, false, poison(r, "not a revocation")
}
