package authority

import (
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/secret"
)

// A token with a pairwise subject has its user's id too, because its epoch is
// checked without I/O. It is encrypted, so that only the authority can read it,
// and bound to the jti.

// hideUser puts the user's id into claims to sign, if they do not tell it.
func (a *Authority) hideUser(c *jose.Claims) {
	if c.User != "" && c.User != c.Subject {
		c.SealedUser = base64.RawURLEncoding.EncodeToString(a.TokenUsers.Seal([]byte(c.User), []byte(c.JTI)))
	}
}

// findUser finds the user's id in verified claims. A replica that lacks the key
// it was sealed with does not know: another one may.
func (a *Authority) findUser(c *jose.Claims) error {
	if c.SealedUser == "" {
		if !c.Grant.IsZero() {
			c.User = c.Subject
		}
		return nil
	}
	sealed, err := base64.RawURLEncoding.DecodeString(c.SealedUser)
	if err != nil {
		return fmt.Errorf("%w: usr is not base64url", jose.ErrInvalid)
	}
	id, err := a.TokenUsers.Open(sealed, []byte(c.JTI))
	if errors.Is(err, secret.ErrUnknownKey) {
		return unavailable("open the token's user", err)
	}
	if err != nil {
		return fmt.Errorf("%w: usr: %w", jose.ErrInvalid, err)
	}
	c.User = string(id)
	return nil
}
