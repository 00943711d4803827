package authority

import (
	"net/netip"
	"strconv"
	"testing"
	"time"
)

func TestGuesses(t *testing.T) {
	home, elsewhere := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	g := newGuesses()
	for i := range nameGuesses {
		if g.tooMany("alice", home, now) {
			t.Fatalf("too many after %d", i)
		}
		g.wrong("alice", home, now)
	}
	for _, test := range []struct {
		name string
		addr netip.Addr
		when time.Duration
		want bool
	}{
		{"alice", home, 0, true},
		{"alice", netip.AddrFrom16(home.As16()), 0, true}, // the same, as a listener on IPv6 tells it
		{"alice", home, nameGuessEvery - time.Second, true},
		{"alice", home, nameGuessEvery, false},
		{"alice", elsewhere, 0, false},
		{"bob", home, 0, false},
	} {
		if got := g.tooMany(test.name, test.addr, now.Add(test.when)); got != test.want {
			t.Errorf("%s from %s after %s: %v", test.name, test.addr, test.when, got)
		}
	}
}

// TestGuessesOfManyNames are as few as an address may have in all.
func TestGuessesOfManyNames(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	g := newGuesses()
	for i := range addressGuesses {
		g.wrong(strconv.Itoa(i), netip.MustParseAddr("2001:db8::1"), now)
	}
	if !g.tooMany("alice", netip.MustParseAddr("2001:db8::ffff"), now) {
		t.Error("the network goes on")
	}
	if g.tooMany("alice", netip.MustParseAddr("2001:db8:0:1::1"), now) {
		t.Error("another network has to wait")
	}
}

func TestGuessesAreBounded(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	g := newGuesses()
	for i := range maxGuessers + 10 {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		g.wrong("alice", addr, now)
	}
	if len(g.by) != maxGuessers {
		t.Errorf("%d are remembered", len(g.by))
	}
}
