package authority

import (
	"context"

	"github.com/chancery-authority/chancery/api/jose"
)

// Values of the Login API's type claim.
const (
	typeUser   = "user"
	typeServer = "server"
)

// addLoginClaims adds what clients of the Login API read beside the claims of
// the RFCs, if the token's event says so. It takes one read for a user's token,
// and none for others. Of a person whose record was erased nothing is told.
func (a *Authority) addLoginClaims(ctx context.Context, c *jose.Claims, wanted bool) error {
	if !wanted {
		return nil
	}
	c.Extra = map[string]any{
		"scp":        append([]string{}, c.Scope...), // an array, also without any scope
		"groups":     []string{},
		"type":       typeServer,
		"project_id": c.ClientID,
	}
	if c.Grant.IsZero() {
		return nil
	}
	c.Extra["type"] = typeUser
	record, found, err := a.records.person(ctx, c.User)
	if err != nil || !found {
		return err
	}
	c.Extra["username"] = record.Username
	if record.Email != "" {
		c.Extra["email"] = record.Email
	}
	return nil
}
