package secret

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// PasswordCost is the cost of one argon2id hash (RFC 9106).
type PasswordCost struct {
	Memory  uint32 // KiB
	Time    uint32 // passes
	Threads uint8  // lanes
}

// DefaultPasswordCost is the minimum that OWASP's Password Storage Cheat Sheet
// recommends: 19 MiB, two passes, one lane.
func DefaultPasswordCost() PasswordCost { return PasswordCost{Memory: 19 << 10, Time: 2, Threads: 1} }

// Bounds of what a stored hash may ask for, so that a corrupt record cannot take
// the machine down.
const (
	maxPasswordMemory  = 1 << 20 // KiB
	maxPasswordTime    = 64
	maxPasswordThreads = 16
)

func (c PasswordCost) check() error {
	switch {
	case c.Threads < 1 || c.Threads > maxPasswordThreads:
		return fmt.Errorf("argon2id lanes: want 1 to %d", maxPasswordThreads)
	case c.Memory < 8*uint32(c.Threads) || c.Memory > maxPasswordMemory:
		return fmt.Errorf("argon2id memory: want 8 KiB a lane to %d KiB", maxPasswordMemory)
	case c.Time < 1 || c.Time > maxPasswordTime:
		return fmt.Errorf("argon2id passes: want 1 to %d", maxPasswordTime)
	}
	return nil
}

// passwordHash is a parsed PHC string.
type passwordHash struct {
	cost      PasswordCost
	salt, sum []byte
}

const (
	saltSize        = 16
	passwordSumSize = 32
)

var errPasswordHash = errors.New("a stored password hash is not an argon2id PHC string")

func hashPassword(cost PasswordCost, salt []byte, password string) passwordHash {
	sum := argon2.IDKey([]byte(password), salt, cost.Time, cost.Memory, cost.Threads, passwordSumSize)
	return passwordHash{cost: cost, salt: salt, sum: sum}
}

// String is the PHC string: $argon2id$v=19$m=19456,t=2,p=1$salt$hash.
func (h passwordHash) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		h.cost.Memory, h.cost.Time, h.cost.Threads, b64.EncodeToString(h.salt), b64.EncodeToString(h.sum))
}

// parsePasswordHash reads what String writes and nothing else.
func parsePasswordHash(text string) (passwordHash, error) {
	var h passwordHash
	parts := strings.Split(text, "$")
	if len(parts) != 6 {
		return h, errPasswordHash
	}
	_, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.cost.Memory, &h.cost.Time, &h.cost.Threads)
	if err != nil || h.cost.check() != nil {
		return h, errPasswordHash
	}
	if h.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return h, errPasswordHash
	}
	if h.sum, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil {
		return h, errPasswordHash
	}
	if len(h.salt) != saltSize || len(h.sum) != passwordSumSize || h.String() != text {
		return h, errPasswordHash
	}
	return h, nil
}
