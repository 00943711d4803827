package authority

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How often a password may be wrong: at once, and then how often again.
const (
	// Of one name, from one address.
	nameGuesses    = 10
	nameGuessEvery = 10 * time.Second
	// From one address, whatever the name.
	addressGuesses    = 50
	addressGuessEvery = time.Second

	// maxGuessers bounds the memory that guessing can take.
	maxGuessers = 20_000
)

// guesses slows down who guesses passwords (RFC 6749 §10.10). It counts what
// was wrong and never what was right, and keeps an account open to its owner
// while others guess from elsewhere. Each replica counts for itself.
type guesses struct {
	mu sync.Mutex
	by map[guesser]*rate.Limiter
}

// A guesser is who guesses one name, or any name if that is empty. Hosts get
// whole /64 networks, so an IPv6 address counts as its network.
type guesser struct {
	name string
	from netip.Prefix
}

func newGuesses() *guesses { return &guesses{by: map[guesser]*rate.Limiter{}} }

func guessersOf(name string, addr netip.Addr) [2]guesser {
	addr = addr.Unmap()
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	from, _ := addr.Prefix(bits) // none for no address: they all count as one
	return [...]guesser{{nameKey(name), from}, {"", from}}
}

func (g guesser) limiter() *rate.Limiter {
	if g.name == "" {
		return rate.NewLimiter(rate.Every(addressGuessEvery), addressGuesses)
	}
	return rate.NewLimiter(rate.Every(nameGuessEvery), nameGuesses)
}

// tooMany reports whether the next one must wait. It is asked before anything
// is hashed.
func (g *guesses) tooMany(name string, addr netip.Addr, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, who := range guessersOf(name, addr) {
		if l := g.by[who]; l != nil && l.TokensAt(now) < 1 {
			return true
		}
	}
	return false
}

// wrong counts a wrong password.
func (g *guesses) wrong(name string, addr netip.Addr, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, who := range guessersOf(name, addr) {
		l := g.by[who]
		if l == nil {
			g.makeRoom()
			l = who.limiter()
			g.by[who] = l
		}
		l.AllowN(now, 1)
	}
}

// makeRoom forgets anybody. Whoever has so many addresses is not held up by
// this, but by the bound on hashing.
func (g *guesses) makeRoom() {
	for who := range g.by {
		if len(g.by) < maxGuessers {
			return
		}
		delete(g.by, who)
	}
}
