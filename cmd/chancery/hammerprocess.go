package main

import (
	"context"

	"github.com/alecthomas/kong"

	"github.com/chancery-authority/chancery/cmd/hammer"
)

// hammerProcessCmd are the processes of chancery hammer: what they are in an
// installation, but that they end with the one that started them, and that the clock
// of an API replica can be stepped. They are commands of their own, so that no
// setting of a real process leads to such a clock.
type hammerProcessCmd struct {
	NATS      childNATSCmd      `cmd:"" name:"nats" help:"A NATS server."`
	API       hammerAPICmd      `cmd:"" name:"api" help:"An API replica."`
	Projector childProjectorCmd `cmd:"" help:"A projector."`
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
