package secret

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// keySize is the size in bytes of a key-encryption key and of what is derived
// from it.
const keySize = 32

// A Ring is the key-encryption keys of an installation. The active one seals
// and hashes; the others still open and verify. It may be used from many
// goroutines.
type Ring struct {
	ids    []string
	keys   map[string][]byte
	active string
}

// ParseRing reads a ring: one key a line as `id:base64url(32 bytes)`, of which
// the last is active. Empty lines and lines that start with # are skipped. An id
// is 1 to 32 letters, digits, dashes and underscores. A line must stay until
// nothing sealed or hashed with its key is left. Errors hold no key.
func ParseRing(text Secret) (*Ring, error) {
	r := &Ring{keys: map[string][]byte{}}
	idPattern := regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)
	for i, line := range strings.Split(text.Reveal(), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		id, encoded, ok := strings.Cut(line, ":")
		if !ok || !idPattern.MatchString(id) {
			return nil, fmt.Errorf("key-encryption keys, line %d: want id:key", i+1)
		}
		key, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(encoded, "="))
		if err != nil || len(key) != keySize {
			return nil, fmt.Errorf("key-encryption keys, line %d: the key is not base64url of %d bytes", i+1, keySize)
		}
		if _, ok := r.keys[id]; ok {
			return nil, fmt.Errorf("key-encryption keys, line %d: id %s is there twice", i+1, id)
		}
		r.ids, r.keys[id], r.active = append(r.ids, id), key, id
	}
	if r.active == "" {
		return nil, errors.New("key-encryption keys: there is none")
	}
	return r, nil
}

// NewRingLine makes a line for ParseRing with a fresh key.
func NewRingLine(id string) Secret {
	key := make([]byte, keySize)
	_, _ = rand.Read(key)
	return New(id + ":" + base64.RawURLEncoding.EncodeToString(key) + "\n")
}

// Active is the id of the key that seals and hashes.
func (r *Ring) Active() string { return r.active }

// IDs are the ids of all keys in the order of their lines.
func (r *Ring) IDs() []string { return append([]string(nil), r.ids...) }

// Format keeps the keys out of whatever the ring is printed to.
func (*Ring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// derive gives the key of every line for one purpose (HKDF-SHA256, RFC 5869),
// so that no key is ever used for two things.
func (r *Ring) derive(purpose string) map[string][]byte {
	derived := make(map[string][]byte, len(r.keys))
	for id, key := range r.keys {
		k, err := hkdf.Key(sha256.New, key, nil, "chancery/v1/"+purpose, keySize)
		if err != nil {
			panic("hkdf of constant sizes: " + err.Error())
		}
		derived[id] = k
	}
	return derived
}
