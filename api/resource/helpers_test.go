package resource_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
)

// nothing is revoked, ever.
type nothing struct{}

func (nothing) Now() time.Time { return time.Now() }

func (nothing) Ended(context.Context, string, []rules.Link) (rules.Why, time.Time) {
	return "", time.Now()
}

// header is a JOSE header.
func header(t testing.TB, members map[string]string) string {
	t.Helper()
	text, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func kidOf(t testing.TB, token string) string {
	t.Helper()
	first, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil {
		t.Fatal(err)
	}
	var members struct{ Kid string }
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	return members.Kid
}

func newID() string { return rand.Text() }
