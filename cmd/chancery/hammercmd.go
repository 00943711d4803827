package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/chancery-authority/chancery/cmd/hammer"
)

type hammerCmd struct {
	output

	Duration   time.Duration `default:"3m" help:"How long faults are made. Checks come after it."`
	Seed       uint64        `help:"Decides the order of faults and requests. Default: a new one, which the report names."`
	Faults     []string      `placeholder:"FAULT" help:"Faults to choose from; none makes none. Default: all: ${faults}."`
	Dir        string        `type:"path" placeholder:"DIR" help:"Empty or new directory for stores, logs, history and report, which is kept. Default: one that is deleted if nothing is wrong."`
	Keep       bool          `help:"Keep the directory also where nothing is wrong."`
	APIs       int           `name:"apis" default:"2" help:"API replicas."`
	Projectors int           `default:"2" help:"Projectors."`
	Workers    int           `default:"4" help:"People who use the authority at once."`
	NATSServer string        `name:"nats-server" type:"path" placeholder:"PATH" help:"nats-server program. Default: the server in this program."`
}

// Help is the detail of chancery hammer --help.
func (*hammerCmd) Help() string {
	return `Starts an authority of three NATS servers, API replicas and projectors as processes on loopback, uses it, and breaks it: processes are killed and paused, networks cut, slowed and silenced, a disk is full, clocks are stepped, everything is restarted. In the end what clients were told is held against each other, the log and its checkpoints, and the read models against a fresh replay.

The exit status is 1 if a promise was not kept.

Examples:

    chancery hammer --duration 10m
    chancery hammer --seed 7 --faults kill-leader,cut-leader --dir run-7
    chancery hammer --faults rolling-restart --json`
}

// Run hammers.
func (c *hammerCmd) Run(ctx context.Context, t terminal) (err error) {
	cfg := hammer.Config{
		NATSServer: c.NATSServer, Dir: c.Dir, Duration: c.Duration, Seed: c.Seed, Faults: c.Faults,
		APIs: c.APIs, Projectors: c.Projectors, Workers: c.Workers, Out: t.err,
	}
	if cfg.Program, err = os.Executable(); err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	switch {
	case len(c.Faults) == 0:
		cfg.Faults = hammer.AllFaults()
	case len(c.Faults) == 1 && c.Faults[0] == "none":
		cfg.Faults = nil
	}
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64N(1_000_000) //nolint:gosec // no secret
	}
	if cfg.Dir == "" {
		cfg.Dir, err = os.MkdirTemp("", "chancery-hammer-*")
	} else {
		err = os.MkdirAll(cfg.Dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("making the directory: %w", err)
	}
	_, _ = fmt.Fprintf(t.err, "seed %d, in %s\n", cfg.Seed, cfg.Dir)
	report, err := hammer.Run(ctx, cfg)
	if err == nil && len(report.Violations) == 0 && c.Dir == "" && !c.Keep {
		err = os.RemoveAll(cfg.Dir)
	}
	return errors.Join(err, c.print(t.out, report), violated(report))
}

func (c *hammerCmd) print(w io.Writer, r hammer.Report) error {
	if !c.JSON {
		return r.Write(w)
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return printJSON(w, text)
}

func violated(r hammer.Report) error {
	if len(r.Violations) == 0 {
		return nil
	}
	return fmt.Errorf("%d promises were not kept", len(r.Violations))
}
