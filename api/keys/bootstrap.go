package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// adoptWithin is how old a private part without events may be to be taken up: it
// is that of a replica that starts at the same time, or of one that died while
// it started. An older one may belong to a log that was lost, and its key must
// not make tokens twice.
const adoptWithin = 10 * time.Minute

// bootstrap makes the keys that are missing. The private part is in the bucket
// before the log speaks of the key, and creating the record decides between
// replicas that do this together; any of them can append the events.
func (m *Manager) bootstrap(ctx context.Context) error {
	states := map[string]fold.Key{}
	for _, k := range m.cfg.Keys() {
		states[k.ID] = k
	}
	newest, err := m.ensureMAC(ctx, states)
	if err != nil {
		return fmt.Errorf("MAC key: %w", err)
	}
	for _, alg := range m.cfg.Algs {
		seq, err := m.ensureSigning(ctx, states, alg)
		if err != nil {
			return fmt.Errorf("signing key for %s: %w", alg, err)
		}
		newest = max(newest, seq)
	}
	if newest == 0 {
		return nil
	}
	return m.cfg.Wait(ctx, newest)
}

// ensureMAC gives the sequence of the last event on a new key, 0 if none was
// needed.
func (m *Manager) ensureMAC(ctx context.Context, states map[string]fold.Key) (uint64, error) {
	for _, k := range states {
		if k.Use == events.KeyUseMAC && k.State == fold.KeyActive && !k.Closed {
			return 0, nil
		}
	}
	for id := 1; id <= math.MaxUint8; id++ {
		id := uint8(id)
		if !free(states[macKID(id)]) {
			continue
		}
		r, err := m.vault.create(ctx, macRecord(id), newMAC())
		if err != nil {
			return 0, err
		}
		if m.adoptable(r) {
			return m.establish(ctx, macKID(id), events.KeyAnnounced{Use: events.KeyUseMAC, MACKey: id})
		}
	}
	return 0, errors.New("all 255 ids are used up")
}

// ensureSigning is ensureMAC for a signing key.
func (m *Manager) ensureSigning(ctx context.Context, states map[string]fold.Key, alg jose.Alg) (uint64, error) {
	for _, k := range states {
		if k.Use == events.KeyUseSignature && k.Alg == string(alg) && k.State == fold.KeyActive {
			return 0, nil
		}
	}
	for n := 1; ; n++ {
		r, err := m.claim(ctx, alg, n)
		if err != nil {
			return 0, err
		}
		kid := string(r.value)
		if !m.adoptable(r) || !free(states[kid]) {
			continue
		}
		k, err := m.vault.signing(ctx, kid, alg)
		if err != nil {
			return 0, err
		}
		jwk, err := json.Marshal(k.Public().JWK())
		if err != nil {
			return 0, err
		}
		return m.establish(ctx, kid, events.KeyAnnounced{Use: events.KeyUseSignature, Alg: string(alg), PublicJWK: jwk})
	}
}

// adoptable reports whether a private part without events may be taken up. One of
// before a loss that was accepted may have been in use in what was lost.
func (m *Manager) adoptable(r record) bool {
	if m.cfg.Restored != nil && !r.written.After(m.cfg.Restored()) {
		return false
	}
	return r.mine || m.cfg.Now().Sub(r.written) < adoptWithin
}

// free reports whether a key of that state may still become the first.
func free(k fold.Key) bool { return !k.Exists() || k.State == fold.KeyAnnounced && !k.Closed }

// claim gives the record of the kid of the n-th key for alg, and makes the key
// unless somebody already has.
func (m *Manager) claim(ctx context.Context, alg jose.Alg, n int) (record, error) {
	name := claimRecord(alg, n)
	if r, err := m.vault.get(ctx, name); !errors.Is(err, jetstream.ErrKeyNotFound) {
		return r, err
	}
	k, err := jose.GenerateKey(alg)
	if err != nil {
		return record{}, err
	}
	der, err := k.Marshal()
	if err != nil {
		return record{}, err
	}
	kid := k.Public().ID
	if _, err := m.vault.create(ctx, signingRecord(kid), der); err != nil {
		return record{}, err
	}
	r, err := m.vault.create(ctx, name, []byte(kid))
	if err == nil && !r.mine {
		err = m.vault.kv.Purge(ctx, signingRecord(kid)) // lost the race: nobody knows of it
	}
	return r, err
}

// establish announces and activates a key, from wherever another replica, or an
// earlier start, has left it. It gives the sequence of the last event.
func (m *Manager) establish(ctx context.Context, kid string, announced events.KeyAnnounced) (uint64, error) {
	subject := m.cfg.Log.Realm().KeySubject(kid)
	for {
		k, err := m.current(ctx, subject)
		if err != nil {
			return 0, err
		}
		if !free(k) {
			return k.Seq, nil
		}
		var fact events.Fact = announced
		if k.Exists() {
			fact = events.KeyActivated{}
		}
		unit := eventlog.Unit{Event: m.event(subject, fact), Expect: k.Seq}
		switch _, err := m.cfg.Log.Append(ctx, unit); {
		case err == nil:
			m.cfg.Logger.InfoContext(ctx, "key", "kid", kid, "event", fact.Type())
		case !errors.Is(err, eventlog.ErrConflict):
			return 0, err
		}
	}
}

// current folds a key's events as the log's leader has them.
func (m *Manager) current(ctx context.Context, subject events.Subject) (k fold.Key, err error) {
	recorded, err := m.cfg.Log.After(ctx, subject, 0)
	if err != nil {
		return k, err
	}
	for _, r := range recorded {
		if k, err = k.Apply(r); err != nil {
			return k, err
		}
	}
	return k, nil
}

func (m *Manager) event(subject events.Subject, fact events.Fact) events.Event {
	return events.Event{
		ID: m.cfg.NewID(), Source: m.cfg.Issuer, Time: m.cfg.Now().UTC(), Subject: subject,
		Meta: events.Meta{Actor: "system"}, Fact: fact,
	}
}
