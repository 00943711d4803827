package main

import (
	"context"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"github.com/chancery-authority/chancery/cmd/hammer"
	"github.com/chancery-authority/chancery/events/embedded"
)

// hammerProcessCmd are the processes of chancery hammer: what they are in an
// installation, but that they end with the one that started them, and that the clock
// of an API replica can be stepped. They are commands of their own, so that no
// setting of a real process leads to such a clock.
type hammerProcessCmd struct {
	NATS      hammerNATSCmd      `cmd:"" name:"nats" help:"A NATS server."`
	API       hammerAPICmd       `cmd:"" name:"api" help:"An API replica."`
	Projector hammerProjectorCmd `cmd:"" help:"A projector."`
}

type hammerNATSCmd struct {
	Config string `arg:"" type:"path" help:"Configuration file."`
}

// Run is a NATS server until it is told to stop.
func (c *hammerNATSCmd) Run(t terminal) error {
	endWith(t.in)
	return embedded.RunConfig(c.Config)
}

type hammerAPICmd struct {
	apiCmd

	ClockFile string `type:"path" required:"" help:"File that says what the clock is off."`
}

// Run serves until ctx ends.
func (c *hammerAPICmd) Run(ctx context.Context, call *kong.Context, set *settings, t terminal) error {
	endWith(t.in)
	c.clock = hammer.SteppedClock(c.ClockFile)
	return c.apiCmd.Run(ctx, call, set, t)
}

type hammerProjectorCmd struct{ projectorCmd }

// Run serves until ctx ends.
func (c *hammerProjectorCmd) Run(ctx context.Context, call *kong.Context, set *settings, t terminal) error {
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
