// Package embedded runs a NATS server with JetStream in this process. It is
// what an installation on one machine keeps its log in, and what tests run
// against.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// startTimeout is how long a server may take until it accepts connections.
// Opening a large store reads its index first.
const startTimeout = 60 * time.Second

// Options say where the server keeps its data.
type Options struct {
	// Dir holds the store. It is created if need be, and belongs to one server
	// at a time.
	Dir string
	// Name is the server's name, "chancery" if empty.
	Name string
	// Listen is the host and port of client connections from outside. Empty,
	// the usual, means none: connections are made in process.
	Listen string
	// Logger gets what the server has to say. Nil discards it.
	Logger *slog.Logger
}

// A Server is a running NATS server and the lock on its directory.
type Server struct {
	ns   *server.Server
	lock *os.File
}

// Start starts a server. Every write is synced to disk before it is
// acknowledged; that is no option, because what is acknowledged here has been
// promised to a client.
func Start(o Options) (*Server, error) {
	if o.Dir == "" {
		return nil, errors.New("start embedded NATS server: no directory")
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("start embedded NATS server: %w", err)
	}
	lock, err := lockFile(filepath.Join(o.Dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("start embedded NATS server: %s is in use by another process: %w", o.Dir, err)
	}
	ns, err := start(o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start embedded NATS server: %w", err), lock.Close())
	}
	return &Server{ns: ns, lock: lock}, nil
}

func start(o Options) (*server.Server, error) {
	opts, err := serverOptions(o)
	if err != nil {
		return nil, err
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	if o.Logger != nil {
		ns.SetLoggerV2(serverLog{o.Logger}, false, false, false)
	}
	ns.Start()
	if !ns.ReadyForConnections(startTimeout) {
		ns.Shutdown()
		ns.WaitForShutdown()
		return nil, errors.New("not ready in time")
	}
	return ns, nil
}

// Connect makes an in-process connection.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect("", append(opts, nats.InProcessServer(s.ns))...)
	if err != nil {
		return nil, fmt.Errorf("connect to embedded NATS server: %w", err)
	}
	return nc, nil
}

// ClientURL is the address of outside connections, if the server listens.
func (s *Server) ClientURL() string { return s.ns.ClientURL() }

// Shutdown stops the server and releases its directory. Close connections
// first, so that what they still carry is answered. If ctx ends before the
// server has stopped, the directory stays locked until it has.
func (s *Server) Shutdown(ctx context.Context) error {
	stopped := make(chan error, 1)
	go func() {
		s.ns.Shutdown()
		s.ns.WaitForShutdown()
		err := s.lock.Close()
		if errors.Is(err, os.ErrClosed) {
			err = nil // shut down before
		}
		stopped <- err
	}()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
		return fmt.Errorf("shut down embedded NATS server: %w", ctx.Err())
	}
}
