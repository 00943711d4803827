package keys

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
)

const pairwiseRecord = "pairwise"

// pairwise is the realm's key of pairwise subjects. The first replica to start
// makes it. It is never replaced: with another, all relying parties would take
// everybody for somebody else.
func (v vault) pairwise(ctx context.Context) ([]byte, error) {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key)
	r, err := v.create(ctx, pairwiseRecord, key)
	if err == nil && len(r.value) != len(key) {
		err = errors.New("it has not 32 bytes")
	}
	return r.value, err
}

// PairwiseSubject is the sub of a user for all clients of a sector, a host
// (OIDC Core §8.1). It tells nothing of the user, and nobody without the key can
// match it with the sub of another sector.
func (m *Manager) PairwiseSubject(sector, user string) string {
	mac := hmac.New(sha256.New, m.pairwise)
	mac.Write([]byte(sector + "\x00" + user))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
