package limit_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/limit"
)

var (
	start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	home  = netip.MustParseAddr("192.0.2.1")
)

func rate(t *testing.T, text string) (r limit.Rate) {
	t.Helper()
	if err := r.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRateText(t *testing.T) {
	for text, want := range map[string]limit.Rate{
		"0":          {},
		"5/s":        {N: 5, Per: time.Second, Burst: 5},
		"10/m:20":    {N: 10, Per: time.Minute, Burst: 20},
		"1/h:1":      {N: 1, Per: time.Hour, Burst: 1},
		"200/s:1000": {N: 200, Per: time.Second, Burst: 1000},
	} {
		got := rate(t, text)
		if again := rate(t, got.String()); got != want || again != want {
			t.Errorf("%s: %+v, and %+v of %s", text, got, again, got)
		}
	}
	for _, text := range []string{"", "5", "-1/s", "0/s", "5/s:0", "5/d", "5/s:", "5/s:5:5", "99999999999/s", "1/s:99999999999", "0:5", "5/s "} {
		if err := new(limit.Rate).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

// TestLimiter takes tokens one by one, at times since the start.
func TestLimiter(t *testing.T) {
	type step struct {
		at, wait time.Duration
	}
	for name, test := range map[string]struct {
		rate  string
		steps []step
	}{
		"no limit": {"0", []step{{0, 0}, {0, 0}, {0, 0}}},
		"the burst and then one at a time": {"1/s:2", []step{
			{0, 0}, {0, 0}, {0, time.Second}, {400 * time.Millisecond, 600 * time.Millisecond}, {time.Second, 0}, {time.Second, time.Second},
		}},
		"a refusal takes nothing": {"1/m", []step{
			{0, 0}, {10 * time.Second, 50 * time.Second}, {20 * time.Second, 40 * time.Second}, {time.Minute, 0},
		}},
		"no more than the burst is saved": {"1/s:2", []step{{0, 0}, {time.Hour, 0}, {time.Hour, 0}, {time.Hour, time.Second}}},
		"a clock put back earns nothing":  {"1/s", []step{{time.Hour, 0}, {0, time.Second}, {time.Hour, time.Second}}},
	} {
		t.Run(name, func(t *testing.T) {
			l := limit.NewLimiter(rate(t, test.rate))
			for i, s := range test.steps {
				if wait := l.Name("web", start.Add(s.at)); wait.Round(time.Microsecond) != s.wait {
					t.Errorf("step %d, after %s: wait %s, want %s", i, s.at, wait, s.wait)
				}
			}
		})
	}
}

// TestWaitIsEnough comes back when it was told to.
func TestWaitIsEnough(t *testing.T) {
	for _, text := range []string{"1/s", "3/s", "7/m", "11/h:2", "499/s"} {
		l := limit.NewLimiter(rate(t, text))
		now := start
		for range 100 {
			wait := l.Name("web", now)
			now = now.Add(wait)
			if wait > 0 && l.Name("web", now) > time.Microsecond {
				t.Fatalf("%s: %s was not enough", text, wait)
			}
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, test := range []struct {
		name, a, b string
		same       bool
	}{
		{"the same", "192.0.2.1", "192.0.2.1", true},
		{"as a listener on IPv6 tells it", "192.0.2.1", "::ffff:192.0.2.1", true},
		{"another", "192.0.2.1", "192.0.2.2", false},
		{"one network of IPv6", "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true},
		{"the next network", "2001:db8::1", "2001:db8:0:1::1", false},
		{"a zone", "fe80::1%eth0", "fe80::1%eth1", true},
	} {
		l := limit.NewLimiter(rate(t, "1/h"))
		l.Address(netip.MustParseAddr(test.a), start)
		if same := l.Address(netip.MustParseAddr(test.b), start) > 0; same != test.same {
			t.Errorf("%s: one caller %v", test.name, same)
		}
	}
	l := limit.NewLimiter(rate(t, "1/h"))
	if l.Address(netip.Addr{}, start) != 0 || l.Address(netip.Addr{}, start) == 0 {
		t.Error("no address is not one caller")
	}
}

// attempt is one of Failures that ends at once.
func attempt(f *limit.Failures, name string, from netip.Addr, now time.Time, failed bool) bool {
	end, _ := f.Begin(name, from, now)
	if end != nil {
		end(failed)
	}
	return end != nil
}

func TestFailures(t *testing.T) {
	f := limit.NewFailures(rate(t, "6/m:10"), rate(t, "1/s:50"))
	for i := range 10 {
		if !attempt(f, "alice", home, start, false) || !attempt(f, "alice", home, start, true) {
			t.Fatalf("too many after %d", i)
		}
	}
	for _, test := range []struct {
		name, from string
		after      time.Duration
		let        bool
	}{
		{"alice", "192.0.2.1", 0, false},
		{"alice", "192.0.2.1", 9 * time.Second, false},
		{"alice", "192.0.2.1", 10 * time.Second, true},
		{"alice", "192.0.2.2", 0, true},
		{"bob", "192.0.2.1", 0, true},
	} {
		if got := attempt(f, test.name, netip.MustParseAddr(test.from), start.Add(test.after), false); got != test.let {
			t.Errorf("%s from %s after %s: %v", test.name, test.from, test.after, got)
		}
	}
	if _, wait := f.Begin("alice", home, start.Add(4*time.Second)); wait.Round(time.Millisecond) != 6*time.Second {
		t.Errorf("wait %s", wait)
	}
}

// TestFailuresOfManyNames are as few as an address may have in all.
func TestFailuresOfManyNames(t *testing.T) {
	f := limit.NewFailures(rate(t, "6/m:10"), rate(t, "1/s:50"))
	for i := range 50 {
		if !attempt(f, fmt.Sprint(i), home, start, true) {
			t.Fatalf("too many after %d", i)
		}
	}
	if attempt(f, "alice", home, start, false) {
		t.Error("the address goes on")
	}
	if !attempt(f, "alice", netip.MustParseAddr("192.0.2.2"), start, false) {
		t.Error("another address has to wait")
	}
}

// TestFailuresAtTheSameMoment count before they are known to be wrong.
func TestFailuresAtTheSameMoment(t *testing.T) {
	f := limit.NewFailures(rate(t, "6/m:10"), limit.Rate{})
	var ends []func(bool)
	for range 10 {
		end, _ := f.Begin("alice", home, start)
		if end == nil {
			t.Fatal("too few at once")
		}
		ends = append(ends, end)
	}
	if attempt(f, "alice", home, start, false) {
		t.Error("one more than there may be")
	}
	for _, end := range ends {
		end(false)
	}
	if !attempt(f, "alice", home, start, false) {
		t.Error("right ones were counted")
	}
}

func TestNoFailureLimit(t *testing.T) {
	f := limit.NewFailures(limit.Rate{}, limit.Rate{})
	for range 1000 {
		if !attempt(f, "alice", home, start, true) {
			t.Fatal("has to wait")
		}
	}
}

// maxHeap is what a Limiter or a Failures may take, whoever calls.
const maxHeap = 16 << 20

// TestAMillionAddresses take no more memory than the ones that are remembered,
// also with a name of a kilobyte each.
func TestAMillionAddresses(t *testing.T) {
	const million = 1_000_000
	addr := func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 5: byte(i >> 16), 6: byte(i >> 8), 7: byte(i)})
	}
	l, f := limit.NewLimiter(rate(t, "1/h")), limit.NewFailures(rate(t, "1/h"), rate(t, "1/h"))
	name := make([]byte, 1<<10)
	for what, call := range map[string]func(i int){
		"Limiter":  func(i int) { l.Address(addr(i), start) },
		"Failures": func(i int) { attempt(f, fmt.Sprint(i, string(name)), addr(i), start, true) },
	} {
		before := heap()
		for i := range million {
			call(i)
		}
		took := heap() - before
		t.Logf("%s: %.1f MiB", what, float64(took)/(1<<20))
		if took > maxHeap {
			t.Errorf("%s takes %d bytes", what, took)
		}
	}
	if l.Address(addr(million-1), start) == 0 || l.Address(addr(0), start) != 0 {
		t.Error("not the ones that called last are remembered")
	}
	runtime.KeepAlive(f)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestOneBlockedAddress pushes nobody out, whatever names it tries.
func TestOneBlockedAddress(t *testing.T) {
	f := limit.NewFailures(rate(t, "1/h"), rate(t, "10/h"))
	elsewhere := netip.MustParseAddr("192.0.2.2")
	attempt(f, "alice", elsewhere, start, true)
	for i := range 3 * limit.Remembered {
		attempt(f, fmt.Sprint(i), home, start, true)
	}
	if attempt(f, "alice", elsewhere, start, false) {
		t.Error("what was remembered of another is gone")
	}
}

func BenchmarkLimiter(b *testing.B) {
	l := limit.NewLimiter(limit.Rate{N: 1, Per: time.Hour, Burst: 1})
	for i := range b.N {
		l.Address(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), start)
	}
}

func TestInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "12/m:2": 5 * time.Second, "2/s": 500 * time.Millisecond, "1/h": time.Hour} {
		if got := rate(t, text).Interval(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestSetBeginsAnew(t *testing.T) {
	now, one, two := time.Now(), limit.Rate{N: 1, Per: time.Hour, Burst: 1}, limit.Rate{N: 1, Per: time.Hour, Burst: 2}
	l := limit.NewLimiter(one)
	l.Name("a", now)
	l.Set(one)
	if l.Name("a", now) == 0 {
		t.Error("the same rate forgave what was taken")
	}
	l.Set(two)
	for n := range 3 {
		if allowed := l.Name("a", now) == 0; allowed != (n < 2) {
			t.Errorf("request %d of two: %v", n+1, allowed)
		}
	}
	l.Set(limit.Rate{})
	if l.Name("a", now) != 0 {
		t.Error("no limit limits")
	}

	f := limit.NewFailures(one, limit.Rate{})
	fail := func() bool {
		end, _ := f.Begin("a", netip.Addr{}, now)
		if end == nil {
			return false
		}
		end(true)
		return true
	}
	if !fail() || fail() {
		t.Fatal("not one failure is allowed")
	}
	f.Set(one, limit.Rate{})
	if fail() {
		t.Error("the same rates forgave a failure")
	}
	f.Set(two, limit.Rate{})
	for n := range 3 {
		if allowed := fail(); allowed != (n < 2) {
			t.Errorf("failure %d of two: %v", n+1, allowed)
		}
	}
}
