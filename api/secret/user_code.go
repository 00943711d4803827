package secret

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"unicode"
)

// The letters of user codes, without vowels, so that they are no words, and
// without what is taken for another (RFC 8628 §6.1).
const (
	userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLength  = 8
)

// A UserCode is what a person types for a device (RFC 8628 §3.2): eight letters.
type UserCode string

// ParseUserCode reads what a person typed, whatever its case, dashes and spaces.
func ParseUserCode(typed string) (code UserCode, ok bool) {
	letters := make([]byte, 0, userCodeLength)
	for _, r := range typed {
		if 'a' <= r && r <= 'z' {
			r -= 'a' - 'A'
		}
		switch {
		case unicode.IsSpace(r), unicode.IsPunct(r):
		case strings.ContainsRune(userCodeLetters, r) && len(letters) < userCodeLength:
			letters = append(letters, byte(r)) //nolint:gosec // one of the letters, which are ASCII
		default:
			return "", false
		}
	}
	return UserCode(letters), len(letters) == userCodeLength
}

// String is the code as it is shown, XXXX-XXXX.
func (c UserCode) String() string {
	if len(c) != userCodeLength {
		return ""
	}
	return string(c[:userCodeLength/2]) + "-" + string(c[userCodeLength/2:])
}

// UserCodes makes user codes from the ids of what they are for, so that nobody
// has to remember which is whose, and the names that what is kept for them is
// kept under, which tell nothing of the codes. It may be used from many
// goroutines.
type UserCodes struct {
	// keys are the ring's, the active one first.
	keys [][]byte
}

// NewUserCodes derives the HMAC keys from ring.
func NewUserCodes(ring *Ring) *UserCodes {
	derived := ring.derive("user-code")
	u := &UserCodes{keys: [][]byte{derived[ring.active]}}
	for _, id := range ring.ids {
		if id != ring.active {
			u.keys = append(u.keys, derived[id])
		}
	}
	return u
}

// For are the codes that id can have: the first is the one to give, the others
// were given before the ring had its active key.
func (u *UserCodes) For(id string) []UserCode {
	codes := make([]UserCode, len(u.keys))
	for i, key := range u.keys {
		codes[i] = userCode(binary.BigEndian.Uint64(userCodeSum(key, "code", id)))
	}
	return codes
}

// Names are those that what is kept for a code can have, in the same order.
func (u *UserCodes) Names(code UserCode) []string {
	names := make([]string, len(u.keys))
	for i, key := range u.keys {
		names[i] = hex.EncodeToString(userCodeSum(key, "name", string(code)))
	}
	return names
}

// userCode writes n as letters. There are 20^8 codes, and n has 64 bits, so they
// are alike but for one part in 10^8.
func userCode(n uint64) UserCode {
	var letters [userCodeLength]byte
	for i := range letters {
		letters[i] = userCodeLetters[n%uint64(len(userCodeLetters))]
		n /= uint64(len(userCodeLetters))
	}
	return UserCode(letters[:])
}

func userCodeSum(key []byte, purpose, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(purpose + "\x00" + text)) // no purpose holds a zero
	return mac.Sum(nil)
}
