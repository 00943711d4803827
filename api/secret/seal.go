package secret

import (
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// Errors of Open.
var (
	// ErrUnknownKey: the key it was sealed with is not in the ring.
	ErrUnknownKey = errors.New("sealed with a key-encryption key that is not there")
	// ErrSealed: it was changed, was sealed for something else, or the key of
	// that id is another one.
	ErrSealed = errors.New("cannot be opened with this key-encryption key")
)

// sealFormat is the first byte of everything sealed.
const sealFormat = 1

// A Sealer encrypts small things for one purpose with XChaCha20-Poly1305, whose
// nonces are long enough to be random. It may be used from many goroutines.
type Sealer struct {
	active string
	aeads  map[string]cipher.AEAD
}

// Sealer gives the sealer for a purpose. What one seals no other opens.
func (r *Ring) Sealer(purpose string) *Sealer {
	s := &Sealer{active: r.active, aeads: map[string]cipher.AEAD{}}
	for id, key := range r.derive("seal/" + purpose) {
		aead, err := chacha20poly1305.NewX(key)
		if err != nil {
			panic("XChaCha20-Poly1305 of a constant key size: " + err.Error())
		}
		s.aeads[id] = aead
	}
	return s
}

// Seal encrypts plaintext and binds it to context, which Open must repeat. The
// result is format, length of the key id, key id, nonce and ciphertext.
func (s *Sealer) Seal(plaintext, context []byte) []byte {
	aead := s.aeads[s.active]
	b := append([]byte{sealFormat, byte(len(s.active))}, s.active...) //nolint:gosec // ids have at most 32 bytes
	ad := append(append([]byte(nil), b...), context...)
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce)
	return aead.Seal(append(b, nonce...), nonce, plaintext, ad)
}

// SealedBy is the id of the key that something was sealed with, empty for what is
// not sealed.
func SealedBy(sealed []byte) string {
	if len(sealed) < 2 || sealed[0] != sealFormat || len(sealed) < 2+int(sealed[1]) {
		return ""
	}
	return string(sealed[2 : 2+int(sealed[1])])
}

// Reseal is what was sealed for the same context, sealed with the active key, and
// the id of the key that it was sealed with before. What is sealed with the active
// key stays as it is.
func (s *Sealer) Reseal(sealed, context []byte) (anew []byte, by string, err error) {
	if by = SealedBy(sealed); by == s.active {
		return sealed, by, nil
	}
	plaintext, err := s.Open(sealed, context)
	if err != nil {
		return nil, by, err
	}
	return s.Seal(plaintext, context), by, nil
}

// Open decrypts what Seal gave for the same context. The error is ErrUnknownKey
// or ErrSealed, with the key's id.
func (s *Sealer) Open(sealed, context []byte) ([]byte, error) {
	if SealedBy(sealed) == "" {
		return nil, fmt.Errorf("%w: unknown format", ErrSealed)
	}
	header := sealed[:2+int(sealed[1])]
	id := string(header[2:])
	aead, ok := s.aeads[id]
	if !ok {
		return nil, fmt.Errorf("%w: id %q", ErrUnknownKey, id)
	}
	rest := sealed[len(header):]
	if len(rest) < aead.NonceSize() {
		return nil, fmt.Errorf("%w: too short", ErrSealed)
	}
	nonce, ciphertext := rest[:aead.NonceSize()], rest[aead.NonceSize():]
	ad := append(append([]byte(nil), header...), context...)
	plaintext, err := aead.Open(nil, nonce, ciphertext, ad)
	if err != nil {
		return nil, fmt.Errorf("%w: id %q", ErrSealed, id)
	}
	return plaintext, nil
}
