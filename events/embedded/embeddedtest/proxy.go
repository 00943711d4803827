package embeddedtest

import (
	"context"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
)

// Proxy is a TCP proxy on loopback that can lose what passes through it.
type Proxy struct {
	listener net.Listener
	target   string
	ctx      context.Context // the test's, for dialing

	mu    sync.Mutex
	moved *sync.Cond
	conns map[net.Conn]struct{}
	// cut refuses connections; the stalls hold back what passes.
	cut, stallRequests, stallReplies bool
	closed                           bool
	// held counts directions that have something to pass and may not.
	held int
}

// NewProxy starts a proxy to target, host and port. It ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l := listen(t)
	p := &Proxy{listener: l, target: target, ctx: t.Context(), conns: map[net.Conn]struct{}{}}
	p.moved = sync.NewCond(&p.mu)
	var running sync.WaitGroup
	running.Go(func() { p.accept(&running) })
	t.Cleanup(func() {
		p.set(func() { p.closed, p.cut = true, true })
		closeAll(l)
		p.drop()
		running.Wait()
	})
	return p
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// closeAll closes what may be closed already.
func closeAll[C io.Closer](all ...C) {
	for _, c := range all {
		_ = c.Close()
	}
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

// Holds reports whether something is being held back.
func (p *Proxy) Holds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held > 0
}

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
	closeAll(slices.Collect(maps.Keys(p.conns))...)
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
	defer closeAll(client)
	server, err := (&net.Dialer{}).DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		return
	}
	defer closeAll(server)
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
	defer closeAll(to, from)
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
		p.held++
		p.moved.Wait()
		p.held--
	}
}
