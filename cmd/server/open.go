package server

import (
	"context"

	"github.com/chancery-authority/chancery/api"
	"github.com/chancery-authority/chancery/api/telemetry"
	"github.com/chancery-authority/chancery/projector"
)

// open opens what the role is for, on the log.
func (s *Server) open(ctx context.Context) error {
	if err := s.openReader(ctx); err != nil {
		return err
	}
	if err := s.openEvidence(ctx); err != nil {
		return err
	}
	s.watch()
	if s.cfg.Role == Projector {
		service := projector.Serve(s.nc, s.local) //nolint:contextcheck // it ends with Close
		s.onClose("the reads", closing(service.Close))
		return s.openProjections()
	}
	return s.openAPI(ctx)
}

// openProjections lets operators rebuild read models, if they have given a key.
func (s *Server) openProjections() error {
	if !s.cfg.hasAdminKey() {
		return nil
	}
	key, err := s.cfg.adminKey()
	if err != nil {
		return err
	}
	s.health.admit(api.Projections(api.Parts{
		Local: s.local, AdminKey: key, Logger: telemetry.Logs(s.logger), Telemetry: s.telemetry, AccessLog: s.cfg.accessLog(), LogLevel: s.cfg.LogLevel,
	}))
	return nil
}

func (s *Server) openAPI(ctx context.Context) error {
	ring, err := s.cfg.keyRing()
	if err != nil {
		return err
	}
	adminKey, err := s.cfg.adminKey()
	if err != nil {
		return err
	}
	// Bound before it is served, because the issuer may be its address.
	var handler lateHandler
	if s.public, err = s.listen(ctx, s.cfg.Public.Listen, s.cfg.Public.TLSCert, s.cfg.Public.TLSKey, &handler); err != nil {
		return err
	}
	s.cfg.Public.Listen = s.public.net.Addr().String()
	s.cfg = s.cfg.WithIssuer()
	s.api, err = api.Open(ctx, api.Parts{
		Settings:  s.cfg.Settings,
		Log:       s.eventLog,
		Reader:    s.reader,
		Local:     s.local,
		KeyRing:   ring,
		AdminKey:  adminKey,
		Passwords: s.cfg.Passwords,
		FeedGate:  s.cfg.FeedGate,
		Clock:     s.cfg.Clock,
		Ready:     s.health.ready,
		Status:    s.status,
		Newest:    s.keeper.Newest,
		Logger:    s.logger,
		LogLevel:  s.cfg.LogLevel,
		Version:   s.cfg.Build.Version,
		Telemetry: s.telemetry,
		AccessLog: s.cfg.accessLog(),
	})
	if err != nil {
		return err
	}
	s.onClose("the API", closing(s.api.Close))
	if err := s.refuseDemo(ctx); err != nil {
		return err
	}
	s.public.http.RegisterOnShutdown(s.api.EndFeeds)
	s.public.late = s.api.EndRequests
	handler.Handler = s.api.Public()
	s.health.handOver(s.api.Admin())
	s.serve(s.public)
	if s.cfg.Dev {
		return s.demonstrate(ctx, adminKey)
	}
	return nil
}
