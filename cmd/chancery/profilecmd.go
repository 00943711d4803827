package main

import (
	"cmp"
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
	For    time.Duration `placeholder:"10s" help:"How long CPU time is recorded, at most 60s. Default: 10s. Of cpu alone."`
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

// profileFor is how long CPU time is recorded by default.
const profileFor = 10 * time.Second

// query is that of the request.
func (c *profileCmd) query() (url.Values, error) {
	switch {
	case c.Kind != "cpu" && c.For != 0:
		return nil, fmt.Errorf("for: %s is as it is at one moment", c.Kind)
	case c.Kind != "cpu":
		return nil, nil
	case c.For == 0:
		c.For = profileFor
	}
	if c.For < time.Second || c.For%time.Second != 0 {
		return nil, errors.New("for: is in whole seconds, and at least one")
	}
	return url.Values{"seconds": {strconv.Itoa(int(c.For.Seconds()))}}, nil
}

// Run writes a profile of one process.
func (c *profileCmd) Run(ctx context.Context, t terminal) error {
	query, err := c.query()
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	path := cmp.Or(c.Output, c.Kind+".pprof")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing the profile: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout+c.For)
	defer cancel()
	if err := errors.Join(c.write(ctx, f, client, query), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	_, err = fmt.Fprintln(t.err, path)
	return err
}

func (c *profileCmd) write(ctx context.Context, to io.Writer, client *adminClient, query url.Values) error {
	body, err := client.open(ctx, http.MethodGet, nil, query, "profiles", c.Kind)
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.Copy(to, body); err != nil {
		return fmt.Errorf("writing the profile: %w", err)
	}
	return nil
}
