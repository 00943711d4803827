package authority

import (
	"context"

	"github.com/chancery-authority/chancery/projector/fold"
)

// A UserAccount is what an administrator is told of a user.
type UserAccount struct {
	fold.User
	// Username and Email are empty where the record does not have them, or was
	// erased.
	Username, Email string
	// Sessions and Grants are how many are in force, as far as Account counts.
	Sessions, Grants int
}

// UserAccount is that of a user, also of a deleted one. The refusal is
// rules.NotFound.
func (a *Authority) UserAccount(ctx context.Context, id string) (UserAccount, error) {
	u, err := a.User(ctx, id)
	if err != nil {
		return UserAccount{}, err
	}
	if u, err = a.newest(ctx, u); err != nil {
		return UserAccount{}, err
	}
	record, _, err := a.records.person(ctx, id)
	if err != nil {
		return UserAccount{}, err
	}
	held, err := a.Account(ctx, u)
	return UserAccount{
		User: u, Username: record.Username, Email: record.Email, Sessions: len(held.Sessions), Grants: held.Grants,
	}, err
}

// FindUsers are those with a user name: one, or none.
func (a *Authority) FindUsers(ctx context.Context, username string) ([]UserAccount, error) {
	u, _, err := a.find(ctx, username)
	if err != nil || !u.Exists() || u.Deleted {
		return nil, err
	}
	account, err := a.UserAccount(ctx, u.ID)
	return []UserAccount{account}, err
}

// Sessions are those of a user that are in force, with their user agents.
func (a *Authority) Sessions(ctx context.Context, id string) ([]SignedIn, error) {
	u, err := a.User(ctx, id)
	if err != nil {
		return nil, err
	}
	if u, err = a.newest(ctx, u); err != nil {
		return nil, err
	}
	held, err := a.Account(ctx, u)
	if err == nil && !u.Deleted {
		a.TellAgents(ctx, u.ID, held.Sessions)
	}
	return held.Sessions, err
}
