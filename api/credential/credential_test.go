package credential_test

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/credential"
	"github.com/chancery-authority/chancery/events"
)

func testRing(tb testing.TB, ids ...uint8) *credential.Ring {
	tb.Helper()
	keys := map[uint8][credential.KeySize]byte{}
	for _, id := range ids {
		var key [credential.KeySize]byte
		for i := range key {
			key[i] = id + byte(i)
		}
		keys[id] = key
	}
	ring, err := credential.NewRing(keys)
	if err != nil {
		tb.Fatal(err)
	}
	return ring
}

func claims(k credential.Kind) credential.Claims {
	c := credential.Claims{
		Grant:   events.NewGrantID(3, [16]byte{1: 1, 15: 0xff}),
		Expires: 1_900_000_000,
		MACKey:  1,
	}
	if k == credential.RefreshToken {
		c.Generation = 7
	}
	return c
}

func render(tb testing.TB, r *credential.Ring, k credential.Kind, c credential.Claims) string {
	tb.Helper()
	text, err := r.Render(k, c)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func wantInvalid(t *testing.T, r *credential.Ring, k credential.Kind, text, what string) {
	t.Helper()
	c, err := r.Parse(k, text)
	if err != credential.ErrInvalid { //nolint:errorlint // exactly the same error for every kind of garbage
		t.Errorf("%s: got %v, want ErrInvalid", what, err)
	}
	if c != (credential.Claims{}) {
		t.Errorf("%s: got claims %+v with the error", what, c)
	}
}

var kinds = [...]credential.Kind{credential.Code, credential.RefreshToken, credential.Session, credential.DeviceCode}

// The text is kept for ever: a token rendered today must parse after an
// upgrade, and a generation is always the same bytes.
func TestGolden(t *testing.T) {
	want := map[credential.Kind]string{
		credential.Code:         "chc_AwEAAAAAAAAAAAAAAAAA_wAAAABxP7MAAbEg_oq8Zu7hTf70va59KdTLpjkDDUr5fcrujv4Vli8z",
		credential.RefreshToken: "chr_AwEAAAAAAAAAAAAAAAAA_wAAAAdxP7MAAaIEVPPgGqJxn6F8C0mN1nCYkm-0oHnL_nuA8zndVBff",
		credential.Session:      "chb_AwEAAAAAAAAAAAAAAAAA_wAAAABxP7MAAVnbU0NWGO4nnIxQ56aq1iJOxhluHlw2ZXNox6boZIKt",
		credential.DeviceCode:   "chd_AwEAAAAAAAAAAAAAAAAA_wAAAABxP7MAAbP3PsdQ1Jacm1tMiuGZ6BpPGMReeBXG-aG9vXa1cwFp",
	}
	for _, k := range kinds {
		if got := render(t, testRing(t, 1), k, claims(k)); got != want[k] {
			t.Errorf("%s: got %s, want %s", k, got, want[k])
		}
	}
}

func TestRoundTrip(t *testing.T) {
	ring := testRing(t, 1, 2, 255)
	unreserved := regexp.MustCompile(`^[A-Za-z0-9._~-]+$`)
	for _, k := range kinds {
		for _, change := range []func(*credential.Claims){
			func(*credential.Claims) {},
			func(c *credential.Claims) { c.MACKey = 255 },
			func(c *credential.Claims) { c.Expires = 1 },
			func(c *credential.Claims) { c.Expires = math.MaxUint32 },
			func(c *credential.Claims) { c.Grant = events.GrantID{15: 1} },
			func(c *credential.Claims) {
				if k == credential.RefreshToken {
					c.Generation = math.MaxUint32
				}
			},
		} {
			c := claims(k)
			change(&c)
			text := render(t, ring, k, c)
			if !unreserved.MatchString(text) {
				t.Errorf("%s holds reserved characters", text)
			}
			if got, err := ring.Parse(k, text); err != nil || got != c {
				t.Errorf("parse %s: got %+v, %v, want %+v", text, got, err, c)
			}
			if got, ok := credential.KindOf(text); !ok || got != k {
				t.Errorf("kind of %s: got %q, %v", text, got, ok)
			}
		}
	}
}

func TestEveryByteCounts(t *testing.T) {
	ring := testRing(t, 1, 2)
	for _, k := range kinds {
		text := render(t, ring, k, claims(k))
		for i := range len(text) + 1 {
			for b := range 256 {
				wantInvalid(t, ring, k, text[:i]+string([]byte{byte(b)})+text[i:], fmt.Sprintf("%s: byte %#x added at %d", k, b, i))
				if i < len(text) && text[i] != byte(b) {
					wantInvalid(t, ring, k, text[:i]+string([]byte{byte(b)})+text[i+1:], fmt.Sprintf("%s: byte %d changed to %#x", k, i, b))
				}
			}
			wantInvalid(t, ring, k, text[:min(i, len(text)-1)], fmt.Sprintf("%s: cut to %d", k, i))
			if i < len(text) {
				wantInvalid(t, ring, k, text[:i]+text[i+1:], fmt.Sprintf("%s: byte %d dropped", k, i))
				wantInvalid(t, ring, k, text[:i]+"\n"+text[i+1:], fmt.Sprintf("%s: line break at %d", k, i))
			}
		}
	}
}

func TestGarbage(t *testing.T) {
	ring := testRing(t, 1)
	good := render(t, ring, credential.RefreshToken, claims(credential.RefreshToken))
	body := strings.TrimPrefix(good, "chr_")
	for what, text := range map[string]string{
		"empty":             "",
		"only a prefix":     "chr_",
		"other prefix":      "chx_" + body,
		"prefix upper case": "CHR_" + body,
		"swapped prefix":    "chc_" + body,
		"twice":             good + good,
		"padded":            good + "=",
		"standard alphabet": "chr_" + strings.NewReplacer("-", "+", "_", "/").Replace(body),
		"spaces around":     " " + good[:len(good)-1],
		"a line break":      good[:40] + "\r\n" + good[40:],
		"zeros":             "chr_" + strings.Repeat("A", len(body)),
		"1 MB":              strings.Repeat(".", 1<<20),
	} {
		for _, k := range kinds {
			wantInvalid(t, ring, k, text, string(k)+what)
		}
	}
	if _, ok := credential.KindOf("eyJ0eXAi"); ok {
		t.Error("a JWT passed for a credential")
	}
}

func TestOneKindIsNotTheOther(t *testing.T) {
	ring := testRing(t, 1)
	for _, k := range kinds {
		text := render(t, ring, k, claims(k))
		for _, other := range kinds {
			if other == k {
				continue
			}
			wantInvalid(t, ring, other, text, string(k)+" as rendered")
			wantInvalid(t, ring, other, string(other)+text[4:], string(k)+" under the prefix "+string(other))
		}
	}
}

func TestKeys(t *testing.T) {
	text := render(t, testRing(t, 1), credential.RefreshToken, claims(credential.RefreshToken))
	wantInvalid(t, testRing(t, 2), credential.RefreshToken, text, "key not in the ring")
	wantInvalid(t, testRing(t), credential.RefreshToken, text, "empty ring")
	other, err := credential.NewRing(map[uint8][credential.KeySize]byte{1: {1, 2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	wantInvalid(t, other, credential.RefreshToken, text, "another key under the same id")
	if _, err := credential.NewRing(map[uint8][credential.KeySize]byte{0: {}}); err == nil {
		t.Error("MAC key 0 was taken")
	}
}

func TestRenderRefuses(t *testing.T) {
	ring := testRing(t, 1)
	for what, change := range map[string]func(*credential.Claims){
		"unknown key":     func(c *credential.Claims) { c.MACKey = 9 },
		"no key":          func(c *credential.Claims) { c.MACKey = 0 },
		"no grant":        func(c *credential.Claims) { c.Grant = events.GrantID{} },
		"no expiry":       func(c *credential.Claims) { c.Expires = 0 },
		"negative expiry": func(c *credential.Claims) { c.Expires = -1 },
		"far expiry":      func(c *credential.Claims) { c.Expires = math.MaxUint32 + 1 },
		"generation":      func(c *credential.Claims) { c.Generation = 1 - min(c.Generation, 1) },
	} {
		for _, k := range kinds {
			c := claims(k)
			change(&c)
			if text, err := ring.Render(k, c); err == nil || text != "" {
				t.Errorf("%s%s: rendered %q", k, what, text)
			}
		}
	}
	if _, err := ring.Render("chx_", claims(credential.Code)); err == nil {
		t.Error("an unknown kind was rendered")
	}
}

func TestRingIsNeverPrinted(t *testing.T) {
	ring := testRing(t, 1)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, ring); got != "REDACTED" {
			t.Errorf("%s: %s", verb, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	ring := testRing(f, 1, 2)
	for _, k := range kinds {
		f.Add(string(k), render(f, ring, k, claims(k)))
	}
	f.Add("chr_", "chr_"+strings.Repeat("A", 76))
	f.Fuzz(func(t *testing.T, kind, text string) {
		c, err := ring.Parse(credential.Kind(kind), text)
		if err != nil {
			if !errors.Is(err, credential.ErrInvalid) {
				t.Fatalf("got %v, want ErrInvalid", err)
			}
			return
		}
		if again := render(t, ring, credential.Kind(kind), c); again != text {
			t.Fatalf("%q parsed but renders as %q", text, again)
		}
	})
}

func BenchmarkRender(b *testing.B) {
	ring, c := testRing(b, 1), claims(credential.RefreshToken)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ring.Render(credential.RefreshToken, c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	ring := testRing(b, 1)
	text := render(b, ring, credential.RefreshToken, claims(credential.RefreshToken))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ring.Parse(credential.RefreshToken, text); err != nil {
			b.Fatal(err)
		}
	}
}
