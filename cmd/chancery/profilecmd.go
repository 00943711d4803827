package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

type profileCmd struct {
	adminFlags

	Kind   string        `arg:"" enum:"cpu,heap,allocs,goroutine" default:"cpu" help:"cpu, heap, allocs or goroutine."`
	For    time.Duration `default:"10s" help:"How long CPU time is recorded, at most 60s."`
	Output string        `short:"o" type:"path" placeholder:"FILE" help:"File to write, which must not be there. Default: KIND.pprof."`
}

// Help is the detail of chancery profile --help.
func (*profileCmd) Help() string {
	return `Asks the process at --admin-url what it spends CPU time or memory on, for go tool pprof.

Examples:

    chancery profile --for 30s
    chancery profile heap -o before.pprof
    go tool pprof -top cpu.pprof`
}

// Run writes a profile of one process.
func (c *profileCmd) Run(ctx context.Context, t terminal) (err error) {
	if c.For < time.Second || c.For%time.Second != 0 {
		return errors.New("for: is in whole seconds, and at least one")
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	query := url.Values{}
	if c.Kind == "cpu" {
		query.Set("seconds", strconv.Itoa(int(c.For.Seconds())))
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout+c.For)
	defer cancel()
	body, err := client.open(ctx, http.MethodGet, nil, query, "profiles", c.Kind)
	if err != nil {
		return err
	}
	defer body.Close()
	if c.Output == "" {
		c.Output = c.Kind + ".pprof"
	}
	f, err := os.OpenFile(c.Output, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing the profile: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, body); err != nil {
		return fmt.Errorf("writing the profile: %w", err)
	}
	_, err = fmt.Fprintln(t.err, c.Output)
	return err
}
