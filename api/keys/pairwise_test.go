package keys

import (
	"bytes"
	"sync"
	"testing"

	"github.com/chancery-authority/chancery/api/jose"
)

// TestPairwiseSubject is OIDC Core §8.1: the same for a sector at every replica
// and after every start, and another for every sector and user.
func TestPairwiseSubject(t *testing.T) {
	r := newRealm(t)
	var managers [3]*Manager
	var starting sync.WaitGroup
	for i := range managers {
		starting.Go(func() {
			var err error
			if managers[i], err = Open(r.Context(), r.config(ring(t, "a"), jose.ES256)); err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	const user = "5e3b6a1c-0000-4000-8000-000000000001"
	sub := managers[0].PairwiseSubject("a.example", user)
	for _, m := range append(managers[:], r.open(r.config(ring(t, "a", "b"), jose.ES256))) {
		if got := m.PairwiseSubject("a.example", user); got != sub || len(got) != 43 {
			t.Errorf("%q, elsewhere %q", got, sub)
		}
	}
	m := managers[0]
	for _, other := range []string{m.PairwiseSubject("b.example", user), m.PairwiseSubject("a.example", user+"0"), m.PairwiseSubject("a.example0", user[1:])} {
		if other == sub {
			t.Error("another sector or user has the same")
		}
	}
	if elsewhere := newRealm(t); elsewhere.open(elsewhere.config(ring(t, "a"), jose.ES256)).PairwiseSubject("a.example", user) == sub {
		t.Error("another realm has the same")
	}
	raw, err := m.vault.kv.Get(t.Context(), pairwiseRecord)
	if err != nil || bytes.Contains(raw.Value(), m.pairwise) {
		t.Errorf("the key is not sealed, or not there: %v", err)
	}
}

// TestBadPairwiseKey starts nothing: every relying party would take its users
// for strangers.
func TestBadPairwiseKey(t *testing.T) {
	r := newRealm(t)
	m := r.open(r.config(ring(t, "a"), jose.ES256))
	short := m.vault.sealer.Seal([]byte("short"), []byte(pairwiseRecord))
	for name, value := range map[string][]byte{"short": short, "not sealed": []byte("garbage")} {
		if _, err := m.vault.kv.Put(t.Context(), pairwiseRecord, value); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), r.config(ring(t, "a"), jose.ES256)); err == nil {
			t.Errorf("started with a key that is %s", name)
		}
	}
}
