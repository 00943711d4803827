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
	return a.carried(ctx, token, func(p rules.Presented) *rules.Refusal { return rules.CheckBearer(p, a.Issuer) })
}

// ServerToken is what the access token says that a client got by its own
// credentials and sent beside a request (the Login API's server token).
func (a *Authority) ServerToken(ctx context.Context, token string) (jose.Claims, error) {
	return a.carried(ctx, token, rules.CheckServerToken)
}

// carried is what an active access token says that a check lets through.
func (a *Authority) carried(ctx context.Context, token string, check func(rules.Presented) *rules.Refusal) (jose.Claims, error) {
	tokens := []presented{{text: token, reason: rules.InvalidBearer}}
	if err := a.accept(ctx, tokens); err != nil {
		return jose.Claims{}, err
	}
	if refusal := check(tokens[0].seen()); refusal != nil {
		return jose.Claims{}, refusal
	}
	return tokens[0].claims, nil
}
