package secret

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"

	"github.com/chancery-authority/chancery/events"
)

// MaxClientSecrets is how many secrets of a client are valid at once: two, so
// that one can be replaced without a gap.
const MaxClientSecrets = 2

// clientSecretPrefix makes a leaked secret easy to find.
const clientSecretPrefix = "chs_"

// NewClientSecret makes a secret of 256 random bits.
func NewClientSecret() Secret {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return New(clientSecretPrefix + base64.RawURLEncoding.EncodeToString(b[:]))
}

// ClientSecrets hashes and verifies the secrets of clients. One HMAC with a key
// outside NATS is enough: 256 random bits cannot be guessed, so a slow hash
// would buy nothing. It may be used from many goroutines.
type ClientSecrets struct {
	active string
	keys   map[string][]byte
}

// NewClientSecrets derives the HMAC keys from ring.
func NewClientSecrets(ring *Ring) *ClientSecrets {
	return &ClientSecrets{active: ring.active, keys: ring.derive("client-secret")}
}

// Hash gives what the log keeps of a client's secret (events.ClientSecretAdded)
// and the id of the key-encryption key it depends on. It is bound to the client.
func (c *ClientSecrets) Hash(client string, s Secret) (hash, keyID string) {
	sum := clientSum(c.keys[c.active], client, s.Reveal())
	return base64.RawURLEncoding.EncodeToString(sum), c.active
}

// Verify looks for the presented secret among the stored ones and gives its id.
// It does the work of MaxClientSecrets comparisons also when fewer or none are
// stored, so that the time does not tell whether a client exists. A secret whose
// key is not in the ring never matches.
func (c *ClientSecrets) Verify(client, presented string, stored []events.ClientSecretAdded) (id string, ok bool) {
	for i := range max(MaxClientSecrets, len(stored)) {
		var s events.ClientSecretAdded
		if i < len(stored) {
			s = stored[i]
		}
		if c.matches(client, presented, s) {
			id, ok = s.ID, true
		}
	}
	return id, ok
}

func (c *ClientSecrets) matches(client, presented string, s events.ClientSecretAdded) bool {
	key, known := c.keys[s.KeyID]
	if !known {
		key = c.keys[c.active]
	}
	want, err := base64.RawURLEncoding.DecodeString(s.Hash)
	return hmac.Equal(want, clientSum(key, client, presented)) && known && err == nil
}

func clientSum(key []byte, client, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(client))
	mac.Write([]byte{0}) // no client id holds it, so no two pairs are the same bytes
	mac.Write([]byte(text))
	return mac.Sum(nil)
}
