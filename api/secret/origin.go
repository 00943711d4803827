package secret

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
)

// An Origin is where a request came from. It is personal data: the log has it
// only sealed.
type Origin struct {
	Address   netip.Addr `json:"address"`
	UserAgent string     `json:"user_agent,omitempty"`
}

// An OriginKey seals origins for one person or client. The public half is in
// the log, where sealing needs no read; the private half is in the record, and
// erasing that makes every sealed origin unreadable for ever.
type OriginKey struct{ private hpke.PrivateKey }

// originKEM is RFC 9180's DHKEM(X25519, HKDF-SHA256); origins are sealed under
// ChaCha20-Poly1305.
func originKEM() hpke.KEM { return hpke.DHKEM(ecdh.X25519()) }

// NewOriginKey makes a key.
func NewOriginKey() (OriginKey, error) {
	private, err := originKEM().GenerateKey()
	if err != nil {
		return OriginKey{}, fmt.Errorf("make origin key: %w", err)
	}
	return OriginKey{private}, nil
}

// ParseOriginKey reads what Bytes gave.
func ParseOriginKey(b []byte) (OriginKey, error) {
	private, err := originKEM().NewPrivateKey(b)
	if err != nil {
		return OriginKey{}, errors.New("parse origin key: malformed")
	}
	return OriginKey{private}, nil
}

// Bytes is the private half. It is to be sealed before it is stored.
func (k OriginKey) Bytes() ([]byte, error) { return k.private.Bytes() }

// Public is the public half as text.
func (k OriginKey) Public() string {
	return base64.RawURLEncoding.EncodeToString(k.private.PublicKey().Bytes())
}

// Format keeps the private half out of whatever the key is printed to.
func (k OriginKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// SealOrigin seals an origin for the holder of the private half of public,
// bound to the id of the event that it goes with.
func SealOrigin(public, event string, o Origin) (string, error) {
	raw, err := base64.RawURLEncoding.DecodeString(public)
	if err != nil {
		return "", errors.New("seal origin: malformed key")
	}
	key, err := originKEM().NewPublicKey(raw)
	if err != nil {
		return "", errors.New("seal origin: malformed key")
	}
	plain, err := json.Marshal(o)
	if err != nil {
		return "", fmt.Errorf("seal origin: %w", err)
	}
	sealed, err := hpke.Seal(key, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), []byte(event), plain)
	if err != nil {
		return "", fmt.Errorf("seal origin: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// Open reads the origin of an event.
func (k OriginKey) Open(event, sealed string) (Origin, error) {
	var o Origin
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return o, fmt.Errorf("%w: origin", ErrSealed)
	}
	plain, err := hpke.Open(k.private, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), []byte(event), raw)
	if err != nil {
		return o, fmt.Errorf("%w: origin", ErrSealed)
	}
	if err := json.Unmarshal(plain, &o); err != nil {
		return o, fmt.Errorf("open origin: %w", err)
	}
	return o, nil
}
