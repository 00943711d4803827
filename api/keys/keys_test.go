package keys

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

const issuer = "https://as.example"

// realm is a log with nothing in it, and what the tests do to it.
type realm struct {
	*testing.T
	log *eventlog.Log
}

func newRealm(t *testing.T) realm {
	t.Helper()
	log, err := eventlog.Open(t.Context(), embeddedtest.Single(t).Conn(), eventlog.Config{Realm: events.DefaultRealm})
	if err != nil {
		t.Fatal(err)
	}
	return realm{t, log}
}

func ring(t *testing.T, ids ...string) *secret.Ring {
	t.Helper()
	var lines strings.Builder
	for _, id := range ids {
		lines.WriteString(id + ":" + base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte(id[:1]), 32)) + "\n")
	}
	r, err := secret.ParseRing(secret.New(lines.String()))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// states are what a registry feed that is up to date has folded.
func (r realm) states() []fold.Key {
	r.Helper()
	states := map[string]fold.Key{}
	from := eventlog.From{Subjects: []string{string(r.log.Realm().KeySubject("*"))}}
	err := r.log.Replay(context.Background(), r.log.Realm().RegistryStream(), from, func(batch []eventlog.Entry) error {
		for _, e := range batch {
			recorded, err := e.Recorded()
			if err != nil {
				return err
			}
			id := recorded.Subject.ID()
			if states[id], err = states[id].Apply(recorded); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.Error(err)
	}
	var keys []fold.Key
	for _, k := range states {
		keys = append(keys, k)
	}
	return keys
}

func (r realm) config(kek *secret.Ring, algs ...jose.Alg) Config {
	return Config{
		Log: r.log, Ring: kek, Issuer: issuer, Algs: algs, Keys: r.states, NewID: uuid.NewString,
		Wait: func(context.Context, uint64) error { return nil },
	}
}

func (r realm) open(cfg Config) *Manager {
	r.Helper()
	m, err := Open(r.Context(), cfg)
	if err != nil {
		r.Fatal(err)
	}
	return m
}

// append adds the next event of a key.
func (r realm) append(kid string, fact events.Fact) {
	r.Helper()
	var expect uint64
	for _, k := range r.states() {
		if k.ID == kid {
			expect = k.Seq
		}
	}
	e := events.Event{ID: uuid.NewString(), Source: issuer, Time: time.Now(), Subject: r.log.Realm().KeySubject(kid), Fact: fact}
	if _, err := r.log.Append(r.Context(), eventlog.Unit{Event: e, Expect: expect}); err != nil {
		r.Fatal(err)
	}
}

// kids are the ids of the keys in a state, sorted.
func (r realm) kids(state fold.KeyState) []string {
	r.Helper()
	var ids []string
	for _, k := range r.states() {
		if k.State == state {
			ids = append(ids, k.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

func claims() jose.Claims {
	now := time.Now().Unix()
	return jose.Claims{
		Issuer: issuer, Subject: "s", Audience: []string{"a"}, Expires: now + 60, IssuedAt: now, JTI: "j", ClientID: "c",
	}
}

// sign signs with a key that must be there.
func (r realm) sign(k jose.SigningKey, err error) string {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
	text, err := jose.Sign(k, claims())
	if err != nil {
		r.Fatal(err)
	}
	return text
}

func verifies(m *Manager, text string) bool {
	_, err := m.Verifier().Verify(text, time.Now())
	return err == nil
}

func TestFirstStart(t *testing.T) {
	r := newRealm(t)
	m := r.open(r.config(ring(t, "1"), jose.Algs()...))
	if err := m.Err(); err != nil {
		t.Error(err)
	}
	if got := r.kids(fold.KeyActive); len(got) != 4 || len(r.states()) != 4 || !slices.Contains(got, "mac-1") {
		t.Errorf("got %v of %d keys, want mac-1 and three signing keys", got, len(r.states()))
	}
	if _, id := m.MAC(); id != 1 {
		t.Errorf("MAC key %d renders", id)
	}
	for _, alg := range jose.Algs() {
		k, err := m.Signer(string(alg))
		if text := r.sign(k, err); !verifies(m, text) || k.Public().Alg != alg {
			t.Errorf("%s: signed by %v, not verified", alg, k)
		}
		if _, err := m.SignerByID(k.Public().ID); err != nil {
			t.Error(err)
		}
	}
	for _, alg := range []string{"", "none", "HS256"} {
		if _, err := m.Signer(alg); err == nil {
			t.Errorf("there is a signer for %q", alg)
		}
	}
	for _, kid := range []string{"", "mac-1", "x"} {
		if _, err := m.SignerByID(kid); err == nil {
			t.Errorf("there is a signing key %q", kid)
		}
	}
	if len(m.PublicKeys()) != 3 || bytes.Contains(m.JWKS(), []byte(`"d"`)) {
		t.Errorf("public keys: got %s", m.JWKS())
	}
}

func TestRestartMakesNothingNew(t *testing.T) {
	r := newRealm(t)
	before := r.open(r.config(ring(t, "1"), jose.ES256))
	text := renderedBy(t, before)
	again := r.open(r.config(ring(t, "1", "2"), jose.ES256)) // with a new key-encryption key
	if !bytes.Equal(before.JWKS(), again.JWKS()) || len(r.states()) != 2 || !parses(again, text) {
		t.Errorf("got %s, %d keys, before %s", again.JWKS(), len(r.states()), before.JWKS())
	}
	more := r.open(r.config(ring(t, "1", "2"), jose.ES256, jose.EdDSA))
	if public := more.PublicKeys(); len(public) != 2 || public[0].Alg != jose.ES256 {
		t.Errorf("a newly configured algorithm, not the default: got %s", more.JWKS())
	}
	if public := r.open(r.config(ring(t, "1", "2"), jose.EdDSA, jose.ES256)).PublicKeys(); public[0].Alg != jose.EdDSA {
		t.Error("the default algorithm's key is not the first")
	}
}

func TestReplicasThatStartTogether(t *testing.T) {
	const replicas = 6
	t.Run("one server", func(t *testing.T) {
		startTogether(t, slices.Repeat([]realm{newRealm(t)}, replicas))
	})
	t.Run("cluster", func(t *testing.T) {
		c := embeddedtest.NewCluster(t)
		realms := make([]realm, replicas)
		for i := range realms {
			log, err := eventlog.Open(t.Context(), c.Connect(i%embeddedtest.Nodes), eventlog.Config{Realm: events.DefaultRealm, Replicas: 3})
			if err != nil {
				t.Fatal(err)
			}
			realms[i] = realm{t, log}
		}
		startTogether(t, realms)
	})
}

// startTogether starts a replica on each and finds that all have the same keys.
func startTogether(t *testing.T, realms []realm) {
	t.Helper()
	managers := make([]*Manager, len(realms))
	var wg sync.WaitGroup
	for i, r := range realms {
		wg.Go(func() {
			var err error
			if managers[i], err = Open(t.Context(), r.config(ring(t, "1"), jose.ES256, jose.EdDSA)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	r := realms[0]
	if got := r.kids(fold.KeyActive); len(got) != 3 || len(r.states()) != 3 {
		t.Fatalf("got active %v of %d keys, want 3", got, len(r.states()))
	}
	for i, m := range managers {
		realms[i].reload(m)
		if !bytes.Equal(m.JWKS(), managers[0].JWKS()) || !parses(m, renderedBy(t, managers[0])) {
			t.Errorf("replica %d has other keys", i)
		}
	}
	if got := r.records("sig."); len(got) != 2 {
		t.Errorf("private parts that nobody uses: %v", got)
	}
}

func (r realm) records(prefix string) []string {
	r.Helper()
	kv, err := r.log.Bucket(r.Context(), Bucket)
	if err != nil {
		r.Fatal(err)
	}
	all, err := kv.Keys(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	return slices.DeleteFunc(all, func(k string) bool { return !strings.HasPrefix(k, prefix) })
}

// A replica that dies at any step of its first start leaves nothing that the
// next start does not finish.
func TestInterruptedStart(t *testing.T) {
	for step := 1; step <= 4; step++ { // announce and activate, MAC and signing key
		r := newRealm(t)
		ctx, die := context.WithCancel(t.Context())
		cfg := r.config(ring(t, "1"), jose.ES256)
		n := 0
		cfg.NewID = func() string {
			if n++; n == step {
				die()
			}
			return uuid.NewString()
		}
		if _, err := Open(ctx, cfg); err == nil {
			t.Fatalf("step %d: the start was not interrupted", step)
		}
		left := r.records("")
		m := r.open(r.config(ring(t, "1"), jose.ES256))
		if got := r.kids(fold.KeyActive); len(got) != 2 || len(r.states()) != 2 {
			t.Errorf("step %d: got active %v of %d keys, want 2", step, got, len(r.states()))
		}
		if now := r.records(""); step == 4 && len(now) != len(left) {
			t.Errorf("step %d: had %v, got %v", step, left, now)
		}
		if !parses(m, renderedBy(t, m)) {
			t.Errorf("step %d: the MAC key does not work", step)
		}
	}
}

// An old private part without events may be from a log that was lost. Its MAC
// key must not render other tokens of the same generation.
func TestLeftoversAreNotAdopted(t *testing.T) {
	r := newRealm(t)
	v, err := openVault(t.Context(), r.log, ring(t, "1"))
	if err != nil {
		t.Fatal(err)
	}
	left, err := v.create(t.Context(), macRecord(1), newMAC())
	if err != nil {
		t.Fatal(err)
	}
	_, lost, err := (&Manager{vault: v}).claim(t.Context(), signingFamily(jose.ES256), 1)
	if err != nil {
		t.Fatal(err)
	}
	cfg := r.config(ring(t, "1"), jose.ES256)
	cfg.Now = func() time.Time { return left.written.Add(adoptWithin + time.Second) }
	m := r.open(cfg)
	if _, id := m.MAC(); id != 2 || len(r.states()) != 2 {
		t.Errorf("MAC key %d renders, %d keys, want a second one and 2", id, len(r.states()))
	}
	if _, err := m.SignerByID(lost); err == nil {
		t.Error("the lost signing key signs")
	}
}

func TestWrongKeyEncryptionKey(t *testing.T) {
	r := newRealm(t)
	r.open(r.config(ring(t, "1"), jose.ES256))
	other := "1:" + base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte("x"), 32))
	sameID, err := secret.ParseRing(secret.New(other))
	if err != nil {
		t.Fatal(err)
	}
	for what, kek := range map[string]*secret.Ring{"another id": ring(t, "2"), "another key of the same id": sameID} {
		_, err := Open(t.Context(), r.config(kek, jose.ES256))
		if !errors.Is(err, ErrWrongKey) {
			t.Errorf("%s: got %v, want ErrWrongKey", what, err)
			continue
		}
		for _, must := range []string{`"1"`, "ids " + kek.IDs()[0], "MAIN_SECRETS", "start it with"} {
			if !strings.Contains(err.Error(), must) {
				t.Errorf("%s: the message does not say %s: %v", what, must, err)
			}
		}
	}
	if len(r.states()) != 2 {
		t.Errorf("a replica that could not start made keys: %d", len(r.states()))
	}
}
