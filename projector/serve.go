package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/chancery-authority/chancery/events"
)

// Reads over NATS: the request is the text of an id, the reply the state as
// JSON, null if there is no row, or a service error with one of these codes.
const (
	serviceName    = "chancery-projector"
	serviceVersion = "1.0.0"

	codeBadRequest  = "400"
	codeUnavailable = "503"
)

// readSubject is where states of a partition are asked for. Every
// projector that serves the partition listens there, and one of them answers.
// While versions are mixed, each asks for states it knows all fields of.
func readSubject(r events.Realm, p events.Partition, what string) string {
	return fmt.Sprintf("%s.read.v%d.%d.%s", r, modelVersion, p, what)
}

// A Service answers reads of a Local over NATS.
type Service struct {
	stop context.CancelFunc
	done sync.WaitGroup
}

// Serve answers reads of local's partitions on nc until Close. A partition is
// registered only while it may be read: not before it has caught up, and not
// any more when it has stopped, so that others answer instead.
func Serve(nc *nats.Conn, local *Local) *Service {
	ctx, stop := context.WithCancel(context.Background())
	s := &Service{stop: stop}
	for p, w := range local.partitions {
		ps := &partitionService{nc: nc, local: local, worker: w, partition: p, logger: local.logger}
		s.done.Go(func() { ps.run(ctx) })
	}
	return s
}

// Close stops answering. Requests that have arrived are answered.
func (s *Service) Close() {
	s.stop()
	s.done.Wait()
}

// partitionService is the service of one partition while it may be read.
type partitionService struct {
	nc        *nats.Conn
	local     *Local
	worker    *worker
	partition events.Partition
	logger    *slog.Logger
	// running is nil while the partition is not registered.
	running micro.Service
}

// run registers and deregisters as the worker comes and goes.
func (s *partitionService) run(ctx context.Context) {
	defer s.deregister()
	for {
		changed := s.worker.changed.next()
		_, err := s.worker.serving()
		switch {
		case err == nil && s.running == nil:
			if err := s.register(); err != nil { //nolint:contextcheck // what has arrived is answered, whatever ends
				s.logger.Error("cannot serve reads", "stream", s.worker.stream, "reason", err)
				if !wait(ctx, pause) {
					return
				}
				continue
			}
		case err != nil:
			s.deregister()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (s *partitionService) register() error {
	running, err := micro.AddService(s.nc, micro.Config{
		Name:        serviceName,
		Version:     serviceVersion,
		Description: "Reads of what was folded from the log",
		Metadata:    map[string]string{"realm": string(s.local.realm), "partition": strconv.Itoa(int(s.partition))},
	})
	if err != nil {
		return fmt.Errorf("register reads of partition %d: %w", s.partition, err)
	}
	s.running = running
	for what := range s.worker.store.Load().reads {
		err := running.AddEndpoint(what, s.handler(what), micro.WithEndpointSubject(readSubject(s.local.realm, s.partition, what)))
		if err != nil {
			s.deregister()
			return fmt.Errorf("register reads of a %s in partition %d: %w", what, s.partition, err)
		}
	}
	return nil
}

func (s *partitionService) deregister() {
	if s.running == nil {
		return
	}
	if err := s.running.Stop(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		s.logger.Warn("reads were not deregistered in order", "stream", s.worker.stream, "reason", err)
	}
	s.running = nil
}

func (s *partitionService) handler(what string) micro.HandlerFunc {
	return func(req micro.Request) { s.answer(req, what) }
}

// answer answers one request.
func (s *partitionService) answer(req micro.Request, what string) {
	id, err := events.ParseGrantID(string(req.Data()))
	if err != nil || id.Partition() != s.partition {
		s.replied(req.Error(codeBadRequest, "no id of this partition", nil))
		return
	}
	state, err := s.local.read(context.Background(), s.partition, what, id.String())
	if err != nil {
		s.replied(req.Error(codeUnavailable, "not available", nil))
		return
	}
	if state == nil {
		state = []byte("null")
	}
	s.replied(req.Respond(state))
}

func (s *partitionService) replied(err error) {
	if err != nil {
		s.logger.Warn("reply to a read was not sent", "stream", s.worker.stream, "reason", err)
	}
}
