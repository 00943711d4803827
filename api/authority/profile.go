package authority

import (
	"context"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
)

// A Profile is what a user is told of their own record.
type Profile struct {
	ID       string
	Username string
	Email    string
	// Registered is when the log stored the registration.
	Registered time.Time
}

// Profile is that of a user. NoSuchUser refuses one whose record was erased.
func (a *Authority) Profile(ctx context.Context, id string) (Profile, error) {
	u, err := a.user(ctx, id)
	if err != nil {
		return Profile{}, err
	}
	record, found, err := a.records.person(ctx, id)
	if err != nil {
		return Profile{}, err
	}
	if !found {
		return Profile{}, &rules.Refusal{Reason: NoSuchUser, Detail: "the record was erased"}
	}
	return Profile{ID: id, Username: record.Username, Email: record.Email, Registered: u.CreatedAt}, nil
}
