package limit

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Failures slows down who guesses secrets (RFC 6749 §2.3.1, §10.10). It counts
// what was wrong and never what was right, by name and address and by address
// in all, so that a name stays open to its owner while others guess from
// elsewhere. Names are of one kind: give those of clients and of users each a
// prefix, and none that is empty.
type Failures struct {
	mu                sync.Mutex
	ofName, ofAddress Rate
	table             table
	refused           atomic.Uint64
}

// Refused counts the attempts that had to wait.
func (f *Failures) Refused() uint64 { return f.refused.Load() }

// NewFailures allows so many failures of one name from one address, and so
// many from one address, whatever the name.
func NewFailures(ofName, ofAddress Rate) *Failures {
	return &Failures{ofName: ofName, ofAddress: ofAddress, table: newTable()}
}

// Set changes what is allowed. With other rates everybody begins anew.
func (f *Failures) Set(ofName, ofAddress Rate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ofName != ofName || f.ofAddress != ofAddress {
		f.ofName, f.ofAddress, f.table = ofName, ofAddress, newTable()
	}
}

// Begin takes up an attempt, unless too many failed or may yet: those that have
// not ended count as failed until they do. Call end with the outcome. If end
// is nil the attempt must not be made before wait is over.
func (f *Failures) Begin(name string, addr netip.Addr, now time.Time) (end func(failed bool), wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	from := network(addr)
	// The address first: one that has to wait leaves no trace of names.
	ofAddress, wait := f.bucket(key{from: from}, f.ofAddress, now)
	if wait > 0 {
		f.refused.Add(1)
		return nil, wait
	}
	ofName, wait := f.bucket(key{name, from}, f.ofName, now)
	if wait > 0 {
		f.refused.Add(1)
		return nil, wait
	}
	counted := []*bucket{ofAddress, ofName}
	for _, b := range counted {
		b.pending++
	}
	return func(failed bool) { f.end(counted, failed, now) }, 0
}

// bucket is the one of a key and how long until it has a token. What has no
// limit gets one that is never asked again.
func (f *Failures) bucket(k key, r Rate, now time.Time) (*bucket, time.Duration) {
	if r.off() {
		return newBucket(r), 0
	}
	b := f.table.of(k, r)
	return b, b.wait(now)
}

func (f *Failures) end(counted []*bucket, failed bool, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range counted {
		b.pending--
		if failed {
			b.take(now)
		}
	}
}
