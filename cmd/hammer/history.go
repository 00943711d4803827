package hammer

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
	"time"
)

// A Kind is what a client asked for.
type Kind string

// The kinds of operations.
const (
	// Login opens a grant, and is answered with a code.
	Login Kind = "login"
	// Redeem exchanges the code of a grant.
	Redeem Kind = "redeem"
	// Refresh presents a refresh token.
	Refresh Kind = "refresh"
	// Revoke revokes a grant by a refresh token.
	Revoke Kind = "revoke"
	// Introspect asks whether an access token is active.
	Introspect Kind = "introspect"
	// Issue asks for an access token by client credentials.
	Issue Kind = "issue"
)

// An Outcome is what a client knows in the end.
type Outcome string

// The outcomes of operations.
const (
	// OK was answered with what was asked for.
	OK Outcome = "ok"
	// Refused was answered with a refusal that is final.
	Refused Outcome = "refused"
	// Unknown may have happened, now or later, or not: there was no answer, or one
	// that says to come again.
	Unknown Outcome = "unknown"
	// NotSent has not happened: no replica took the connection.
	NotSent Outcome = "not_sent"
)

// An Op is one request of a client and what became of it. Tokens are in it by
// their hashes.
type Op struct {
	ID     int    `json:"id"`
	Worker string `json:"worker"`
	Kind   Kind   `json:"kind"`
	// Grant is the client's own number of the grant, 0 where there is none, and
	// GrantID the authority's, once it is known.
	Grant   int    `json:"grant,omitempty"`
	GrantID string `json:"grant_id,omitempty"`
	// Generation is that of the refresh token that was presented, or of the one that
	// came with the access token that was introspected.
	Generation int `json:"generation,omitempty"`
	// Wrong says that the verifier or the client was a wrong one: nothing may come
	// of it. Late says that the code may have expired.
	Wrong bool `json:"wrong,omitempty"`
	Late  bool `json:"late,omitempty"`
	// Presented and Got are the tokens.
	Presented string `json:"presented,omitempty"`
	Got       string `json:"got,omitempty"`
	JTI       string `json:"jti,omitempty"`
	// Active is the answer to an introspection.
	Active bool `json:"active,omitempty"`
	// Call and Return are since the beginning of the run, by the monotonic clock.
	Call   time.Duration `json:"call"`
	Return time.Duration `json:"return"`
	// Replica answered, Request is its id of the request.
	Replica string  `json:"replica,omitempty"`
	Request string  `json:"request,omitempty"`
	Outcome Outcome `json:"outcome"`
	Status  int     `json:"status,omitempty"`
	Error   string  `json:"error,omitempty"`
	// Dropped says that the client itself did not wait for the answer.
	Dropped bool `json:"dropped,omitempty"`
	// Aimed says that the client asked one replica and no other, so that it is
	// no wonder if that one is away.
	Aimed bool `json:"aimed,omitempty"`
}

// failed reports whether a client was let down: it waited, it could have been
// answered, and has nothing.
func (o Op) failed() bool {
	return !o.Dropped && !o.Aimed && (o.Outcome == Unknown || o.Outcome == NotSent)
}

// fingerprint stands for a token where the token itself must not be.
func fingerprint(token string) string {
	if token == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:8])
}

// A recorder takes the history of a run.
type recorder struct {
	began time.Time

	mu     sync.Mutex
	ops    []Op
	grants int
}

func newRecorder() *recorder { return &recorder{began: time.Now()} }

func (r *recorder) now() time.Duration { return time.Since(r.began) }

// add records an operation that has ended.
func (r *recorder) add(o Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o.ID = len(r.ops) + 1
	r.ops = append(r.ops, o)
}

// newGrant numbers a grant.
func (r *recorder) newGrant() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grants++
	return r.grants
}

// history is all that has ended so far.
func (r *recorder) history() []Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clip(r.ops)
}
