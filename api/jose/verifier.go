package jose

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// ErrExpired is returned for a token that is in order but past its end.
var ErrExpired = errors.New("token expired")

// ErrUnknownKey is the ErrInvalid of a token whose kid names none of the keys.
var ErrUnknownKey = invalid("unknown kid")

// leeway is how far ahead of us the clock of the replica that issued a token may
// be: each is within 1 s of the log's.
const leeway = 2 * time.Second

// A Verifier knows the keys of one issuer. It is fixed and may be used from many
// goroutines.
type Verifier struct {
	issuer string
	keys   map[string]PublicKey
	own    map[string]*ownES256
}

// NewVerifier takes the issuer's identifier and its keys, whose ids must differ.
func NewVerifier(issuer string, keys []PublicKey) (*Verifier, error) {
	v := &Verifier{issuer: issuer, keys: make(map[string]PublicKey, len(keys))}
	for _, k := range keys {
		if _, ok := v.keys[k.ID]; ok || !events.ValidID(k.ID) {
			return nil, fmt.Errorf("verification keys: bad or repeated kid %.64q", k.ID)
		}
		v.keys[k.ID] = k
	}
	return v, nil
}

// NewOwnVerifier is NewVerifier for who signs with the keys: it decides the same, and
// under ES256 takes a third of the time.
func NewOwnVerifier(issuer string, keys []SigningKey) (*Verifier, error) {
	public, own := make([]PublicKey, len(keys)), map[string]*ownES256{}
	for i, k := range keys {
		public[i] = k.public
		if private, ok := k.private.(*ecdsa.PrivateKey); ok {
			var err error
			if own[k.public.ID], err = newOwnES256(private); err != nil {
				return nil, fmt.Errorf("verification key %s: %w", k.public.ID, err)
			}
		}
	}
	v, err := NewVerifier(issuer, public)
	if err == nil {
		v.own = own
	}
	return v, err
}

// Verify reads an access token of this issuer (RFC 9068 §4): signature by one of
// the keys, type, issuer and time. The error is ErrInvalid or ErrExpired.
// Audience, epochs and revocation are for the caller.
func (v *Verifier) Verify(text string, now time.Time) (Claims, error) {
	c, _, err := v.VerifyBy(text, now)
	return c, err
}

// VerifyBy is Verify with the id of the key that signed. Of a key that is not known
// the error is ErrUnknownKey.
func (v *Verifier) VerifyBy(text string, now time.Time) (c Claims, kid string, err error) {
	c, kid, err = v.Read(text)
	switch {
	case err != nil:
	case c.IssuedAt > now.Add(leeway).Unix():
		err = invalid("issued in the future")
	case c.NotBefore > now.Add(leeway).Unix():
		err = invalid("not valid yet")
	case now.Unix() >= c.Expires:
		err = ErrExpired
	}
	if err != nil {
		return Claims{}, "", err
	}
	return c, kid, nil
}

// Read is Verify whatever the time, with the id of the key: it proves that the
// token was issued, and no more. The error is ErrInvalid.
func (v *Verifier) Read(text string) (c Claims, kid string, err error) {
	payload, kid, err := v.open(text, "at+jwt")
	if err != nil {
		return Claims{}, "", err
	}
	if c, err = parseClaims(payload); err != nil {
		return Claims{}, "", err
	}
	if c.Issuer != v.issuer {
		return Claims{}, "", invalid("another issuer")
	}
	return c, kid, nil
}

// open gives the payload of a token of one type, and which of the keys signed it. The
// type keeps other kinds of token out (RFC 9068 §4, RFC 8725 §3.11). Media types
// know no case.
func (v *Verifier) open(text, typ string) (payload []byte, kid string, err error) {
	t, err := parseJWS(text)
	if err != nil {
		return nil, "", err
	}
	if !strings.EqualFold(t.header.typ, typ) && !strings.EqualFold(t.header.typ, "application/"+typ) {
		return nil, "", invalid("typ is not " + typ)
	}
	key, ok := v.keys[t.header.kid]
	if !ok {
		return nil, "", ErrUnknownKey
	}
	payload, err = key.verify(t, v.own[key.ID])
	return payload, key.ID, err
}
