package secret_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chancery-authority/chancery/api/secret"
)

// line is a ring line whose key is 32 times b.
func line(id string, b byte) string {
	return id + ":" + base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)) + "\n"
}

func ring(tb testing.TB, lines ...string) *secret.Ring {
	tb.Helper()
	r, err := secret.ParseRing(secret.New(strings.Join(lines, "")))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func TestParseRing(t *testing.T) {
	r := ring(t, "# ours\n\n", line("old", 1), " "+line("new_2-B", 2), "\r\n")
	if r.Active() != "new_2-B" || !slices.Equal(r.IDs(), []string{"old", "new_2-B"}) {
		t.Errorf("got active %s of %v", r.Active(), r.IDs())
	}
	key := strings.TrimPrefix(strings.TrimSpace(line("", 0xff)), ":")
	for what, text := range map[string]string{
		"nothing":        "",
		"only a comment": "# none\n",
		"no id":          ":" + key,
		"no key":         "a:",
		"no colon":       key,
		"bad id":         "a.b:" + key,
		"long id":        strings.Repeat("a", 33) + ":" + key,
		"short key":      "a:" + key[:40],
		"long key":       "a:" + key + "AAAA",
		"not canonical":  "a:" + key[:len(key)-1] + "9",
		"standard":       "a:" + strings.ReplaceAll(key, "_", "/"),
		"twice":          line("a", 1) + line("a", 2),
	} {
		_, err := secret.ParseRing(secret.New(text))
		if err == nil {
			t.Errorf("%s was taken", what)
		} else if strings.Contains(err.Error(), key[:20]) {
			t.Errorf("%s: the error holds the key: %v", what, err)
		}
	}
}

func TestRingIsNeverPrinted(t *testing.T) {
	r := ring(t, line("a", 'K'))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if got := fmt.Sprintf(verb, r); got != "REDACTED" {
			t.Errorf("%s: %s", verb, got)
		}
	}
}

func TestOpenRingCreatesOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	var wg sync.WaitGroup
	rings, created := make([]*secret.Ring, 8), make([]bool, 8)
	for i := range rings {
		wg.Go(func() {
			var err error
			if rings[i], created[i], err = secret.OpenRing(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	count := 0
	for i, r := range rings {
		if created[i] {
			count++
		}
		sealed := r.Sealer("test").Seal([]byte("x"), nil)
		if _, err := rings[0].Sealer("test").Open(sealed, nil); err != nil {
			t.Errorf("ring %d differs from ring 0: %v", i, err)
		}
	}
	if count != 1 {
		t.Errorf("created %d times", count)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v, want 0600", info.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("leftovers: %v, %v", entries, err)
	}
}

func TestOpenRingNeverReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	for what, text := range map[string]string{"empty": "", "broken": "a:b\n", "huge": strings.Repeat("#", 70_000)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := secret.OpenRing(path); err == nil {
			t.Errorf("an %s file was taken", what)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("the %s file was changed: %v", what, err)
		}
	}
	if _, _, err := secret.OpenRing(filepath.Join(t.TempDir(), "no", "such", "keys")); err == nil {
		t.Error("a file in no directory was made")
	}
}

func TestSeal(t *testing.T) {
	before, both := ring(t, line("1", 1)), ring(t, line("1", 1), line("2", 2))
	sealed := before.Sealer("p").Seal([]byte(planted), []byte("ctx"))
	if bytes.Contains(sealed, []byte(planted)) {
		t.Fatal("not encrypted")
	}
	if again := before.Sealer("p").Seal([]byte(planted), []byte("ctx")); bytes.Equal(again, sealed) {
		t.Error("sealed twice into the same bytes")
	}
	got, err := both.Sealer("p").Open(sealed, []byte("ctx"))
	if err != nil || string(got) != planted {
		t.Fatalf("after a new key: got %q, %v", got, err)
	}
	newer := both.Sealer("p").Seal(nil, nil)
	if _, err := before.Sealer("p").Open(newer, nil); !errors.Is(err, secret.ErrUnknownKey) {
		t.Errorf("a key that is not there: got %v", err)
	}
	for what, try := range map[string]struct {
		ring    *secret.Ring
		purpose string
		context string
	}{
		"other context": {both, "p", "ctX"},
		"no context":    {both, "p", ""},
		"other purpose": {both, "q", "ctx"},
		"other key":     {ring(t, line("1", 9)), "p", "ctx"},
	} {
		if _, err := try.ring.Sealer(try.purpose).Open(sealed, []byte(try.context)); !errors.Is(err, secret.ErrSealed) {
			t.Errorf("%s: got %v, want ErrSealed", what, err)
		}
	}
}

func TestSealedEveryByteCounts(t *testing.T) {
	s := ring(t, line("1", 1), line("2", 2)).Sealer("p")
	sealed := s.Seal([]byte("text"), nil)
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := s.Open(changed, nil); err == nil {
			t.Errorf("byte %d changed and nobody noticed", i)
		}
		if _, err := s.Open(sealed[:i], nil); err == nil {
			t.Errorf("cut to %d and nobody noticed", i)
		}
	}
	if _, err := s.Open(append(bytes.Clone(sealed), 0), nil); err == nil {
		t.Error("a byte more and nobody noticed")
	}
}
