package authority

import (
	"context"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/projector/fold"
)

// ClientCredential is how a client says who it is (RFC 6749 §2.3).
type ClientCredential struct {
	ID string
	// Secret is empty for a client that sent none.
	Secret string
	// Basic says that the credential came in the Authorization header.
	Basic bool
}

// AuthenticateClient tells which client it is. Unknown, disabled, wrong secret
// and a secret where there should be none are one answer. Work is equal
// whether the client exists or not.
//
// Failures are limited after the secret was compared, not before. A secret of
// 256 bits is not guessed however often one may try, and comparing takes
// microseconds; but whoever shares an address with a flood of wrong ones, as
// behind a proxy, must get through with a right one.
func (a *Authority) AuthenticateClient(ctx context.Context, c ClientCredential, caller Caller) (fold.Client, error) {
	client, err := a.authenticateClient(ctx, c)
	if !isRefusal(err, ClientAuthenticationFailed) {
		return client, err
	}
	end, wait := a.Failures.Begin("client "+c.ID, caller.Address, a.Feed.Now(0))
	if end == nil {
		return fold.Client{}, &rules.Refusal{Reason: Busy, Detail: "too many failed client authentications", RetryAfter: wait}
	}
	end(true)
	return client, err
}

func (a *Authority) authenticateClient(ctx context.Context, c ClientCredential) (fold.Client, error) {
	if err := a.requireFreshRegistry(ctx); err != nil {
		return fold.Client{}, err
	}
	client, _ := a.Feed.Client(c.ID)
	_, matches := a.Secrets.Verify(c.ID, c.Secret, client.Secrets)
	failed := &rules.Refusal{Reason: ClientAuthenticationFailed}
	switch {
	case !client.Exists():
		failed.Detail = "unknown client"
	case client.Disabled:
		failed.Detail = "disabled client"
	case client.Public && (c.Secret != "" || c.Basic):
		failed.Detail = "a public client has no secret"
	case !client.Public && !matches:
		failed.Detail = "wrong secret"
	default:
		return client, nil
	}
	return fold.Client{}, failed
}

// FindClient is the client of a request that does not authenticate one, such
// as those that ask for a code.
func (a *Authority) FindClient(ctx context.Context, id string) (fold.Client, error) {
	if err := a.requireFreshRegistry(ctx); err != nil {
		return fold.Client{}, err
	}
	client, ok := a.Feed.Client(id)
	if !ok || client.Disabled {
		return fold.Client{}, &rules.Refusal{Reason: NoSuchClient, Parameter: "client_id"}
	}
	return client, nil
}

func (a *Authority) policy(c fold.Client) rules.Policy { return a.Policy().For(c.ClientSettings) }
