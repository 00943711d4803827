package main

import (
	"context"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"github.com/chancery-authority/chancery/events/embedded"
)

// benchProcessCmd are the processes of chancery bench: what they are in an
// installation, but that they end with the one that started them.
type benchProcessCmd struct {
	NATS      childNATSCmd      `cmd:"" name:"nats" help:"A NATS server."`
	Serve     childServeCmd     `cmd:"" help:"A whole authority."`
	API       childAPICmd       `cmd:"" name:"api" help:"An API replica."`
	Projector childProjectorCmd `cmd:"" help:"A projector."`
}

type childServeCmd struct{ serveCmd }

// Run serves until ctx ends.
func (c *childServeCmd) Run(ctx context.Context, call *kong.Context, set *settings, t terminal) error {
	endWith(t.in)
	return c.serveCmd.Run(ctx, call, set, t)
}

type childAPICmd struct{ apiCmd }

// Run serves until ctx ends.
func (c *childAPICmd) Run(ctx context.Context, call *kong.Context, set *settings, t terminal) error {
	endWith(t.in)
	return c.apiCmd.Run(ctx, call, set, t)
}

type childNATSCmd struct {
	Config string `arg:"" type:"path" help:"Configuration file."`
}

// Run is a NATS server until it is told to stop.
func (c *childNATSCmd) Run(t terminal) error {
	endWith(t.in)
	return embedded.RunConfig(c.Config)
}

type childProjectorCmd struct{ projectorCmd }

// Run serves until ctx ends.
func (c *childProjectorCmd) Run(ctx context.Context, call *kong.Context, set *settings, t terminal) error {
	endWith(t.in)
	return c.projectorCmd.Run(ctx, call, set, t)
}

// endWith ends this process when the one that holds the other end of its stdin
// is gone.
func endWith(parent io.Reader) {
	go func() {
		_, _ = io.Copy(io.Discard, parent)
		os.Exit(exitFailure)
	}()
}
