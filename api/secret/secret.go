// Package secret keeps what must not be seen: a text that prints REDACTED, the
// ring of key-encryption keys that everything else is sealed or hashed with,
// client secrets, password hashes, and hashes of client addresses.
//
// The ring comes from a file or the environment and never enters NATS, so a
// copy of the log and of all buckets opens nothing.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "REDACTED"

// A Secret is a text that shows itself only through Reveal: fmt, slog, JSON,
// YAML and text encoders write REDACTED, or nothing for the zero Secret. The
// text is behind a pointer because fmt prints the unexported fields of other
// structs without asking their methods.
type Secret struct{ text *string }

// New makes a secret of text. The empty text gives the zero Secret.
func New(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal gives the text itself.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no text.
func (s Secret) IsZero() bool { return s.text == nil }

// Equal compares with a presented text. It takes the same time wherever they
// differ, and tells nothing of the lengths.
func (s Secret) Equal(presented string) bool {
	want, got := sha256.Sum256([]byte(s.Reveal())), sha256.Sum256([]byte(presented))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

func (s Secret) mask() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// Format writes REDACTED for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.mask()) }

// LogValue is REDACTED.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.mask()) }

// MarshalText is REDACTED, in JSON and YAML too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.mask()), nil }

// UnmarshalText takes the text as it is, so that flags, environment variables
// and configuration files can hold a secret.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = New(string(text))
	return nil
}
