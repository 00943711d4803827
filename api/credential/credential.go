// Package credential is the text of authorization and device codes, refresh
// tokens and session cookies.
//
// All are self-describing: they name their grant or session, generation and
// absolute expiry, and a MAC over all of it proves that this authority rendered them. So
// garbage and dead tokens are refused without any I/O, and a refresh token's
// successor is derived, not stored: the same claims under the same key always
// give the same bytes. The package is pure.
package credential

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"strings"

	"github.com/chancery-authority/chancery/events"
)

// A Kind is what a credential is for. Its value is the prefix of the text, and
// the MAC covers it, so one kind never passes for another.
type Kind string

// The kinds.
const (
	Code         Kind = "chc_" // RFC 6749 §4.1.2
	RefreshToken Kind = "chr_" // RFC 6749 §1.5
	Session      Kind = "chb_" // what a browser proves a session with
	DeviceCode   Kind = "chd_" // RFC 8628 §3.2
)

// KindOf tells by its prefix what text claims to be. It proves nothing.
func KindOf(text string) (Kind, bool) {
	for _, k := range [...]Kind{Code, RefreshToken, Session, DeviceCode} {
		if strings.HasPrefix(text, string(k)) {
			return k, true
		}
	}
	return "", false
}

// Claims are what a credential says.
type Claims struct {
	// Grant is the session's id where the credential is a session's.
	Grant events.GrantID
	// Generation is the refresh token's place in its grant, from 1. It is 0 for
	// codes and for a session.
	Generation uint32
	// Expires is the absolute end in Unix seconds, below 2^32.
	Expires int64
	// MACKey is the id of the key that authenticates the text, from 1.
	MACKey uint8
}

// ErrInvalid is the one error for a text this authority did not render,
// whatever is wrong with it.
var ErrInvalid = errors.New("invalid credential")

// KeySize is the size of a MAC key in bytes.
const KeySize = 32

const (
	prefixSize = len(Code)
	claimsSize = len(events.GrantID{}) + 4 + 4 + 1
	binarySize = claimsSize + sha256.Size
	// textSize has no partial group of base64, hence no spare bits: one binary
	// form has one text.
	textSize = prefixSize + (binarySize*8+5)/6
)

// A Ring is a fixed set of MAC keys by id. It may be used from many goroutines.
type Ring struct{ keys map[uint8][KeySize]byte }

// NewRing makes a ring of keys by id. Id 0 stands for "no key" in the log and
// is refused.
func NewRing(keys map[uint8][KeySize]byte) (*Ring, error) {
	if _, ok := keys[0]; ok {
		return nil, errors.New("a MAC key's id is 1 to 255")
	}
	return &Ring{keys: maps.Clone(keys)}, nil
}

// Format keeps the keys out of whatever the ring is printed to.
func (*Ring) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "REDACTED") }

// Render gives the text of c. It fails only for claims that no event of ours
// holds, or whose key is not in the ring.
func (r *Ring) Render(k Kind, c Claims) (string, error) {
	if err := c.check(k); err != nil {
		return "", fmt.Errorf("render credential: %w", err)
	}
	key, ok := r.keys[c.MACKey]
	if !ok {
		return "", fmt.Errorf("render credential: no MAC key %d", c.MACKey)
	}
	b := c.append(make([]byte, 0, binarySize))
	b = append(b, sum(key, k, b)...)
	return string(k) + base64.RawURLEncoding.EncodeToString(b), nil
}

// Parse reads a text that Render gave for the same kind with a key of the
// ring. Any other text is ErrInvalid. Whether it has expired is for the caller.
func (r *Ring) Parse(k Kind, text string) (Claims, error) {
	if len(text) != textSize || text[:prefixSize] != string(k) {
		return Claims{}, ErrInvalid
	}
	var b [binarySize]byte
	n, err := base64.RawURLEncoding.Strict().Decode(b[:], []byte(text[prefixSize:]))
	if err != nil || n != binarySize { // n: the decoder skips line breaks
		return Claims{}, ErrInvalid
	}
	c := parseClaims(b[:claimsSize])
	key, ok := r.keys[c.MACKey]
	if !ok || !hmac.Equal(b[claimsSize:], sum(key, k, b[:claimsSize])) {
		return Claims{}, ErrInvalid
	}
	return c, nil
}

func (c Claims) check(k Kind) error {
	if c.Grant.IsZero() {
		return errors.New("no grant")
	}
	if c.Expires <= 0 || c.Expires > math.MaxUint32 {
		return errors.New("expiry does not fit 32 bits")
	}
	switch k {
	case Code, Session, DeviceCode:
		if c.Generation != 0 {
			return errors.New("only a refresh token has a generation")
		}
	case RefreshToken:
		if c.Generation == 0 {
			return errors.New("a refresh token has a generation")
		}
	default:
		return errors.New("unknown kind")
	}
	return nil
}

// append adds the binary form: grant, generation, expiry and MAC key id,
// big-endian.
func (c Claims) append(b []byte) []byte {
	b = append(b, c.Grant[:]...)
	b = binary.BigEndian.AppendUint32(b, c.Generation)
	b = binary.BigEndian.AppendUint32(b, uint32(c.Expires)) //nolint:gosec // checked by check
	return append(b, c.MACKey)
}

func parseClaims(b []byte) Claims {
	return Claims{
		Grant:      events.GrantID(b[:16]),
		Generation: binary.BigEndian.Uint32(b[16:20]),
		Expires:    int64(binary.BigEndian.Uint32(b[20:24])),
		MACKey:     b[24],
	}
}

func sum(key [KeySize]byte, k Kind, claims []byte) []byte {
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte(k))
	mac.Write(claims)
	return mac.Sum(nil)
}
