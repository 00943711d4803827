package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// MaxMACKeys is how many MAC keys a realm can ever have. An id is one byte of
// every code and refresh token, and none is used twice.
const MaxMACKeys = math.MaxUint8

var (
	// ErrNoMACKeys is returned when all ids of MAC keys are used up.
	ErrNoMACKeys = fmt.Errorf("all %d ids of MAC keys are used up", MaxMACKeys)
	// errTaken says that another replica has taken the step, or is about to.
	errTaken = errors.New("another replica is at it")
)

// strangers is what becomes of private parts that another replica made, of which
// the log does not speak.
type strangers int

const (
	// adopt takes them up while they are young, so that replicas that start
	// together on nothing end up with one key.
	adopt strangers = iota
	// await leaves them to who made them while they are young: errTaken.
	await
	// ignore makes another. They may be of a log that was lost.
	ignore
)

// pick makes the private part of a new key of the family, whose name it gives.
func (m *Manager) pick(ctx context.Context, states []fold.Key, f Family, s strangers) (kid string, err error) {
	n := 1
	if f.Use == events.KeyUseMAC {
		n += int(macID(states)) // ids only go up
	}
	for ; ; n++ {
		r, kid, err := m.claim(ctx, f, n)
		if err != nil {
			return "", err
		}
		if _, known := find(states, kid); known {
			continue
		}
		switch young := m.cfg.Now().Sub(r.written) < adoptWithin && !m.beforeLoss(r); {
		case r.mine, young && s == adopt && m.vault.original:
			return kid, nil
		case young && s == await:
			return "", errTaken
		}
	}
}

// beforeLoss reports whether a private part is of before a loss of the log that was
// accepted, so that it may have been in use in what was lost.
func (m *Manager) beforeLoss(r record) bool {
	return m.cfg.Restored != nil && !r.written.After(m.cfg.Restored())
}

// claim gives the record that the n-th key of a family depends on, and makes the
// key unless somebody already has.
func (m *Manager) claim(ctx context.Context, f Family, n int) (r record, kid string, err error) {
	if f.Use == events.KeyUseMAC {
		if n > MaxMACKeys {
			return r, "", ErrNoMACKeys
		}
		id := uint8(n) //nolint:gosec // at most 255
		r, err = m.vault.create(ctx, macRecord(id), newMAC())
		return r, macKID(id), err
	}
	name := claimRecord(f.Alg, n)
	if r, err = m.vault.get(ctx, name); errors.Is(err, jetstream.ErrKeyNotFound) {
		r, err = m.claimSigning(ctx, f.Alg, name)
	}
	return r, string(r.value), err
}

// claimSigning makes a signing key and its claim.
func (m *Manager) claimSigning(ctx context.Context, alg jose.Alg, name string) (record, error) {
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

// system is who acts when nobody told a replica to.
func system() events.Meta { return events.Meta{Actor: "system"} }

// announce appends that there is a key whose private part is in the bucket. It
// gives the event's sequence; errTaken says that it was announced before.
func (m *Manager) announce(ctx context.Context, by events.Meta, kid string, f Family) (uint64, error) {
	fact := events.KeyAnnounced{Use: f.Use, Alg: string(f.Alg)}
	if f.Use == events.KeyUseMAC {
		id, err := strconv.ParseUint(strings.TrimPrefix(kid, macPrefix), 10, 8)
		if err != nil {
			return 0, fmt.Errorf("id of MAC key %s: %w", kid, err)
		}
		fact.MACKey = uint8(id)
		return m.append(ctx, by, kid, fact, 0)
	}
	k, err := m.vault.signing(ctx, kid, f.Alg)
	if err != nil {
		return 0, err
	}
	if fact.PublicJWK, err = json.Marshal(k.Public().JWK()); err != nil {
		return 0, err
	}
	return m.append(ctx, by, kid, fact, 0)
}

// An Action is the next step in the life of a key.
type Action string

// The steps, in their order.
const (
	Announce Action = "announce"
	Activate Action = "activate"
	Retire   Action = "retire"
	Drop     Action = "drop"
)

func (a Action) fact() events.Fact {
	switch a {
	case Activate:
		return events.KeyActivated{}
	case Retire:
		return events.KeyRetired{}
	case Drop:
		return events.KeyDropped{}
	}
	return nil
}

// step appends what comes next for a key in the state it was decided on, and
// gives the event's sequence. errTaken says that the key is in another state.
func (m *Manager) step(ctx context.Context, by events.Meta, k fold.Key, a Action) (uint64, error) {
	return m.append(ctx, by, k.ID, a.fact(), k.Seq)
}

func (m *Manager) append(ctx context.Context, by events.Meta, kid string, fact events.Fact, expect uint64) (uint64, error) {
	e := events.Event{
		ID: m.cfg.NewID(), Source: m.cfg.Issuer, Time: m.cfg.Now().UTC(), Subject: m.cfg.Log.Realm().KeySubject(kid),
		Meta: by, Fact: fact,
	}
	receipt, err := m.cfg.Log.Append(ctx, eventlog.Unit{Event: e, Expect: expect})
	switch {
	case errors.Is(err, eventlog.ErrConflict):
		return 0, fmt.Errorf("%w: %w", errTaken, err)
	case err != nil:
		return 0, fmt.Errorf("append %s: %w", fact.Type(), err)
	}
	m.cfg.Logger.InfoContext(ctx, "key", "kid", kid, "event", fact.Type())
	return receipt.Seq, nil
}

// current folds a key's events as the log's leader has them.
func (m *Manager) current(ctx context.Context, kid string) (k fold.Key, err error) {
	recorded, err := m.cfg.Log.After(ctx, m.cfg.Log.Realm().KeySubject(kid), 0)
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
