package apitest

import (
	"context"
	"errors"
	"sync"
)

// errHeld is what a Gate returns to whom it held back until the end.
var errHeld = errors.New("held back")

// A Gate holds back a projector or a feed while it is shut. The zero value is
// open.
type Gate struct {
	mu sync.Mutex
	// opened is nil while the gate is open, and closed when it opens.
	opened chan struct{}
}

// Shut holds back all that comes from now on.
func (g *Gate) Shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened == nil {
		g.opened = make(chan struct{})
	}
}

// Open lets everything through.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil {
		close(g.opened)
		g.opened = nil
	}
}

// Pass is for Options.Gate and Options.FeedGate.
func (g *Gate) Pass(ctx context.Context, _ string) error {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	if opened == nil {
		return nil
	}
	select {
	case <-opened:
		return nil
	case <-ctx.Done():
		return errHeld
	}
}
