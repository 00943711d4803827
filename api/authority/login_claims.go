package authority

import (
	"context"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/rules"
)

// Values of the Login API's type claim.
const (
	typeUser   = "user"
	typeServer = "server"
)

// addLoginClaims adds what clients of the Login API read beside the claims of
// the RFCs, if the token's event says so. It takes one read for a user's token,
// and none for others. Of a person whose record was erased nothing is told, and other
// parties' clients are told what people agreed to.
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
	client, err := a.client(ctx, c.ClientID)
	if err != nil {
		return err
	}
	name, email := rules.TellsName(client, c.Scope), rules.TellsEmail(client, c.Scope)
	if !name && !email {
		return nil
	}
	record, found, err := a.records.person(ctx, c.User)
	if err != nil || !found {
		return err
	}
	if name {
		c.Extra["username"] = record.Username
	}
	if email && record.Email != "" {
		c.Extra["email"] = record.Email
	}
	return nil
}
