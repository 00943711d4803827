package keys

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chancery-authority/chancery/api/credential"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// renderedBy is a refresh token of the manager's active MAC key.
func renderedBy(t *testing.T, m *Manager) string {
	t.Helper()
	macs, id := m.MAC()
	text, err := macs.Render(credential.RefreshToken, credential.Claims{
		Grant: events.GrantID{15: 1}, Generation: 1, Expires: 1_900_000_000, MACKey: id,
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func parses(m *Manager, text string) bool {
	macs, _ := m.MAC()
	_, err := macs.Parse(credential.RefreshToken, text)
	return err == nil
}

// addMAC announces a further MAC key.
func (r realm) addMAC(m *Manager, id uint8) {
	r.Helper()
	if _, err := m.vault.create(r.Context(), macRecord(id), newMAC()); err != nil {
		r.Fatal(err)
	}
	r.append(macKID(id), events.KeyAnnounced{Use: events.KeyUseMAC, MACKey: id})
}

// addSigning announces a further signing key and gives its kid.
func (r realm) addSigning(m *Manager) string {
	r.Helper()
	k, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		r.Fatal(err)
	}
	der, err := k.Marshal()
	if err != nil {
		r.Fatal(err)
	}
	if _, err := m.vault.create(r.Context(), signingRecord(k.Public().ID), der); err != nil {
		r.Fatal(err)
	}
	r.announce(k.Public())
	return k.Public().ID
}

func (r realm) announce(k jose.PublicKey) {
	r.Helper()
	jwk, err := json.Marshal(k.JWK())
	if err != nil {
		r.Fatal(err)
	}
	r.append(k.ID, events.KeyAnnounced{Use: events.KeyUseSignature, Alg: string(k.Alg), PublicJWK: jwk})
}

func (r realm) reload(m *Manager) {
	r.Helper()
	if err := m.Reload(r.Context()); err != nil {
		r.Fatal(err)
	}
}

func TestMACKeyRotation(t *testing.T) {
	r := newRealm(t)
	m := r.open(r.config(ring(t, "1"), jose.ES256))
	first := renderedBy(t, m)
	wantMAC := func(when string, want uint8, firstParses bool) {
		t.Helper()
		r.reload(m)
		if _, id := m.MAC(); id != want {
			t.Errorf("%s: key %d renders, want %d", when, id, want)
		}
		if parses(m, first) != firstParses {
			t.Errorf("%s: the first key verifies: %v", when, !firstParses)
		}
	}
	r.addMAC(m, 2)
	wantMAC("announced", 1, true)
	r.append("mac-2", events.KeyActivated{})
	wantMAC("both active", 2, true)
	r.append("mac-1", events.KeyRetired{})
	wantMAC("retired", 2, true)
	r.append("mac-1", events.KeyDropped{})
	wantMAC("dropped", 2, false)
	r.append("mac-2", events.KeyRetired{})
	wantMAC("none active", 0, false)
	r.open(r.config(ring(t, "1"), jose.ES256))
	wantMAC("next start: ids are never used again", 3, false)
}

func TestSigningKeyRotation(t *testing.T) {
	r := newRealm(t)
	m := r.open(r.config(ring(t, "1"), jose.ES256))
	old := m.PublicKeys()[0].ID
	text := r.sign(m.Signer("ES256"))
	var next string
	wantKeys := func(when, signer, byID string, oldVerifies bool, public ...string) {
		t.Helper()
		r.reload(m)
		k, err := m.Signer("ES256")
		again, errByID := m.SignerByID(old)
		if err != nil || errByID != nil || k.Public().ID != signer || again.Public().ID != byID {
			t.Errorf("%s: got signer %v and %v for the old token, %v, %v", when, k, again, err, errByID)
		}
		if verifies(m, text) != oldVerifies {
			t.Errorf("%s: the old key verifies: %v", when, !oldVerifies)
		}
		var ids []string
		for _, p := range m.PublicKeys() {
			ids = append(ids, p.ID)
		}
		if !slices.Equal(ids, public) {
			t.Errorf("%s: public keys %v, want %v", when, ids, public)
		}
	}
	next = r.addSigning(m)
	wantKeys("announced", old, old, true, old, next)
	r.append(next, events.KeyActivated{})
	wantKeys("both active", next, old, true, next, old)
	r.append(old, events.KeyRetired{})
	wantKeys("retired", next, old, true, next, old)
	r.append(old, events.KeyDropped{})
	wantKeys("dropped", next, next, false, next)
}

// A key that cannot be had refuses what others accept; what can be had works, and
// above all what was dropped is gone.
func TestUnusableKey(t *testing.T) {
	r := newRealm(t)
	m := r.open(r.config(ring(t, "1"), jose.ES256))
	text := r.sign(m.Signer("ES256"))
	stranger, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	kid := m.PublicKeys()[0].ID
	r.announce(stranger.Public()) // without its private part
	if err := m.Reload(t.Context()); err == nil || m.Err() == nil || !strings.Contains(err.Error(), stranger.Public().ID) {
		t.Errorf("got %v, want an error that names the key", err)
	}
	if !verifies(m, text) || !parses(m, renderedBy(t, m)) {
		t.Error("the other keys do not work any more")
	}
	if _, err := Open(t.Context(), r.config(ring(t, "1"), jose.ES256)); err == nil || !strings.Contains(err.Error(), stranger.Public().ID) {
		t.Errorf("start: got %v, want an error that names the key", err)
	}
	r.append(kid, events.KeyDropped{})
	if err := m.Reload(t.Context()); err == nil || verifies(m, text) {
		t.Error("the dropped key still works")
	}
	r.append(stranger.Public().ID, events.KeyDropped{})
	if err := m.Reload(t.Context()); err != nil || m.Err() != nil {
		t.Errorf("after it was dropped: %v", err)
	}
}

// The log and the bucket must speak of one key.
func TestForeignPublicKey(t *testing.T) {
	r := newRealm(t)
	m := r.open(r.config(ring(t, "1"), jose.ES256))
	states := r.states()
	i := slices.IndexFunc(states, func(k fold.Key) bool { return k.Use == events.KeyUseSignature })
	stranger, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	if states[i].PublicJWK, err = json.Marshal(stranger.Public().JWK()); err != nil {
		t.Fatal(err)
	}
	m.set.Store(&set{}) // nothing is remembered
	if s, err := m.load(t.Context(), states); err == nil || len(s.public) != 0 {
		t.Errorf("got %v and %d keys", err, len(s.public))
	}
}

func TestFollow(t *testing.T) {
	r := newRealm(t)
	m := r.open(r.config(ring(t, "1"), jose.ES256))
	r.addMAC(m, 2) // between Open and Follow
	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	changed := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		m.Follow(ctx, func() <-chan struct{} {
			mu.Lock()
			defer mu.Unlock()
			return changed
		})
	})
	defer wg.Wait()
	defer stop()
	embeddedtest.Eventually(t, "what happened before is noticed", func() bool { return m.knows("mac-2") })

	r.append("mac-3", events.KeyAnnounced{Use: events.KeyUseMAC, MACKey: 3}) // without its private part
	mu.Lock()
	close(changed)
	changed = make(chan struct{})
	mu.Unlock()
	embeddedtest.Eventually(t, "the change is noticed", func() bool { return m.Err() != nil })
	if _, err := m.vault.create(t.Context(), macRecord(3), newMAC()); err != nil {
		t.Fatal(err)
	}
	embeddedtest.Eventually(t, "what failed is tried again", func() bool { return m.Err() == nil && m.knows("mac-3") })
}

func (m *Manager) knows(kid string) bool {
	_, ok := m.set.Load().keys[kid]
	return ok
}

// I9: no private key is in the log or, unsealed, in the bucket.
func TestNoSecretIsStored(t *testing.T) {
	r := newRealm(t)
	m := r.open(r.config(ring(t, "1"), jose.Algs()...))
	stored := r.everything()
	for _, state := range r.states() {
		private := r.private(m, state)
		if len(private) < 32 {
			t.Fatalf("%s: a private part of %d bytes", state.ID, len(private))
		}
		for _, form := range []string{
			string(private), hex.EncodeToString(private),
			base64.RawURLEncoding.EncodeToString(private), base64.RawStdEncoding.EncodeToString(private),
		} {
			if bytes.Contains(stored, []byte(form)) {
				t.Errorf("the private part of %s is stored", state.ID)
			}
		}
	}
}

// private is the number or seed that must not be known.
func (r realm) private(m *Manager, state fold.Key) []byte {
	r.Helper()
	name := signingRecord(state.ID)
	if state.Use == events.KeyUseMAC {
		name = macRecord(state.MACKey)
	}
	rec, err := m.vault.get(r.Context(), name)
	if err != nil {
		r.Fatal(err)
	}
	if state.Use == events.KeyUseMAC {
		return rec.value
	}
	key, err := x509.ParsePKCS8PrivateKey(rec.value)
	if err != nil {
		r.Fatal(err)
	}
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		b, err := k.Bytes()
		if err != nil {
			r.Fatal(err)
		}
		return b
	case *rsa.PrivateKey:
		return k.Primes[0].Bytes()
	case ed25519.PrivateKey:
		return k.Seed()
	}
	r.Fatalf("a key of type %T", key)
	return nil
}

// everything is all that the registry and the bucket hold.
func (r realm) everything() []byte {
	r.Helper()
	var all []byte
	err := r.log.Replay(r.Context(), r.log.Realm().RegistryStream(), eventlog.From{}, func(batch []eventlog.Entry) error {
		for _, e := range batch {
			all = append(all, e.Message.Data...)
			for _, h := range e.Message.Header {
				all = append(all, h[1]...)
			}
		}
		return nil
	})
	if err != nil {
		r.Fatal(err)
	}
	kv, err := r.log.Bucket(r.Context(), Bucket)
	if err != nil {
		r.Fatal(err)
	}
	for _, name := range r.records("") {
		entry, err := kv.Get(r.Context(), name)
		if err != nil {
			r.Fatal(err)
		}
		all = append(all, entry.Value()...)
	}
	return all
}
