package embeddedtest

import (
	"net"
	"sync"
	"testing"
)

// Proxy is a TCP proxy on loopback that can lose what passes through it.
type Proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	moved *sync.Cond
	conns map[net.Conn]struct{}
	// cut refuses connections; the stalls hold back what passes.
	cut, stallRequests, stallReplies bool
	closed                           bool
}

// NewProxy starts a proxy to target, host and port. It ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, target: target, conns: map[net.Conn]struct{}{}}
	p.moved = sync.NewCond(&p.mu)
	var running sync.WaitGroup
	running.Go(func() { p.accept(&running) })
	t.Cleanup(func() {
		p.set(func() { p.closed, p.cut = true, true })
		_ = l.Close()
		p.drop()
		running.Wait()
	})
	return p
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut drops all connections and refuses new ones, until Heal.
func (p *Proxy) Cut() {
	p.set(func() { p.cut = true })
	p.drop()
}

// Drop drops all connections once; new ones are served. What was stalled on
// them is lost.
func (p *Proxy) Drop() { p.drop() }

// StallRequests holds back what clients send, StallReplies what they would
// get, until Heal, or until the connection is dropped and it is lost.
func (p *Proxy) StallRequests() { p.set(func() { p.stallRequests = true }) }

// StallReplies is described at StallRequests.
func (p *Proxy) StallReplies() { p.set(func() { p.stallReplies = true }) }

// Heal lets everything pass again.
func (p *Proxy) Heal() {
	p.set(func() { p.cut, p.stallRequests, p.stallReplies = false, false, false })
}

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.moved.Broadcast()
}

func (p *Proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
	p.moved.Broadcast()
}

func (p *Proxy) accept(running *sync.WaitGroup) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.enter(client, server) {
		return
	}
	defer p.leave(client, server)
	var up sync.WaitGroup
	up.Go(func() { p.pump(server, client, &p.stallRequests) })
	p.pump(client, server, &p.stallReplies)
	up.Wait()
}

func (p *Proxy) enter(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return false
	}
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	return true
}

func (p *Proxy) leave(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
	}
}

// pump passes bytes on, one read at a time, unless they are stalled. When one
// side ends, so does the other.
func (p *Proxy) pump(to, from net.Conn, stalled *bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !p.pass(from, stalled) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits while stalled; false means that the connection was dropped.
func (p *Proxy) pass(from net.Conn, stalled *bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if _, open := p.conns[from]; !open || p.closed {
			return false
		}
		if !*stalled {
			return true
		}
		p.moved.Wait()
	}
}
