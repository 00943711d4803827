package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// Errors of what somebody tells the keys to do.
var (
	// ErrNoKey: no key of that id was ever announced.
	ErrNoKey = errors.New("no such key")
	// ErrFamily: the realm is not configured to have keys of the kind.
	ErrFamily = errors.New("no kind of key that this realm has")
	// ErrState: the key's state does not allow the step.
	ErrState = errors.New("not a step that the key can take")
	// ErrEarly: a key was not announced for long enough to become active.
	ErrEarly = errors.New("announced too recently")
)

// Make makes and announces a new key of a family, which its policy activates in
// time. With now it becomes active at once: as soon as all replicas know it, but
// resource servers may have to read the JWK Set again.
func (m *Manager) Make(ctx context.Context, by events.Meta, f Family, now bool) (fold.Key, error) {
	if !slices.Contains(m.families(), f) {
		return fold.Key{}, fmt.Errorf("%w: %s", ErrFamily, f)
	}
	if now {
		return m.replace(ctx, by, f)
	}
	kid, err := m.introduce(ctx, by, f, ignore)
	if err != nil {
		return fold.Key{}, err
	}
	return m.current(ctx, kid)
}

// Activate activates an announced key. With now it does although resource servers
// may have kept a JWK Set without it.
func (m *Manager) Activate(ctx context.Context, by events.Meta, kid string, now bool) (fold.Key, error) {
	k, err := m.known(ctx, kid)
	if err != nil || k.State != fold.KeyAnnounced {
		return m.changeKnown(ctx, by, k, Activate, err)
	}
	at, err := m.cfg.LogTime(ctx)
	if err != nil {
		return k, fmt.Errorf("learning the log's time: %w", err)
	}
	age := at.Sub(k.ChangedAt)
	if due := m.policy().Announce; !now && age < due {
		return k, fmt.Errorf("%w: it is for %s, of %s", ErrEarly, age, due)
	}
	if err := pause(ctx, m.cfg.Settle-age); err != nil {
		return k, err
	}
	return m.change(ctx, by, kid, Activate)
}

// Retire has a key make nothing any more. The last active one of a family cannot
// retire before another takes its place.
func (m *Manager) Retire(ctx context.Context, by events.Meta, kid string) (fold.Key, error) {
	k, err := m.known(ctx, kid)
	if err == nil && m.inUse(k) {
		err = fmt.Errorf("%w: it is the %s in use, rotate first", ErrState, familyOf(k))
	}
	return m.changeKnown(ctx, by, k, Retire, err)
}

// Drop ends a key and all that it made. One in use is replaced by a new one
// first, which takes Settle.
func (m *Manager) Drop(ctx context.Context, by events.Meta, kid string) (fold.Key, error) {
	k, err := m.known(ctx, kid)
	if err == nil && m.inUse(k) && slices.Contains(m.families(), familyOf(k)) {
		_, err = m.replace(ctx, by, familyOf(k))
	}
	return m.changeKnown(ctx, by, k, Drop, err)
}

// inUse reports whether new tokens are made with a key.
func (m *Manager) inUse(k fold.Key) bool {
	newest, ok := familyOf(k).find(m.cfg.Keys(), fold.KeyActive)
	return ok && newest.ID == k.ID
}

func (m *Manager) known(ctx context.Context, kid string) (fold.Key, error) {
	if !events.ValidID(kid) {
		return fold.Key{}, ErrNoKey
	}
	k, err := m.current(ctx, kid)
	if err == nil && !k.Exists() {
		err = ErrNoKey
	}
	return k, err
}

func (m *Manager) changeKnown(ctx context.Context, by events.Meta, k fold.Key, a Action, err error) (fold.Key, error) {
	if err != nil {
		return k, err
	}
	return m.change(ctx, by, k.ID, a)
}

// Key is a key that was announced, as this replica knows it.
func (m *Manager) Key(kid string) (fold.Key, error) {
	if k, ok := find(m.cfg.Keys(), kid); ok {
		return k, nil
	}
	return fold.Key{}, ErrNoKey
}

// Keys are all keys that were ever announced, as this replica knows them.
func (m *Manager) Keys() []fold.Key { return m.cfg.Keys() }

// MACKeysLeft is how many further MAC keys the realm can have.
func (m *Manager) MACKeysLeft() int { return MaxMACKeys - int(macID(m.cfg.Keys())) }
