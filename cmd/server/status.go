package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
)

// ModelStatus is how one read model stands, for administrators.
type ModelStatus struct {
	Stream string `json:"stream"`
	// Model is the name of its file.
	Model string `json:"model"`
	// Head is the sequence of the stream's newest message, Position that of the
	// last one folded.
	Head     uint64 `json:"head"`
	Position uint64 `json:"position"`
	// Lag is in seconds of the log's time.
	Lag float64 `json:"lag_seconds"`
	// Hash is the chain over every message up to Position, in hexadecimal.
	Hash  string `json:"hash"`
	Error string `json:"error,omitempty"`
}

// check is why the process is not ready: it has no log, cannot trust it, or
// has nobody to read from.
func (s *Server) check(ctx context.Context) error {
	if status := s.nc.Status(); status != nats.CONNECTED {
		return fmt.Errorf("the NATS connection is %s", status)
	}
	if err := s.durability.ready(); err != nil {
		return err
	}
	for _, stream := range s.eventLog.Streams() {
		if err := s.eventLog.Failed(stream); err != nil {
			return fmt.Errorf("%s: %w", stream, err)
		}
	}
	if err := s.keeper.Err(); err != nil {
		return err
	}
	return s.checkReader(ctx)
}

// status is how the read models of this process stand, if it has any.
func (s *Server) status() any {
	if s.local == nil {
		return nil
	}
	var all []ModelStatus
	for _, m := range slices.Concat(s.local.Status(), s.local.TreeStatus(), s.local.AuditStatus()) {
		all = append(all, ModelStatus{
			Stream: m.Stream, Model: m.Model, Head: m.Head, Position: m.Position, Lag: m.Lag.Seconds(),
			Hash: hex.EncodeToString(m.Hash[:]), Error: text(errors.Join(m.Err, s.eventLog.Failed(m.Stream))),
		})
	}
	return all
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
