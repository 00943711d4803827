// Package keys keeps the keys of a realm: those that sign access tokens and
// those that authenticate codes and refresh tokens.
//
// What a key is allowed to do is an event in the log (announced, active,
// retired, dropped); its private part is in a bucket, sealed with a
// key-encryption key that never enters NATS. So a key works where both are.
package keys

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-authority/chancery/api/credential"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// Config says whose keys to keep. All fields are required but Restored, Now and Logger;
// Policy and LogTime are for who tends keys or changes them.
type Config struct {
	Log  *eventlog.Log
	Ring *secret.Ring
	// Issuer is the iss of access tokens and the source of events.
	Issuer string
	// Algs are the algorithms to have a signing key of, the default first.
	Algs []jose.Alg
	// Keys gives the state of all keys, dropped ones too, as the registry feed
	// has folded them.
	Keys func() []fold.Key
	// Wait returns when Keys shows what is at a sequence of the registry.
	Wait func(ctx context.Context, seq uint64) error
	// Restored is when a loss of the log was accepted last, by the log's time, zero if
	// none was. It may be nil where none can have been.
	Restored func() time.Time
	// NewID makes event ids.
	NewID func() string
	// Settle is how long a new key is announced at least before it makes anything:
	// after it, no replica that still answers is without the key. Twice the bound
	// of the feed's freshness does.
	Settle time.Duration
	// Policy is when keys take their steps, at present.
	Policy func() Policy
	// LogTime is the log's time, by which the steps are due. With it Keys is proved
	// fresh.
	LogTime func(ctx context.Context) (time.Time, error)
	// Now is time.Now if nil.
	Now    func() time.Time
	Logger *slog.Logger
}

// A Manager has the keys ready in memory. It may be used from many goroutines.
type Manager struct {
	cfg   Config
	vault vault
	set   atomic.Pointer[set]
	// pairwise never changes.
	pairwise []byte
	// reloading keeps a reload from being overtaken by an earlier one.
	reloading sync.Mutex
}

// Open loads the keys of the realm, and makes what is missing: one MAC key, and
// one signing key for each algorithm. The error is ErrWrongKey when the
// key-encryption keys are not those that the realm's keys are sealed with.
func Open(ctx context.Context, cfg Config) (*Manager, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	v, err := openVault(ctx, cfg.Log, cfg.Ring)
	if err != nil {
		return nil, fmt.Errorf("opening the realm's keys: %w", err)
	}
	m := &Manager{cfg: cfg, vault: v}
	m.set.Store(&set{})
	if m.pairwise, err = v.pairwise(ctx); err != nil {
		return nil, fmt.Errorf("opening the key of pairwise subjects: %w", err)
	}
	if err := m.bootstrap(ctx); err != nil {
		return nil, fmt.Errorf("making the realm's first keys: %w", err)
	}
	if err := m.Reload(ctx); err != nil {
		return nil, err
	}
	return m, nil
}

// Reload takes over the present state of all keys. A key whose private part
// cannot be had is left out and in the error; the others, and above all what was
// dropped, count from now on.
func (m *Manager) Reload(ctx context.Context) error {
	m.reloading.Lock()
	defer m.reloading.Unlock()
	states := m.cfg.Keys()
	m.takeOver(states)
	s, err := m.load(ctx, states)
	m.set.Store(s)
	if err != nil {
		return fmt.Errorf("loading the realm's keys: %w", err)
	}
	return nil
}

// reloadPause is how long Follow waits before it tries again.
const reloadPause = time.Second

// Follow keeps up with the registry until ctx ends. changed gives a channel that
// the next change of a key closes; it is asked before the keys are, so that no
// change is missed. What fails is tried again.
func (m *Manager) Follow(ctx context.Context, changed func() <-chan struct{}) {
	for ctx.Err() == nil {
		next := changed()
		var retry <-chan time.Time
		if err := m.Reload(ctx); err != nil && ctx.Err() == nil {
			m.cfg.Logger.ErrorContext(ctx, "not all keys are usable", "error", err)
			retry = time.After(reloadPause)
		}
		select {
		case <-ctx.Done():
		case <-next:
		case <-retry:
		}
	}
}

// Err is nil when every key that is not dropped is usable here. Otherwise this
// replica refuses what others accept, and is not ready.
func (m *Manager) Err() error { return m.set.Load().err }

// Behind reports whether the registry has a key that is not usable here, because
// it was announced a moment ago or its private part cannot be had. What does
// not verify here may then verify elsewhere.
func (m *Manager) Behind() bool {
	have := m.set.Load().keys
	return slices.ContainsFunc(m.cfg.Keys(), func(k fold.Key) bool {
		_, ok := have[k.ID]
		return !ok && k.State != fold.KeyDropped
	})
}

// MAC gives the keys that authenticate codes and refresh tokens and the id of
// the one to render new ones with, 0 if there is none. Retired keys are in it:
// they verify until they are dropped, once the last grant rendered with them has
// expired.
func (m *Manager) MAC() (ring *credential.Ring, id uint8) {
	s := m.set.Load()
	return s.macs, s.mac
}

// Signer gives the key that signs new access tokens under alg.
func (m *Manager) Signer(alg string) (jose.SigningKey, error) {
	return m.set.Load().signer(alg)
}

// SignerByID gives the key of an earlier token to sign it again with, or the
// present one of the same algorithm if that key was dropped since.
func (m *Manager) SignerByID(kid string) (jose.SigningKey, error) {
	return m.set.Load().signerByID(kid)
}

// Verifier verifies access tokens of every key that is not dropped.
func (m *Manager) Verifier() *jose.Verifier { return m.set.Load().verifier }

// PublicKeys are the signing keys that are not dropped: the active ones first,
// the default algorithm's newest before all, because some clients take the
// first.
func (m *Manager) PublicKeys() []jose.PublicKey { return m.set.Load().public }

// JWKS is the JWK Set of PublicKeys (RFC 7517 §5). It is not to be changed.
func (m *Manager) JWKS() []byte { return m.set.Load().jwks }

// takeOver takes over the states of the keys that are there already, so that what
// was dropped does not last until the private part of another has been read.
func (m *Manager) takeOver(states []fold.Key) {
	old := m.set.Load()
	var keys []key
	for _, state := range states {
		if k, ok := old.keys[state.ID]; ok {
			k.Key = state
			keys = append(keys, k)
		}
	}
	if s, err := newSet(m.cfg.Issuer, m.cfg.Algs, keys); err == nil {
		s.err = old.err
		m.set.Store(s)
	}
}

// load makes a set of the given states. The set is usable also with an error.
func (m *Manager) load(ctx context.Context, states []fold.Key) (*set, error) {
	old := m.set.Load()
	var keys []key
	var errs []error
	for _, state := range states {
		k := key{Key: state}
		if state.State != fold.KeyDropped {
			var err error
			if k, err = m.open(ctx, old, state); err != nil {
				errs = append(errs, fmt.Errorf("key %s: %w", state.ID, err))
				continue
			}
		}
		keys = append(keys, k)
	}
	s, err := newSet(m.cfg.Issuer, m.cfg.Algs, keys)
	s.err = errors.Join(append(errs, err)...)
	return s, s.err
}

// open joins a key's state and its private part, which never changes and is
// read once.
func (m *Manager) open(ctx context.Context, old *set, state fold.Key) (key, error) {
	if k, ok := old.keys[state.ID]; ok && k.State != fold.KeyDropped {
		k.Key = state
		return k, nil
	}
	k := key{Key: state}
	var err error
	switch state.Use {
	case events.KeyUseMAC:
		k.mac, err = m.vault.mac(ctx, state.MACKey)
	case events.KeyUseSignature:
		if k.signing, err = m.vault.signing(ctx, state.ID, jose.Alg(state.Alg)); err == nil {
			err = samePublic(state, k.signing.Public())
		}
	default:
		err = fmt.Errorf("unknown use %q", state.Use)
	}
	return k, err
}

// samePublic makes sure that the log and the bucket speak of one key.
func samePublic(state fold.Key, have jose.PublicKey) error {
	announced, err := jose.ParseJWK(state.PublicJWK)
	if err != nil {
		return fmt.Errorf("announced public key: %w", err)
	}
	if announced.Thumbprint() != have.Thumbprint() || have.ID != state.ID {
		return errors.New("the private part is another key's")
	}
	return nil
}
