// Package endings is what the authority tells resource servers of access tokens
// that ended before their time, so that they can verify tokens by themselves: what
// it is, how it is sent, and what is made of it there.
//
// Whoever reads it has no right to know of tokens that they do not hold. So ids are
// told as digests: a token shows whoever holds it what to look for, and nobody can
// tell a grant, user or token from its digest, because ids are random. Only those
// of clients can be guessed, which are no secret. Nothing says which entries belong
// together.
//
// Endings only ever add up: nothing that has ended comes back, and an epoch only
// rises. So it does not matter in which order they come, or how often.
package endings

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/rules"
)

// A Kind is what has ended.
type Kind string

// The kinds. Token is a jti, User the sub of tokens that come of a grant, Key a
// kid, Lost the number of a partition that has lost events.
const (
	Token  Kind = "token"
	Grant  Kind = "grant"
	Client Kind = "client"
	User   Kind = "user"
	Key    Kind = "key"
	Lost   Kind = "lost"
)

// A Digest stands for an id.
type Digest [16]byte

// DigestOf is that of an id. Half of SHA-256 is enough: to have a token refused
// one would have to find a second preimage of 128 bits.
func DigestOf(k Kind, id string) (d Digest) {
	sum := sha256.Sum256([]byte("chancery " + string(k) + "\x00" + id))
	copy(d[:], sum[:])
	return d
}

// MarshalText is base64url.
func (d Digest) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, d[:]), nil
}

// UnmarshalText reads what MarshalText gives.
func (d *Digest) UnmarshalText(text []byte) error {
	b, err := base64.RawURLEncoding.Strict().DecodeString(string(text))
	// The decoder skips line breaks.
	if err != nil || len(b) != len(d) || len(text) != base64.RawURLEncoding.EncodedLen(len(d)) {
		return fmt.Errorf("digest: not %d bytes in base64url", len(d))
	}
	copy(d[:], b)
	return nil
}

// An Entry is one ending.
type Entry struct {
	Kind Kind   `json:"kind"`
	ID   Digest `json:"id"`
	// Epoch is that of a client or user: tokens of an older one have ended. Of a
	// partition it is in Unix seconds, and what was issued before has ended.
	Epoch uint64 `json:"epoch,omitempty"`
	// Until, in Unix seconds, is when all that it ends would have expired.
	Until int64 `json:"until"`
}

// A Mark proves how fresh what was sent before it is.
type Mark struct {
	// AsOf is a moment, in milliseconds after the request arrived at the authority,
	// or before it if negative. Whatever was acknowledged anywhere before it has
	// been sent. Who adds it to when they sent the request gets a moment that is no
	// later, whatever clocks show and however long it was on its way.
	AsOf int64 `json:"as_of_ms"`
	// Time is the log's, in Unix seconds.
	Time int64 `json:"time"`
	// Partitions are those that it is true of. They are numbers, because JSON makes
	// text of a list of bytes.
	Partitions []int `json:"partitions"`
	// Keys is the digest of the JWK Set in force.
	Keys Digest `json:"keys"`
}

// DigestOfKeys is that of a JWK Set, as it is served.
func DigestOfKeys(jwks []byte) Digest { return DigestOf("jwks", string(jwks)) }

// Presented is what the rules see of a token. Where claims do not tell the user's
// id, the subject stands for it: it is as good a name for whoever has no other.
func Presented(c jose.Claims) rules.Presented {
	if c.User == "" && !c.Grant.IsZero() {
		c.User = c.Subject
	}
	return rules.Presented{
		JTI: c.JTI, Client: c.ClientID, ClientEpoch: c.ClientEpoch, Subject: c.Subject, User: c.User, UserEpoch: c.UserEpoch,
		Scope: c.Scope, Audience: c.Audience, Expires: c.Expires, Partition: c.Partition, Grant: c.Grant,
		Act: c.Act, MayAct: c.MayAct, Chain: c.Chain, IssuedAt: c.IssuedAt,
	}
}
