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
	// pending counts the guesses that have not ended.
	pending map[guesser]int
}

// A guesser is who guesses one name, or any name if that is empty. Hosts get
// whole /64 networks, so an IPv6 address counts as its network.
type guesser struct {
	name string
	from netip.Prefix
}

func newGuesses() *guesses {
	return &guesses{by: map[guesser]*rate.Limiter{}, pending: map[guesser]int{}}
}

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

// begin takes up a guess, unless too many were wrong or may be yet: those that
// are being hashed count as wrong until they end. Call end with the outcome.
func (g *guesses) begin(name string, addr netip.Addr, now time.Time) (end func(wrong bool), ok bool) {
	who := guessersOf(name, addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, one := range who {
		if g.left(one, now) < 1 {
			return nil, false
		}
	}
	for _, one := range who {
		g.pending[one]++
	}
	return func(wrong bool) { g.end(who, wrong, now) }, true
}

// left is how many guesses somebody has.
func (g *guesses) left(who guesser, now time.Time) float64 {
	l := g.by[who]
	if l == nil {
		l = who.limiter()
	}
	return l.TokensAt(now) - float64(g.pending[who])
}

func (g *guesses) end(who [2]guesser, wrong bool, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, one := range who {
		if g.pending[one]--; g.pending[one] == 0 {
			delete(g.pending, one)
		}
		if !wrong {
			continue
		}
		l := g.by[one]
		if l == nil {
			g.makeRoom()
			l = one.limiter()
			g.by[one] = l
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
