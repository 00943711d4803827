package server

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector"
)

// maxLag is how far a read model may be behind before the process is not
// ready. Decisions stay right at any lag, but each costs a read of the log.
const maxLag = 30 * time.Second

// openReader opens what grants are read from: this process's own read models,
// or the projectors.
func (s *Server) openReader(ctx context.Context) error {
	if s.cfg.Role == API {
		s.reader = projector.NewRemote(s.nc, s.eventLog.Realm())
		return nil
	}
	accepted, err := s.cfg.acceptedLosses()
	if err != nil {
		return err
	}
	local, err := projector.OpenLocal(ctx, s.eventLog, projector.LocalConfig{
		Dir:    filepath.Join(s.cfg.Data.Data, modelsDir),
		Logger: s.logger,
		Gate:   s.cfg.FoldGate,
		Accept: accepted,

		NoAudit: s.cfg.Data.NoAudit,

		Folded: s.telemetry.Folded, Tracer: s.telemetry.Tracer(),
	})
	if err != nil {
		return fmt.Errorf("open the read models: %w", err)
	}
	s.onClose("the read models", failing(local.Close))
	s.local, s.reader = local, local
	if err := local.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// The others serve, and this one is looked into with the process up.
		s.logger.Error("a read model has stopped", "error", err)
	}
	return nil
}

// checkReader asks for a grant that cannot be, one of each partition. One that was
// just added does not keep a replica from serving: it opens no grants there yet.
func (s *Server) checkReader(ctx context.Context) error {
	partitions := s.eventLog.Partitions()
	if s.api != nil {
		partitions = s.api.Partitions()
	}
	for _, p := range partitions {
		if _, err := s.reader.Grant(ctx, events.NewGrantID(p, [16]byte{})); err != nil {
			return fmt.Errorf("reads of partition %d: %w", p, err)
		}
	}
	if s.local == nil {
		return nil
	}
	for _, status := range s.local.Status() {
		if status.Lag > maxLag {
			return fmt.Errorf("the read model of %s is %s behind", status.Stream, status.Lag.Round(time.Second))
		}
	}
	return nil
}
