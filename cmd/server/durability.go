package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chancery-authority/chancery/events/eventlog"
)

// durabilityRetry is how long after a failed check the next one is made.
const durabilityRetry = time.Second

// durability knows whether what the log acknowledges survives a power cut.
// The embedded server syncs always; others are asked, at start and whenever
// the connection has been away.
type durability struct {
	log    *eventlog.Log
	system *nats.Conn

	mu  sync.Mutex
	err error
}

// watchDurability refuses to go on with servers that may lose what they
// acknowledge, or that cannot be asked, unless that was accepted.
func (s *Server) watchDurability(ctx context.Context) error {
	if s.cfg.Log.NATSURL == "" {
		return nil
	}
	err := s.askDurability(ctx)
	if err == nil || !s.cfg.Log.AcceptDataLoss {
		return err
	}
	s.logger.Warn("a power cut may lose acknowledged events, revocations too; this was accepted", "reason", err)
	return nil
}

func (s *Server) askDurability(ctx context.Context) error {
	if s.cfg.Log.NATSSysCreds == "" {
		return fmt.Errorf("%w: an ordinary connection cannot see whether the servers sync: give nats-sys-creds, or accept-data-loss", eventlog.ErrNotDurable)
	}
	system, err := s.connect(s.cfg.Log.NATSSysCreds)
	if err != nil {
		return fmt.Errorf("as the system account: %w", err)
	}
	d := &durability{log: s.eventLog, system: system}
	if err := d.check(ctx); err != nil {
		return err
	}
	s.durability = d
	s.background(ctx, "the durability check", func(ctx context.Context) { d.watch(ctx, s.nc) })
	return nil
}

func (d *durability) check(ctx context.Context) error {
	err := d.log.CheckDurability(ctx, d.system)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	return err
}

// ready is why the log cannot be trusted, or nil.
func (d *durability) ready() error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// watch checks again after every reconnect, until it is content.
func (d *durability) watch(ctx context.Context, nc *nats.Conn) {
	connected, asked := nc.StatusChanged(nats.CONNECTED), d.system.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(connected)
	defer d.system.RemoveStatusListener(asked)
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-connected:
		case <-asked:
		case <-again:
		}
		again = nil
		if err := d.check(ctx); err != nil && ctx.Err() == nil {
			again = time.After(durabilityRetry)
		}
	}
}
