package authority

import (
	"context"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/rules"
)

// Bearer is what a user's access token says that was sent to an endpoint of our
// own (RFC 6750). One that is not good for that is refused, whatever is wrong
// with it.
func (a *Authority) Bearer(ctx context.Context, token string) (jose.Claims, error) {
	tokens := []presented{{text: token, reason: rules.InvalidBearer}}
	if err := a.accept(ctx, tokens); err != nil {
		return jose.Claims{}, err
	}
	if refusal := rules.CheckBearer(tokens[0].seen(), a.Issuer); refusal != nil {
		return jose.Claims{}, refusal
	}
	return tokens[0].claims, nil
}
