package keys

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// logTime is the time of the newest message, and a while later.
func (r realm) logTime(later time.Duration) func(context.Context) (time.Time, error) {
	return func(ctx context.Context) (time.Time, error) {
		head, err := r.log.Head(ctx, r.log.Realm().RegistryStream())
		return head.Time.Add(later), err
	}
}

// life are the events of keys, in the order of the log.
func (r realm) life() (all []string) {
	r.Helper()
	err := r.log.Replay(r.Context(), r.log.Realm().RegistryStream(), eventlog.From{}, func(batch []eventlog.Entry) error {
		for _, e := range batch {
			recorded, err := e.Recorded()
			if err != nil {
				return err
			}
			all = append(all, recorded.Fact.Type())
		}
		return nil
	})
	if err != nil {
		r.Fatal(err)
	}
	return all
}

// Replicas that tend the same keys at the same time take each step once.
func TestReplicasTendTogether(t *testing.T) {
	r := newRealm(t)
	policy := Policy{Rotate: time.Nanosecond, RotateMAC: time.Nanosecond, Announce: time.Nanosecond, Keep: time.Nanosecond, KeepMAC: time.Nanosecond}
	managers := make([]*Manager, 4)
	for i := range managers {
		cfg := r.config(ring(t, "1"), jose.ES256)
		cfg.Policy = func() Policy { return policy }
		cfg.LogTime = r.logTime(time.Second)
		managers[i] = r.open(cfg)
	}
	const rounds = 3 // announce; activate; retire and drop with the next announcement
	for range 3 * rounds {
		var wg sync.WaitGroup
		for _, m := range managers {
			wg.Go(func() {
				if _, err := m.tend(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, m := range managers {
			r.reload(m)
		}
	}
	// Of a step that was taken twice the fold would have stopped. What is announced
	// is one of each at a time, as no id of a MAC key may go to waste.
	if left := managers[0].MACKeysLeft(); left > MaxMACKeys-rounds || left < MaxMACKeys-3*rounds {
		t.Errorf("%d ids of MAC keys are left", left)
	}
	if got := len(r.kids(fold.KeyAnnounced)); got > 2 {
		t.Errorf("%d keys are announced", got)
	}
	if !slices.Contains(r.life(), events.KeyDropped{}.Type()) {
		t.Errorf("no key came to its end: %v", r.life())
	}
	if text := renderedBy(t, managers[1]); !parses(managers[3], text) {
		t.Error("what one renders the other does not accept")
	}
}

// A replica that lacks the private part of a key gives it nothing to do.
func TestUnusableKeysAreNotTended(t *testing.T) {
	r := newRealm(t)
	cfg := r.config(ring(t, "1"), jose.ES256)
	cfg.Policy = func() Policy { return Policy{} }
	cfg.LogTime = r.logTime(time.Hour)
	m := r.open(cfg)
	stranger, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	r.announce(stranger.Public()) // without its private part
	if err := m.Reload(t.Context()); err == nil {
		t.Fatal("the key is usable")
	}
	if _, err := m.tend(t.Context()); err == nil || slices.Contains(r.kids(fold.KeyActive), stranger.Public().ID) {
		t.Errorf("got %v, and active %v", err, r.kids(fold.KeyActive))
	}
}

// Nothing is due by a clock that may be wrong.
func TestTendNeedsTheLogsTime(t *testing.T) {
	r := newRealm(t)
	cfg := r.config(ring(t, "1"), jose.ES256)
	cfg.Policy = func() Policy { return Policy{Rotate: 1, RotateMAC: 1} }
	stale := errors.New("not fresh")
	cfg.LogTime = func(context.Context) (time.Time, error) { return time.Time{}, stale }
	m := r.open(cfg)
	if _, err := m.tend(t.Context()); !errors.Is(err, stale) || len(r.states()) != 2 {
		t.Errorf("got %v, and %d keys", err, len(r.states()))
	}
}

func TestCommands(t *testing.T) {
	r := newRealm(t)
	cfg := r.config(ring(t, "1"), jose.ES256)
	cfg.Policy = func() Policy { return Policy{Announce: time.Hour} }
	cfg.LogTime = r.logTime(0)
	m := r.open(cfg)
	es, ctx, by := signingFamily(jose.ES256), t.Context(), events.Meta{Actor: "admin"}
	old := m.PublicKeys()[0].ID
	refused := func(what string, want, err error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
	}
	only := func(_ fold.Key, err error) error { return err }
	refused("retire the only one", ErrState, only(m.Retire(ctx, by, old)))
	refused("activate the active one", nil, only(m.Activate(ctx, by, old, false)))
	refused("a key that there is not", ErrNoKey, only(m.Drop(ctx, by, "nobody")))
	refused("no id", ErrNoKey, only(m.Drop(ctx, by, "a.b")))
	refused("another algorithm", ErrFamily, only(m.Make(ctx, by, signingFamily(jose.RS256), true)))

	next, err := m.Make(ctx, by, es, false)
	if err != nil || next.State != fold.KeyAnnounced || len(m.PublicKeys()) != 2 {
		t.Fatalf("got %+v, %v, %d public keys", next, err, len(m.PublicKeys()))
	}
	refused("retire an announced one", ErrState, only(m.Retire(ctx, by, next.ID)))
	refused("activate early", ErrEarly, only(m.Activate(ctx, by, next.ID, false)))
	refused("activate all the same", nil, only(m.Activate(ctx, by, next.ID, true)))
	refused("retire the other", nil, only(m.Retire(ctx, by, old)))
	if k, err := m.Signer("ES256"); err != nil || k.Public().ID != next.ID {
		t.Errorf("signs with %v, %v", k, err)
	}
	text := r.sign(m.Signer("ES256"))
	refused("drop the one in use", nil, only(m.Drop(ctx, by, next.ID)))
	refused("drop it again", nil, only(m.Drop(ctx, by, next.ID)))
	if verifies(m, text) || !verifies(m, r.sign(m.Signer("ES256"))) {
		t.Error("the dropped key verifies, or its successor does not")
	}
	first := renderedBy(t, m)
	refused("drop the MAC key", nil, only(m.Drop(ctx, by, "mac-1")))
	if _, id := m.MAC(); id != 2 || parses(m, first) || !parses(m, renderedBy(t, m)) {
		t.Errorf("MAC key %d renders; the dropped one verifies: %v", id, parses(m, first))
	}
}

// The ids of MAC keys end before any is used twice.
func TestMACKeysRunOut(t *testing.T) {
	r := newRealm(t)
	cfg := r.config(ring(t, "1"), jose.ES256)
	cfg.Policy, cfg.LogTime = func() Policy { return Policy{} }, r.logTime(0)
	m := r.open(cfg)
	r.addMAC(m, MaxMACKeys)
	r.reload(m)
	if left := m.MACKeysLeft(); left != 0 {
		t.Errorf("%d are left", left)
	}
	if _, err := m.Make(t.Context(), events.Meta{Actor: "admin"}, macFamily(), true); !errors.Is(err, ErrNoMACKeys) {
		t.Errorf("got %v, want ErrNoMACKeys", err)
	}
}

func TestTend(t *testing.T) {
	r := newRealm(t)
	cfg := r.config(ring(t, "1"), jose.ES256)
	cfg.Policy = func() Policy { return Policy{Rotate: 1, Announce: 1, Keep: 1} }
	cfg.LogTime = r.logTime(time.Second)
	m := r.open(cfg)
	first := m.PublicKeys()[0].ID
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { m.Tend(ctx) })
	embeddedtest.Eventually(t, "the first key has come to its end", func() bool { return slices.Contains(r.kids(fold.KeyDropped), first) })
	stop()
	wg.Wait()
}
