package backchannel

import (
	"testing"
	"time"
)

// TestPace is how a client is asked that answers, does not, and does again.
func TestPace(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := newPaces()
	enter := func(want, failing time.Duration) {
		t.Helper()
		if again, got := p.enter("web", now); again != want || got != failing {
			t.Fatalf("to wait %v, failing for %v, want %v, %v", again, got, want, failing)
		}
	}
	began := now
	for range maxInFlight {
		enter(0, 0)
	}
	enter(busyPause, 0)
	if again, _ := p.enter("other", now); again != 0 {
		t.Error("another client waits")
	}
	for range maxInFlight { // they fail together, and count as one
		if again := p.leave("web", 0, now, true); again != firstPause {
			t.Fatalf("to wait %v", again)
		}
	}
	enter(firstPause, 0)
	now = now.Add(firstPause)
	enter(0, now.Sub(began))
	enter(firstPause, now.Sub(began)) // one at a time
	if again := p.leave("web", 503, now, true); again != 2*firstPause || p.lastStatus("web") != 503 {
		t.Errorf("to wait %v after %d", again, p.lastStatus("web"))
	}
	for range 20 {
		now = now.Add(maxPause)
		enter(0, now.Sub(began))
		if again := p.leave("web", 0, now, true); again > maxPause {
			t.Errorf("to wait %v", again)
		}
	}
	now = now.Add(maxPause)
	enter(0, now.Sub(began))
	// What it refused it took in: it is up.
	if again := p.leave("web", 400, now, true); again != 0 {
		t.Errorf("to wait %v", again)
	}
	enter(0, 0)
	p.leave("web", 200, now, false)
	p.leave("other", 200, now, false)
	if len(p.clients) != 0 {
		t.Errorf("%d clients are remembered", len(p.clients))
	}
}

func TestBackoff(t *testing.T) {
	last := time.Duration(0)
	for n := range uint64(100) {
		pause := backoff(n)
		if pause < last || pause < firstPause || pause > maxPause {
			t.Errorf("%v after %d attempts, %v before", pause, n, last)
		}
		last = pause
	}
	if last != maxPause {
		t.Errorf("at most %v", last)
	}
}
