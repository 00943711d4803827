package secret

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/netip"
)

// addressHashSize is in bytes. Nobody attacks it by collision: it needs only to
// tell one address from another.
const addressHashSize = 12

// Addresses hashes client addresses for the log, where an issuance keeps only
// the hash (events.Issuance.Origin). Without the ring it tells nothing; with it,
// only whether a known address is the one. It may be used from many goroutines.
type Addresses struct {
	active string
	keys   map[string][]byte
}

// NewAddresses derives the HMAC keys from ring.
func NewAddresses(ring *Ring) *Addresses {
	return &Addresses{active: ring.active, keys: ring.derive("address")}
}

// Hash gives the hash of an address within scope, the text of a grant id. The
// same address in another scope has another hash, so that the log does not link
// a person's grants. An invalid address has the empty hash, which nothing
// matches.
func (a *Addresses) Hash(scope string, addr netip.Addr) string {
	return addressSum(a.keys[a.active], scope, addr)
}

// Matches reports whether hash is of addr within scope, under any key of the
// ring.
func (a *Addresses) Matches(hash, scope string, addr netip.Addr) bool {
	if hash == "" || !addr.IsValid() {
		return false
	}
	found := false
	for _, key := range a.keys {
		if hmac.Equal([]byte(hash), []byte(addressSum(key, scope, addr))) {
			found = true
		}
	}
	return found
}

func addressSum(key []byte, scope string, addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	b, _ := addr.Unmap().WithZone("").MarshalBinary() // 4 or 16 bytes, never an error
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(scope))
	mac.Write([]byte{0}) // no grant id holds it, so no two pairs are the same bytes
	mac.Write(b)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:addressHashSize])
}
