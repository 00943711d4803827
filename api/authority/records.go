package authority

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// A person is everything personal there is about a user. It is kept in a
// bucket and never in the log, so deleting the record erases the person.
type person struct {
	Username string `json:"username"`
	Email    string `json:"email,omitempty"`
	// Password is an argon2id PHC string, empty for who has none.
	Password string `json:"password,omitempty"`
	// OriginKey is the private half, encrypted, of the key that origins of the
	// person's requests are sealed for.
	OriginKey []byte `json:"origin_key"`

	// What the person tells of themselves. Birthday is a full-date (RFC 3339
	// §5.6).
	Nickname  string `json:"nickname,omitempty"`
	FirstName string `json:"first_name,omitempty"`
	LastName  string `json:"last_name,omitempty"`
	Birthday  string `json:"birthday,omitempty"`
}

// records is the bucket behind the directory: names under a hash, persons under
// the user's id, and what is private of clients.
type records struct{ bucket *eventlog.ErasableBucket }

func nameKey(username string) string {
	sum := sha256.Sum256([]byte(username))
	return "name." + hex.EncodeToString(sum[:])
}

func personKey(user string) string { return "person." + user }

// person is the record of a user, unless it was erased.
func (r *records) person(ctx context.Context, user string) (record person, found bool, err error) {
	found, err = r.get(ctx, personKey(user), &record)
	return record, found, err
}

// create stores the record of a new user.
func (r *records) create(ctx context.Context, user string, record person) error {
	value, err := encodePerson(record)
	if err != nil {
		return err
	}
	_, err = r.bucket.Create(ctx, personKey(user), value)
	return err
}

// update changes a person's record and gives the new one. It is written only
// over what was read, so that nobody's change is lost and no erased person comes
// back; change is called again when somebody else was faster. NoSuchUser refuses
// a record that was erased.
func (r *records) update(ctx context.Context, user string, change func(*person)) (person, error) {
	for range maxDecisions {
		entry, err := r.bucket.Get(ctx, personKey(user))
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return person{}, erased()
		}
		if err != nil {
			return person{}, unavailable("read the person's record", err)
		}
		var record person
		if err := json.Unmarshal(entry.Value(), &record); err != nil {
			return person{}, fmt.Errorf("decode the person's record: %w", err)
		}
		change(&record)
		value, err := encodePerson(record)
		if err != nil || bytes.Equal(value, entry.Value()) {
			return record, err
		}
		_, err = r.bucket.Update(ctx, personKey(user), value, entry.Revision())
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return record, wrapUnavailable("write the person's record", err)
		}
	}
	return person{}, unavailable("write the person's record", errors.New("others keep writing it"))
}

// erase writes over the record of a user and frees the name in it. The name first,
// as it cannot be found without the record. What was erased already is no error.
func (r *records) erase(ctx context.Context, user string) error {
	record, found, err := r.person(ctx, user)
	if err != nil {
		return err
	}
	if found {
		err = r.bucket.Erase(ctx, nameKey(record.Username), func(value []byte) bool {
			var held claim
			return json.Unmarshal(value, &held) == nil && held.User == user
		})
		if err != nil {
			return unavailable("free the user name", err)
		}
	}
	// Also if it was not found, which proves nothing.
	err = r.bucket.Erase(ctx, personKey(user), func([]byte) bool { return true })
	return wrapUnavailable("erase the person's record", err)
}

func erased() error { return &rules.Refusal{Reason: NoSuchUser, Detail: "the record was erased"} }

func encodePerson(record person) ([]byte, error) {
	value, err := json.Marshal(record) //nolint:gosec // the password is a hash, and this is where it is kept
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return value, nil
}

func (r *records) get(ctx context.Context, key string, v any) (found bool, err error) {
	entry, err := r.bucket.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, unavailable("read the directory", err)
	}
	if err := json.Unmarshal(entry.Value(), v); err != nil {
		return false, fmt.Errorf("decode a record of the directory: %w", err)
	}
	return true, nil
}
