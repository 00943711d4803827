package backchannel

import (
	"net/http"
	"sync"
	"time"
)

const (
	// maxInFlight is how many requests a client gets at once, and busyPause how
	// soon the next ones ask again.
	maxInFlight = 8
	busyPause   = 200 * time.Millisecond
)

// paces keeps clients that do not answer from holding up the others: they are
// asked once in a while, and nobody waits for them.
type paces struct {
	mu      sync.Mutex
	clients map[string]*pace
}

// A pace is how one client is getting on.
type pace struct {
	inFlight                int
	failures                uint64
	failingSince, notBefore time.Time
	status                  int
}

func newPaces() *paces { return &paces{clients: map[string]*pace{}} }

// enter says whether a client may be asked now, in which case leave must follow,
// or how soon to try again. failing is for how long the client has not answered,
// if it did not last time.
func (p *paces) enter(client string, now time.Time) (again, failing time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.clients[client]
	if c == nil {
		c = &pace{}
		p.clients[client] = c
	}
	if c.failures > 0 {
		failing = now.Sub(c.failingSince)
	}
	switch {
	case c.failures > 0 && now.Before(c.notBefore):
		return c.notBefore.Sub(now), failing
	case c.failures > 0 && c.inFlight > 0:
		return firstPause, failing
	case c.inFlight >= maxInFlight:
		return busyPause, failing
	}
	c.inFlight++
	return 0, failing
}

// leave notes how it went, and says how soon to ask again. A client that refused
// one token may take others.
func (p *paces) leave(client string, status int, now time.Time, failed bool) (again time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.clients[client]
	c.inFlight--
	c.status = status
	if !failed || status > 0 && status < http.StatusInternalServerError {
		c.failures = 0
		if c.inFlight == 0 {
			delete(p.clients, client)
		}
		return 0
	}
	// What was in flight together failed together.
	if !now.Before(c.notBefore) {
		if c.failures == 0 {
			c.failingSince = now
		}
		c.failures++
		c.notBefore = now.Add(backoff(c.failures))
	}
	return c.notBefore.Sub(now)
}

// lastStatus is a client's last answer, 0 for none.
func (p *paces) lastStatus(client string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[client]; c != nil {
		return c.status
	}
	return 0
}
