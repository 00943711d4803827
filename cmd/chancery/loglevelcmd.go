package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

type logLevelCmd struct {
	adminCall

	Level string        `arg:"" optional:"" help:"Least level to log from now on: debug, info, warn or error. Without it the present one is shown."`
	For   time.Duration `help:"For how long, after which the level before comes back; at most 24h. Default: until the process ends."`
}

// logLevel is the admin API's account of it.
type logLevel struct {
	Level slog.Level `json:"level"`
	Until time.Time  `json:"until"`
	Then  slog.Level `json:"then"`
}

// Run shows or changes the level of one process.
func (c *logLevelCmd) Run(ctx context.Context, t terminal) error {
	if c.For < 0 || c.For%time.Second != 0 || c.For != 0 && c.Level == "" { // less than one would be for good
		return errors.New("for: goes with a level, and is in whole seconds")
	}
	method, in := http.MethodGet, any(nil)
	if c.Level != "" {
		method, in = http.MethodPut, map[string]any{"level": c.Level, "for_seconds": int(c.For.Seconds())}
	}
	answer, err := c.call(ctx, method, in, "log-level")
	if err != nil {
		return err
	}
	return show(c.output, t, answer, func(l logLevel) error {
		if l.Until.IsZero() {
			_, err := fmt.Fprintln(t.out, l.Level)
			return err
		}
		_, err := fmt.Fprintf(t.out, "%s until %s, then %s\n", l.Level, l.Until.Local().Format(time.TimeOnly), l.Then)
		return err
	})
}
