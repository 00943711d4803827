package authority

import (
	"context"
	"time"
)

// A Profile is what a user is told of their own record. What is not known is
// empty.
type Profile struct {
	Username string
	Email    string
	// Registered is when the log stored the registration.
	Registered time.Time

	Nickname  string
	FirstName string
	LastName  string
	// Birthday is a full-date (RFC 3339 §5.6).
	Birthday string
}

// A ProfileChange is what a user changes of their own record. Nil stays as it
// is, and an empty text clears.
type ProfileChange struct {
	Nickname, FirstName, LastName, Birthday *string
}

// Profile is that of a user. NoSuchUser refuses one whose record was erased.
func (a *Authority) Profile(ctx context.Context, id string) (Profile, error) {
	record, found, err := a.records.person(ctx, id)
	if err != nil {
		return Profile{}, err
	}
	if !found {
		return Profile{}, erased()
	}
	return a.profile(ctx, id, record)
}

// ChangeProfile changes that of a user, and gives the new one. The outcome is
// not known where it is unavailable; the same change may be sent again.
func (a *Authority) ChangeProfile(ctx context.Context, id string, change ProfileChange) (Profile, error) {
	record, err := a.records.update(ctx, id, func(p *person) {
		set(&p.Nickname, change.Nickname)
		set(&p.FirstName, change.FirstName)
		set(&p.LastName, change.LastName)
		set(&p.Birthday, change.Birthday)
	})
	if err != nil {
		return Profile{}, err
	}
	return a.profile(ctx, id, record)
}

func set(field, value *string) {
	if value != nil {
		*field = *value
	}
}

func (a *Authority) profile(ctx context.Context, id string, p person) (Profile, error) {
	u, err := a.user(ctx, id)
	if err != nil {
		return Profile{}, err
	}
	return Profile{
		Username: p.Username, Email: p.Email, Registered: u.CreatedAt,
		Nickname: p.Nickname, FirstName: p.FirstName, LastName: p.LastName, Birthday: p.Birthday,
	}, nil
}
