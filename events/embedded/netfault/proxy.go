// Package netfault has TCP proxies on loopback that do to connections what
// networks do: cut, hold back, delay and drop them.
package netfault

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

// Proxy is a TCP proxy on loopback that can lose what passes through it.
type Proxy struct {
	listener net.Listener
	target   string
	// ctx is for dialing, stop ends it.
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	moved *sync.Cond
	conns map[net.Conn]struct{}
	// cut refuses connections; the stalls hold back what passes, and delay is how
	// long each read waits before it is passed on.
	cut, stallRequests, stallReplies bool
	delay                            time.Duration
	closed                           bool
	// held counts directions that have something to pass and may not.
	held int
}

// NewProxy starts a proxy to target, host and port. Close it.
func NewProxy(ctx context.Context, target string) (*Proxy, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy to %s: %w", target, err)
	}
	p := &Proxy{listener: l, target: target, conns: map[net.Conn]struct{}{}}
	p.ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	p.moved = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	return p, nil
}

// Close drops all connections and stops listening.
func (p *Proxy) Close() {
	p.set(func() { p.closed, p.cut = true, true })
	p.stop()
	closeAll(p.listener)
	p.Drop()
	p.running.Wait()
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
	p.Drop()
}

// StallRequests holds back what clients send, StallReplies what they would
// get, until Heal, or until the connection is dropped and it is lost. Both at
// once are a network that loses everything without a word.
func (p *Proxy) StallRequests() { p.set(func() { p.stallRequests = true }) }

// StallReplies is described at StallRequests.
func (p *Proxy) StallReplies() { p.set(func() { p.stallReplies = true }) }

// Delay makes whatever is sent wait in either direction, one read of at most
// 32 KiB after the other, until Heal: it is latency and a narrow link in one.
func (p *Proxy) Delay(d time.Duration) { p.set(func() { p.delay = d }) }

// Holds reports whether something is being held back.
func (p *Proxy) Holds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held > 0
}

// Heal lets everything pass again.
func (p *Proxy) Heal() {
	p.set(func() { p.cut, p.stallRequests, p.stallReplies, p.delay = false, false, false, 0 })
}

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.moved.Broadcast()
}

// Drop drops all connections once; new ones are served. What was stalled on
// them is lost.
func (p *Proxy) Drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	closeAll(slices.Collect(maps.Keys(p.conns))...)
	clear(p.conns)
	p.moved.Broadcast()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
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

// pump passes bytes on, one read at a time, unless they are held back. When one
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

// pass waits while stalled, and as long as the delay is; false means that the
// connection was dropped.
func (p *Proxy) pass(from net.Conn, stalled *bool) bool {
	if !p.linger() {
		return false
	}
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

// linger waits for the delay; false means that the proxy was closed.
func (p *Proxy) linger() bool {
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	if delay == 0 {
		return true
	}
	late := time.NewTimer(delay)
	defer late.Stop()
	select {
	case <-late.C:
		return true
	case <-p.ctx.Done():
		return false
	}
}
