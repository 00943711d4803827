package secret_test

import (
	"net/netip"
	"regexp"
	"testing"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
)

func TestNewClientSecret(t *testing.T) {
	a, b := secret.NewClientSecret(), secret.NewClientSecret()
	if !regexp.MustCompile(`^chs_[A-Za-z0-9_-]{43}$`).MatchString(a.Reveal()) {
		t.Error("not chs_ and 43 characters of base64url")
	}
	if a.Equal(b.Reveal()) {
		t.Error("the same twice")
	}
}

func stored(c *secret.ClientSecrets, id, text string) events.ClientSecretAdded {
	hash, keyID := c.Hash("web", secret.New(text))
	return events.ClientSecretAdded{ID: id, Hash: hash, KeyID: keyID}
}

func TestClientSecrets(t *testing.T) {
	before := secret.NewClientSecrets(ring(t, line("1", 1)))
	now := secret.NewClientSecrets(ring(t, line("1", 1), line("2", 2)))
	old, recent := stored(before, "s1", "one"), stored(now, "s2", "two")
	if old.KeyID != "1" || recent.KeyID != "2" {
		t.Fatalf("hashed under %s and %s", old.KeyID, recent.KeyID)
	}
	both := []events.ClientSecretAdded{old, recent}
	for what, try := range map[string]struct {
		client, presented string
		stored            []events.ClientSecretAdded
		want              string
	}{
		"first":                 {"web", "one", both, "s1"},
		"second":                {"web", "two", both, "s2"},
		"third of three":        {"web", "three", append(both, stored(now, "s3", "three")), "s3"},
		"wrong":                 {"web", "three", both, ""},
		"empty":                 {"web", "", both, ""},
		"another client's":      {"spa", "one", both, ""},
		"dropped":               {"web", "one", both[1:], ""},
		"client without":        {"web", "one", nil, ""},
		"empty, client without": {"web", "", nil, ""},
		"key gone":              {"web", "x", []events.ClientSecretAdded{{ID: "s", Hash: old.Hash, KeyID: "9"}}, ""},
		"empty hash":            {"web", "", []events.ClientSecretAdded{{ID: "s", KeyID: "1"}}, ""},
		"broken hash":           {"web", "one", []events.ClientSecretAdded{{ID: "s", Hash: old.Hash + "!", KeyID: "1"}}, ""},
		"hash as the secret":    {"web", old.Hash, both, ""},
	} {
		id, ok := now.Verify(try.client, try.presented, try.stored)
		if id != try.want || ok != (try.want != "") {
			t.Errorf("%s: got %q, %v, want %q", what, id, ok, try.want)
		}
	}
	other := secret.NewClientSecrets(ring(t, line("1", 7)))
	if _, ok := other.Verify("web", "one", both); ok {
		t.Error("another key under the same id verified")
	}
}

func TestAddresses(t *testing.T) {
	before := secret.NewAddresses(ring(t, line("1", 1)))
	now := secret.NewAddresses(ring(t, line("1", 1), line("2", 2)))
	addr := netip.MustParseAddr
	hash := before.Hash("grant", addr("192.0.2.1"))
	if len(hash) != 16 || hash == now.Hash("grant", addr("192.0.2.1")) {
		t.Errorf("got %q under both keys, want 16 characters and two hashes", hash)
	}
	for what, try := range map[string]struct {
		hash, scope string
		addr        netip.Addr
		want        bool
	}{
		"same":                {hash, "grant", addr("192.0.2.1"), true},
		"same as IPv6":        {hash, "grant", addr("::ffff:192.0.2.1"), true},
		"other":               {hash, "grant", addr("192.0.2.2"), false},
		"other scope":         {hash, "other", addr("192.0.2.1"), false},
		"no address":          {hash, "grant", netip.Addr{}, false},
		"no hash":             {"", "grant", addr("192.0.2.1"), false},
		"no hash, no address": {"", "grant", netip.Addr{}, false},
		"zone ignored":        {now.Hash("grant", addr("fe80::1%eth0")), "grant", addr("fe80::1"), true},
	} {
		if got := now.Matches(try.hash, try.scope, try.addr); got != try.want {
			t.Errorf("%s: got %v", what, got)
		}
	}
	if before.Hash("grant", netip.Addr{}) != "" {
		t.Error("no address has a hash")
	}
}

func BenchmarkClientSecretVerify(b *testing.B) {
	c := secret.NewClientSecrets(ring(b, line("1", 1)))
	s := []events.ClientSecretAdded{stored(c, "s1", "one")}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := c.Verify("web", "one", s); !ok {
			b.Fatal("refused")
		}
	}
}

func BenchmarkSealOpen(b *testing.B) {
	s := ring(b, line("1", 1)).Sealer("p")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Open(s.Seal(make([]byte, 64), nil), nil); err != nil {
			b.Fatal(err)
		}
	}
}
