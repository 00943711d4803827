package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/chancery-authority/chancery/events"
)

// Reads over NATS: the request is the text of a key, the reply what it names as
// JSON, null if there is no row, or a service error with one of these codes.
const (
	serviceName    = "chancery-projector"
	serviceVersion = "1.0.0"

	codeBadRequest  = "400"
	codeUnavailable = "503"
)

// ReadSubjects are all subjects that reads are asked on.
func ReadSubjects(r events.Realm) string { return string(r) + ".read.>" }

// readSubject is where states of a partition or the registry are asked for. Every
// projector that serves it listens there, and one of them answers.
// While versions are mixed, each asks for states it knows all fields of.
func readSubject(r events.Realm, at place, what string) string {
	version := modelVersion
	switch what {
	case readAudit:
		version = auditVersion
	case readHashes:
		version = treeVersion
	}
	return fmt.Sprintf("%s.read.v%d.%s.%s", r, version, at, what)
}

// A Service answers reads of a Local over NATS.
type Service struct {
	stop context.CancelFunc
	done sync.WaitGroup
}

// Serve answers reads of local's streams on nc until Close. A stream is
// registered only while it may be read: not before it has caught up, and not
// any more when it has stopped, so that others answer instead.
func Serve(nc *nats.Conn, local *Local) *Service {
	ctx, stop := context.WithCancel(context.Background())
	s := &Service{stop: stop}
	s.done.Go(func() { s.run(ctx, nc, local) })
	return s
}

// run serves every place, those that are added too, until ctx ends.
func (s *Service) run(ctx context.Context, nc *nats.Conn, local *Local) {
	served := map[place]bool{}
	for {
		more := local.added.next()
		for at, p := range local.models.Load().places {
			if !served[at] {
				served[at] = true
				ps := &placeService{nc: nc, local: local, projection: p, at: at, logger: local.cfg.Logger}
				s.done.Go(func() { ps.run(ctx) })
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}

// Close stops answering. Requests that have arrived are answered.
func (s *Service) Close() {
	s.stop()
	s.done.Wait()
}

// placeService is the service of one stream while it may be read, whichever of
// its files is live.
type placeService struct {
	nc         *nats.Conn
	local      *Local
	projection *projection
	at         place
	logger     *slog.Logger
	// running is nil while the stream is not registered.
	running micro.Service
}

// run registers and deregisters as the read model comes and goes.
func (s *placeService) run(ctx context.Context) {
	defer s.deregister()
	for {
		changed := s.projection.changed.next()
		_, _, err := s.projection.serving()
		switch {
		case err == nil && s.running == nil:
			if err := s.register(); err != nil { //nolint:contextcheck // what has arrived is answered, whatever ends
				s.logger.Error("cannot serve reads", "stream", s.projection.stream, "reason", err)
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

func (s *placeService) register() error {
	running, err := micro.AddService(s.nc, micro.Config{
		Name:        serviceName,
		Version:     serviceVersion,
		Description: "Reads of what was folded from the log",
		Metadata:    map[string]string{"realm": string(s.local.log.Realm()), "partition": string(s.at)},
	})
	if err != nil {
		return fmt.Errorf("register reads of %s: %w", s.projection.stream, err)
	}
	s.running = running
	for _, what := range s.projection.model.names() {
		err := running.AddEndpoint(what, s.handler(what), micro.WithEndpointSubject(readSubject(s.local.log.Realm(), s.at, what)))
		if err != nil {
			s.deregister()
			return fmt.Errorf("register reads of %s in %s: %w", what, s.projection.stream, err)
		}
	}
	return nil
}

func (s *placeService) deregister() {
	if s.running == nil {
		return
	}
	if err := s.running.Stop(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		s.logger.Warn("reads were not deregistered in order", "stream", s.projection.stream, "reason", err)
	}
	s.running = nil
}

func (s *placeService) handler(what string) micro.HandlerFunc {
	return func(req micro.Request) { s.answer(req, what) }
}

// trace begins a span of a read that came with one.
func (s *placeService) trace(req micro.Request, what string) (context.Context, trace.Span) {
	ctx := w3c.Extract(context.Background(), propagation.HeaderCarrier(req.Headers()))
	if of := trace.SpanFromContext(ctx); !of.SpanContext().IsSampled() {
		return ctx, of
	}
	return startRead(ctx, s.local.cfg.Tracer, trace.SpanKindServer, s.local.log.Realm(), s.at, what)
}

// answer answers one request.
func (s *placeService) answer(req micro.Request, what string) {
	key := string(req.Data())
	if !validKey(s.at, what, key) {
		s.replied(req.Error(codeBadRequest, "no key of this partition", nil))
		return
	}
	ctx, span := s.trace(req, what)
	state, err := s.local.read(ctx, s.at, what, key)
	endSpan(span, err)
	if err != nil {
		s.replied(req.Error(codeUnavailable, "not available", nil))
		return
	}
	if state == nil {
		state = []byte("null")
	}
	s.replied(req.Respond(state))
}

func (s *placeService) replied(err error) {
	if err != nil {
		s.logger.Warn("reply to a read was not sent", "stream", s.projection.stream, "reason", err)
	}
}
