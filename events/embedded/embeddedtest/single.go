// Package embeddedtest gives tests a real NATS server, or a real cluster of
// three, in the test's own process, with faults at hand: proxies on loopback
// that can be cut or stalled.
package embeddedtest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chancery-authority/chancery/events/embedded"
)

// Patience is how long helpers wait for what must happen in the end. It is
// generous, because machines that run tests are loaded.
const Patience = 60 * time.Second

// Eventually waits until ok reports true, and fails the test if it does not
// in time.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(Patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s", Patience, what)
		}
		<-tick.C
	}
}

// Node is one embedded server, started as an installation starts it.
type Node struct {
	// Dir is its directory. It outlives the server.
	Dir string

	t      testing.TB
	server *embedded.Server
	// url is read by connections that look for the server while it is away.
	url atomic.Pointer[string]
}

// Single starts a server that ends with the test. It listens on a free port of
// loopback, beside in-process connections.
func Single(t testing.TB) *Node {
	t.Helper()
	return Reopen(t, t.TempDir())
}

// Reopen is Single on a directory that may hold a store already.
func Reopen(t testing.TB, dir string) *Node {
	t.Helper()
	n := &Node{Dir: dir, t: t}
	n.Start()
	t.Cleanup(n.Stop)
	return n
}

// Conn is an in-process connection that ends with the test.
func (n *Node) Conn(opts ...nats.Option) *nats.Conn {
	n.t.Helper()
	nc, err := n.server.Connect(opts...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(nc.Close)
	return nc
}

// URL is where the server listens, or listened last.
func (n *Node) URL() string { return *n.url.Load() }

// Start starts the server on its directory.
func (n *Node) Start() {
	n.t.Helper()
	s, err := embedded.Start(embedded.Options{Dir: n.Dir, Listen: "127.0.0.1:0"})
	if err != nil {
		n.t.Fatal(err)
	}
	n.server = s
	url := s.ClientURL()
	n.url.Store(&url)
}

// Stop stops the server, in order. It may be stopped already.
func (n *Node) Stop() {
	if n.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := n.server.Shutdown(ctx); err != nil {
		n.t.Error(err)
	}
	n.server = nil
}
