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
		if !guess(g, "alice", home, now, true) {
			t.Fatalf("too many after %d", i)
		}
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
		if got := !guess(g, test.name, test.addr, now.Add(test.when), false); got != test.want {
			t.Errorf("%s from %s after %s: %v", test.name, test.addr, test.when, got)
		}
	}
}

// TestGuessesOfManyNames are as few as an address may have in all.
func TestGuessesOfManyNames(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	g := newGuesses()
	for i := range addressGuesses {
		guess(g, strconv.Itoa(i), netip.MustParseAddr("2001:db8::1"), now, true)
	}
	if guess(g, "alice", netip.MustParseAddr("2001:db8::ffff"), now, false) {
		t.Error("the network goes on")
	}
	if !guess(g, "alice", netip.MustParseAddr("2001:db8:0:1::1"), now, false) {
		t.Error("another network has to wait")
	}
}

func TestGuessesAreBounded(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	g := newGuesses()
	for i := range maxGuessers + 10 {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		guess(g, "alice", addr, now, true)
	}
	if len(g.by) != maxGuessers || len(g.pending) != 0 {
		t.Errorf("%d are remembered, %d pending", len(g.by), len(g.pending))
	}
}

// TestGuessesAtTheSameMoment count before they are known to be wrong.
func TestGuessesAtTheSameMoment(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	g := newGuesses()
	var ends []func(bool)
	for range nameGuesses {
		end, ok := g.begin("alice", addr, now)
		if !ok {
			t.Fatal("too few at once")
		}
		ends = append(ends, end)
	}
	if guess(g, "alice", addr, now, false) {
		t.Error("one more than there may be")
	}
	for _, end := range ends {
		end(false)
	}
	if !guess(g, "alice", addr, now, false) {
		t.Error("right ones were counted")
	}
}

func guess(g *guesses, name string, addr netip.Addr, now time.Time, wrong bool) bool {
	end, ok := g.begin(name, addr, now)
	if ok {
		end(wrong)
	}
	return ok
}
