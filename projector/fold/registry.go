package fold

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// A Client is the state of one registered client.
type Client struct {
	ID string `json:"id"`
	// Seq is the sequence of the last event folded.
	Seq uint64 `json:"seq"`
	events.ClientSettings
	Secrets  []events.ClientSecretAdded `json:"secrets,omitempty"`
	Disabled bool                       `json:"disabled,omitempty"`
	// Epoch is raised by every disable and cut-off. What was issued under an older
	// one is dead.
	Epoch     uint64    `json:"epoch"`
	OriginKey string    `json:"origin_key,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Exists reports whether the client was registered.
func (c Client) Exists() bool { return c.Seq != 0 }

// Apply folds the next event of the client's subject.
func (c Client) Apply(r events.Recorded) (Client, error) {
	_, registering := r.Fact.(events.ClientRegistered)
	if registering == c.Exists() {
		return c, poison(r, "registered twice or never")
	}
	if r.Seq <= c.Seq {
		return c, poison(r, "out of order")
	}
	if c.Exists() && r.Subject.ID() != c.ID {
		return c, poison(r, "another client's event")
	}
	switch f := r.Fact.(type) {
	case events.ClientRegistered:
		c = Client{ID: r.Subject.ID(), ClientSettings: f.ClientSettings, OriginKey: f.OriginKey, CreatedAt: r.Stored}
		if f.Secret != nil {
			c.Secrets = []events.ClientSecretAdded{*f.Secret}
		}
	case events.ClientUpdated:
		c.ClientSettings = f.ClientSettings
	case events.ClientDisabled:
		if c.Disabled {
			return c, poison(r, "already disabled")
		}
		c.Disabled = true
		c.Epoch++
	case events.ClientEnabled:
		if !c.Disabled {
			return c, poison(r, "not disabled")
		}
		c.Disabled = false
	case events.ClientCutOff:
		c.Epoch++
	case events.ClientSecretAdded:
		if c.secretIndex(f.ID) >= 0 {
			return c, poison(r, "secret id used twice")
		}
		c.Secrets = append(slices.Clip(c.Secrets), f)
	case events.ClientSecretDropped:
		i := c.secretIndex(f.ID)
		if i < 0 {
			return c, poison(r, "no such secret")
		}
		c.Secrets = slices.Delete(slices.Clone(c.Secrets), i, i+1)
	default:
		return c, poison(r, "not a client's event")
	}
	c.Seq, c.UpdatedAt = r.Seq, r.Stored
	return c, nil
}

func (c Client) secretIndex(id string) int {
	return slices.IndexFunc(c.Secrets, func(s events.ClientSecretAdded) bool { return s.ID == id })
}

// A User is what decisions need of a person: nothing personal.
type User struct {
	ID  string `json:"id"`
	Seq uint64 `json:"seq"`
	// Disabled and Epoch are as for a Client.
	Disabled bool `json:"disabled,omitempty"`
	// Deleted is for good. Who is deleted is disabled too.
	Deleted bool `json:"deleted,omitempty"`
	// Erased says that nothing is left of the person's record.
	Erased    bool      `json:"erased,omitempty"`
	Epoch     uint64    `json:"epoch"`
	OriginKey string    `json:"origin_key,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

// Exists reports whether the user was registered.
func (u User) Exists() bool { return u.Seq != 0 }

// Apply folds the next event of the user's subject.
func (u User) Apply(r events.Recorded) (User, error) {
	_, registering := r.Fact.(events.UserRegistered)
	if registering == u.Exists() {
		return u, poison(r, "registered twice or never")
	}
	if r.Seq <= u.Seq {
		return u, poison(r, "out of order")
	}
	if u.Exists() && r.Subject.ID() != u.ID {
		return u, poison(r, "another user's event")
	}
	_, erasing := r.Fact.(events.UserErased)
	switch {
	case erasing && (!u.Deleted || u.Erased):
		return u, poison(r, "not deleted, or already erased")
	case !erasing && u.Deleted:
		return u, poison(r, "already deleted")
	}
	switch f := r.Fact.(type) {
	case events.UserRegistered:
		u = User{ID: r.Subject.ID(), OriginKey: f.OriginKey, CreatedAt: r.Stored}
	case events.UserDisabled:
		if u.Disabled {
			return u, poison(r, "already disabled")
		}
		u.Disabled = true
		u.Epoch++
	case events.UserEnabled:
		if !u.Disabled {
			return u, poison(r, "not disabled")
		}
		u.Disabled = false
	case events.UserCutOff:
		u.Epoch++
	case events.UserDeleted:
		u.Disabled, u.Deleted = true, true
		u.Epoch++
	case events.UserErased:
		u.Erased = true
	default:
		return u, poison(r, "not a user's event")
	}
	u.Seq = r.Seq
	return u, nil
}

// A KeyState is a step in the life of a key; the steps only go forward.
type KeyState string

// The life of a key.
const (
	KeyAnnounced KeyState = "announced" // published, not used
	KeyActive    KeyState = "active"    // makes and verifies
	KeyRetired   KeyState = "retired"   // verifies only
	KeyDropped   KeyState = "dropped"   // does nothing
)

// A Key is the public state of one signing or MAC key.
type Key struct {
	// ID is the kid.
	ID        string          `json:"id"`
	Seq       uint64          `json:"seq"`
	Use       string          `json:"use"`
	Alg       string          `json:"alg,omitempty"`
	PublicJWK json.RawMessage `json:"jwk,omitempty"`
	MACKey    uint8           `json:"mac,omitempty"`
	State     KeyState        `json:"state"`
	// ActivatedSeq orders active keys: the newest makes tokens.
	ActivatedSeq uint64    `json:"activated_seq,omitempty"`
	ChangedAt    time.Time `json:"changed_at"`
	// Closed says that a loss of the log was accepted since. A MAC key verifies as
	// before, but what it would render now it may have rendered in what was lost.
	Closed bool `json:"closed,omitempty"`
}

// Exists reports whether the key was announced.
func (k Key) Exists() bool { return k.Seq != 0 }

// Restored is the key after a loss of the log was accepted.
func (k Key) Restored() Key {
	k.Closed = k.Closed || k.Use == events.KeyUseMAC
	return k
}

// Apply folds the next event of the key's subject.
func (k Key) Apply(r events.Recorded) (Key, error) {
	if r.Seq <= k.Seq {
		return k, poison(r, "out of order")
	}
	if k.Exists() && r.Subject.ID() != k.ID {
		return k, poison(r, "another key's event")
	}
	switch f := r.Fact.(type) {
	case events.KeyAnnounced:
		if k.Exists() {
			return k, poison(r, "announced twice")
		}
		if f.Use != events.KeyUseSignature && f.Use != events.KeyUseMAC {
			return k, poison(r, "unknown use")
		}
		if (f.Use == events.KeyUseMAC) != (f.MACKey != 0) {
			return k, poison(r, "use and MAC key id do not agree")
		}
		k = Key{ID: r.Subject.ID(), Use: f.Use, Alg: f.Alg, PublicJWK: f.PublicJWK, MACKey: f.MACKey, State: KeyAnnounced}
	case events.KeyActivated:
		if k.State != KeyAnnounced {
			return k, poison(r, "not announced")
		}
		k.State, k.ActivatedSeq = KeyActive, r.Seq
	case events.KeyRetired:
		if k.State != KeyActive {
			return k, poison(r, "not active")
		}
		k.State = KeyRetired
	case events.KeyDropped:
		if !k.Exists() || k.State == KeyDropped {
			return k, poison(r, "not there to drop")
		}
		k.State = KeyDropped
	default:
		return k, poison(r, "not a key's event")
	}
	k.Seq, k.ChangedAt = r.Seq, r.Stored
	return k, nil
}
