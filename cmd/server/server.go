package server

import "context"

// A Server is one process of an authority.
type Server struct{ cfg Config }

// New returns a Server that does what cfg says. Nothing is opened yet.
func New(cfg Config) *Server { return &Server{cfg} }

// Run serves until ctx ends, then drains.
func (s *Server) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
