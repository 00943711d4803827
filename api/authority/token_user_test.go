package authority

import (
	"bytes"
	"encoding/base64"
	"errors"
	"testing"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
)

// sealing is an authority with key-encryption keys of these ids.
func sealing(t *testing.T, ids ...string) *Authority {
	t.Helper()
	var lines string
	for _, id := range ids {
		lines += id + ":" + base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte(id), 32)) + "\n"
	}
	ring, err := secret.ParseRing(secret.New(lines))
	if err != nil {
		t.Fatal(err)
	}
	return &Authority{Config: Config{TokenUsers: ring.Sealer("token-user")}}
}

func TestTokenUser(t *testing.T) {
	grant := events.NewGrantID(0, [16]byte{1: 1})
	hidden := jose.Claims{Subject: "hidden", User: "u1", JTI: "j", Grant: grant}
	sealing(t, "a").hideUser(&hidden)
	told := func(change func(*jose.Claims)) jose.Claims {
		c := hidden
		c.User = ""
		change(&c)
		return c
	}
	same := func(*jose.Claims) {}
	if hidden.SealedUser == "" {
		t.Fatal("nothing was sealed")
	}
	for name, test := range map[string]struct {
		by     *Authority
		claims jose.Claims
		user   string
		wrong  func(error) bool
	}{
		"pairwise":           {sealing(t, "a"), told(same), "u1", nil},
		"by an older key":    {sealing(t, "a", "b"), told(same), "u1", nil},
		"public":             {sealing(t, "a"), jose.Claims{Subject: "u2", Grant: grant}, "u2", nil},
		"a client's own":     {sealing(t, "a"), jose.Claims{Subject: "service"}, "", nil},
		"by a key not here":  {sealing(t, "b"), told(same), "", func(err error) bool { return isRefusal(err, Unavailable) }},
		"of another token":   {sealing(t, "a"), told(func(c *jose.Claims) { c.JTI = "k" }), "", isInvalid},
		"not base64url":      {sealing(t, "a"), told(func(c *jose.Claims) { c.SealedUser = "=" }), "", isInvalid},
		"nothing in it":      {sealing(t, "a"), told(func(c *jose.Claims) { c.SealedUser = "AA" }), "", isInvalid},
		"one character less": {sealing(t, "a"), told(func(c *jose.Claims) { c.SealedUser = c.SealedUser[1:] }), "", isInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.by.findUser(&test.claims)
			if (err != nil) != (test.wrong != nil) || err != nil && !test.wrong(err) {
				t.Errorf("error %v", err)
			}
			if test.claims.User != test.user {
				t.Errorf("user %q, want %q", test.claims.User, test.user)
			}
		})
	}
	public := jose.Claims{Subject: "u1", User: "u1", JTI: "j", Grant: grant}
	if sealing(t, "a").hideUser(&public); public.SealedUser != "" {
		t.Error("sealed what the sub tells")
	}
}

func isInvalid(err error) bool { return errors.Is(err, jose.ErrInvalid) }
