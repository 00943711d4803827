package limit

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Remembered is how many keys a Limiter and a Failures each remember at most.
// A million addresses of an attacker push out the ones that were quiet the
// longest, which then have a full bucket again. Whoever has so many addresses
// is not held up by counting them.
const Remembered = 2 * perGeneration

const perGeneration = 32 << 10

// A table is the buckets of the keys that were seen last. It has two
// generations: when the young one is full it becomes the old one, and what was
// in that and not asked for since is forgotten. Keys are kept as hashes under a
// seed of their own, so nothing that is sent decides how long they are or
// which of them meet.
type table struct {
	seed       maphash.Seed
	young, old map[uint64]*bucket
}

func newTable() table {
	return table{seed: maphash.MakeSeed(), young: map[uint64]*bucket{}}
}

// A key is who is counted: a name, an address, or both.
type key struct {
	name string
	from netip.Prefix
}

// of is the bucket of a key, a full one if there is none.
func (t *table) of(k key, r Rate) *bucket {
	h := maphash.Comparable(t.seed, k)
	b := t.young[h]
	if b != nil {
		return b
	}
	if b = t.old[h]; b == nil {
		b = newBucket(r)
	}
	if len(t.young) >= perGeneration {
		t.old, t.young = t.young, make(map[uint64]*bucket, perGeneration)
	}
	t.young[h] = b
	return b
}

// network is what of an address counts as one caller. Hosts get whole /64
// networks of IPv6. No address is one caller too.
func network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	from, _ := addr.Prefix(bits)
	return from
}

// A Limiter lets every caller do so much.
type Limiter struct {
	counted atomic.Pointer[counted]
	refused atomic.Uint64
}

// counted is what callers did since a rate is in force.
type counted struct {
	rate Rate

	mu    sync.Mutex
	table table
}

// NewLimiter returns a Limiter of r for each caller.
func NewLimiter(r Rate) *Limiter {
	l := &Limiter{}
	l.counted.Store(&counted{rate: r, table: newTable()})
	return l
}

// Set changes the rate. With another one every caller begins anew.
func (l *Limiter) Set(r Rate) {
	if l.counted.Load().rate != r {
		l.counted.Store(&counted{rate: r, table: newTable()})
	}
}

// Name takes a token of a name's. If there is none it takes nothing and
// returns how long until there is one.
func (l *Limiter) Name(name string, now time.Time) (wait time.Duration) {
	return l.take(key{name: name}, now)
}

// Address is Name for an address, or an IPv6 address's /64 network.
func (l *Limiter) Address(addr netip.Addr, now time.Time) (wait time.Duration) {
	return l.take(key{from: network(addr)}, now)
}

func (l *Limiter) take(k key, now time.Time) time.Duration {
	wait := l.counted.Load().take(k, now)
	if wait > 0 {
		l.refused.Add(1)
	}
	return wait
}

func (c *counted) take(k key, now time.Time) time.Duration {
	if c.rate.off() {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.table.of(k, c.rate)
	wait := b.wait(now)
	if wait == 0 {
		b.take(now)
	}
	return wait
}

// Refused counts who had to wait.
func (l *Limiter) Refused() uint64 { return l.refused.Load() }
