package authority

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// A claim reserves a user name. It counts once its user has registered.
type claim struct {
	User string `json:"user"`
}

// claimTimeout is how long a registration may take. A claim without a user
// after it is left over from a crash and may be taken.
const claimTimeout = time.Minute

// Registration is a new user, as it was sent.
type Registration struct {
	Username string
	// Email is empty if it is not known.
	Email string
	// Password is zero for who cannot sign in by one.
	Password secret.Secret
	// ByAdmin says that an administrator registers somebody.
	ByAdmin bool
}

// Register creates a user: the name first, which makes it unique, then the
// record, then the event. A user without the event does not exist.
func (a *Authority) Register(ctx context.Context, r Registration, caller Caller) (fold.User, error) {
	if err := a.requireFreshRegistry(ctx); err != nil {
		return fold.User{}, err
	}
	record := person{Username: r.Username, Email: r.Email}
	if !r.Password.IsZero() {
		hash, err := a.hashPassword(ctx, r.Password)
		if err != nil {
			return fold.User{}, err
		}
		record.Password = hash
	}
	id := uuid.NewString()
	if err := a.claimName(ctx, r.Username, id); err != nil {
		return fold.User{}, err
	}
	public, private, err := a.newOriginKey(id)
	if err != nil {
		return fold.User{}, err
	}
	record.OriginKey = private
	if err := a.records.create(ctx, id, record); err != nil {
		return fold.User{}, unavailable("write the person's record", err)
	}
	return a.registered(ctx, id, public, r.ByAdmin, caller)
}

// registerSubject makes a user of an id that is an operator's own. Of several who
// do it at once one registers, and all get that user.
func (a *Authority) registerSubject(ctx context.Context, id string, claims PersonClaims, caller Caller) (fold.User, error) {
	if c, err := a.client(ctx, id); err != nil || c.Exists() {
		return fold.User{}, cmp.Or[error](err, &rules.Refusal{Reason: rules.Conflict, Parameter: "subject", Detail: "a client's id"})
	}
	public, private, err := a.newOriginKey(id)
	if err != nil {
		return fold.User{}, err
	}
	record := person{Username: cmp.Or(claims.Username, id), OriginKey: private}
	claims.tell(&record)
	err = a.records.create(ctx, id, record)
	if errors.Is(err, jetstream.ErrKeyExists) { // of another replica, or of a crash
		var key secret.OriginKey
		if key, err = a.originKey(ctx, id); err == nil {
			public = key.Public()
		}
	}
	if err != nil {
		return fold.User{}, unavailable("write the person's record", err)
	}
	u, err := a.registered(ctx, id, public, true, caller)
	if !errors.Is(err, eventlog.ErrConflict) {
		return u, err
	}
	if u, err = a.User(ctx, id); err == nil && u.Deleted { // since, and erased perhaps
		err = a.records.erase(ctx, id)
	}
	return u, err
}

// registered makes the person of a record a user. The origin of an
// administrator's request is not the person's, and is not recorded.
func (a *Authority) registered(ctx context.Context, id, originKey string, byAdmin bool, caller Caller) (fold.User, error) {
	actor := userActor(id)
	if byAdmin {
		actor = adminActor
	}
	e := a.event(a.Log.Realm().UserSubject(id), caller.meta(actor), events.UserRegistered{OriginKey: originKey})
	if !byAdmin {
		a.seal(&e, originKey, caller)
	}
	receipt, err := a.Log.Append(ctx, eventlog.Unit{Event: e})
	if err != nil {
		return fold.User{}, unavailable("append user.registered", err)
	}
	return fold.User{ID: id, Seq: receipt.Seq, OriginKey: originKey, CreatedAt: e.Time}, nil
}

func (a *Authority) hashPassword(ctx context.Context, password secret.Secret) (string, error) {
	hash, err := a.Passwords.Hash(ctx, password)
	if errors.Is(err, secret.ErrBusy) {
		return "", &rules.Refusal{Reason: Busy, Detail: "password hashing"}
	}
	return hash, err
}

// claimName reserves a user name for a user id.
func (a *Authority) claimName(ctx context.Context, username, id string) error {
	key := nameKey(username)
	value, err := json.Marshal(claim{User: id})
	if err != nil {
		return fmt.Errorf("encode claim: %w", err)
	}
	_, err = a.records.bucket.Create(ctx, key, value)
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return wrapUnavailable("claim the user name", err)
	}
	entry, err := a.records.bucket.Get(ctx, key)
	if err != nil {
		return unavailable("read the user name's claim", err)
	}
	var held claim
	if err := json.Unmarshal(entry.Value(), &held); err != nil {
		return fmt.Errorf("decode claim: %w", err)
	}
	holder, err := a.user(ctx, held.User)
	if err != nil {
		return err
	}
	taken := &rules.Refusal{Reason: UsernameTaken, Parameter: "username"}
	if holder.Exists() && !holder.Deleted || !holder.Exists() && a.Feed.Now(0).Sub(entry.Created()) < claimTimeout {
		return taken
	}
	if _, err = a.records.bucket.Update(ctx, key, value, entry.Revision()); errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return taken
	}
	return wrapUnavailable("take over a left claim", err)
}

func wrapUnavailable(doing string, err error) error {
	if err == nil {
		return nil
	}
	return unavailable(doing, err)
}

// Login is the user with this name and password. Unknown names and wrong
// passwords are one answer and take the same work, and only so many are looked
// at.
func (a *Authority) Login(ctx context.Context, username string, password secret.Secret, caller Caller) (fold.User, error) {
	end, wait := a.Failures.Begin("user "+username, caller.Address, a.Feed.Now(0))
	if end == nil {
		return fold.User{}, &rules.Refusal{Reason: Busy, Detail: "too many wrong passwords", RetryAfter: wait}
	}
	user, err := a.login(ctx, username, password)
	end(isRefusal(err, WrongCredentials))
	return user, err
}

func (a *Authority) login(ctx context.Context, username string, password secret.Secret) (fold.User, error) {
	if err := a.requireFreshRegistry(ctx); err != nil {
		return fold.User{}, err
	}
	user, record, err := a.find(ctx, username)
	if err != nil {
		return fold.User{}, err
	}
	ok, outdated, err := a.Passwords.Verify(ctx, record.Password, password)
	switch {
	case errors.Is(err, secret.ErrBusy):
		return fold.User{}, &rules.Refusal{Reason: Busy, Detail: "password hashing"}
	case err != nil:
		return fold.User{}, err
	case !ok || !user.Exists():
		return fold.User{}, &rules.Refusal{Reason: WrongCredentials, User: user.ID}
	}
	if user, err = a.newest(ctx, user); err != nil {
		return fold.User{}, err
	}
	if user.Disabled {
		return fold.User{}, &rules.Refusal{Reason: AccountDisabled, User: user.ID}
	}
	if outdated {
		a.rehash(ctx, user.ID, record, password)
	}
	return user, nil
}

// rehash stores the password under today's cost, unless it was changed
// meanwhile. It is worth no failed login.
func (a *Authority) rehash(ctx context.Context, user string, verified person, password secret.Secret) {
	hash, err := a.Passwords.Hash(ctx, password)
	if err == nil {
		_, err = a.records.update(ctx, user, func(p *person) {
			if p.Password == verified.Password {
				p.Password = hash
			}
		})
	}
	if err != nil {
		a.Logger.WarnContext(ctx, "a password keeps its old hash", "user", user, "error", err)
	}
}

// find is the user and the record of a name; zero values if there are none.
func (a *Authority) find(ctx context.Context, username string) (fold.User, person, error) {
	held := claim{User: "nobody"}
	var record person
	found, err := a.records.get(ctx, nameKey(username), &held)
	if err != nil {
		return fold.User{}, record, err
	}
	// Nobody's is looked for too, so that the time does not tell who is unknown.
	if _, err = a.records.get(ctx, personKey(held.User), &record); err != nil || !found {
		return fold.User{}, person{}, err
	}
	user, err := a.user(ctx, held.User)
	return user, record, err
}
