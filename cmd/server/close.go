package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A closer takes down one thing that was opened.
type closer struct {
	what  string
	close func(context.Context) error
}

func (s *Server) onClose(what string, f func(context.Context) error) {
	s.closers = append(s.closers, closer{what, f})
}

// closing and failing adapt what closes without a context.
func closing(f func()) func(context.Context) error {
	return func(context.Context) error {
		f()
		return nil
	}
}

func failing(f func() error) func(context.Context) error {
	return func(context.Context) error { return f() }
}

// background runs f until the process closes, whatever becomes of ctx.
func (s *Server) background(ctx context.Context, what string, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	s.onClose(what, func(context.Context) error {
		cancel()
		<-done
		return nil
	})
}

// Close stops being ready, lets load balancers notice, drains the listeners, and
// closes everything in the reverse order of opening. It takes less than ten seconds,
// and the delay that was asked for. Cutting the
// connections of clients that take too long is no error.
func (s *Server) Close() error {
	s.health.set(errDraining)
	if s.public != nil && s.api != nil {
		s.public.linger(context.Background(), s.cfg.Public.DrainDelay)
	}
	s.drain()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	for _, c := range slices.Backward(s.closers) {
		if err := c.run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("closing %s: %w", c.what, err))
		}
	}
	s.closers = nil
	return errors.Join(errs...)
}

// drain ends the public listener first: until then health says why.
func (s *Server) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	for _, d := range []struct {
		l     *listener
		grace time.Duration
	}{{s.public, drainGrace}, {s.admin, streamGrace}} {
		if d.l == nil {
			continue
		}
		if err := d.l.drain(ctx, d.grace); err != nil {
			s.logger.Warn("connections were cut", "reason", err)
		}
	}
	s.public, s.admin = nil, nil
}

// run closes, but waits no longer than ctx. After that nothing is closed any
// more: what it was built on may still be in use, and the end of the process
// loses nothing.
func (c closer) run(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	closed := make(chan error, 1)
	go func() { closed <- c.close(ctx) }()
	select {
	case err := <-closed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
