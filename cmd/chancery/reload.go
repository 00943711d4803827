package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/chancery-authority/chancery/cmd/server"
)

// reloads reads the configuration again on every SIGHUP, until ctx ends. What is
// wrong is logged and changes nothing.
func reloads(ctx context.Context, call *kong.Context, logger *slog.Logger, level *slog.LevelVar) <-chan server.Config {
	hangUps, found := make(chan os.Signal, 1), make(chan server.Config)
	signal.Notify(hangUps, syscall.SIGHUP)
	first := call
	go func() {
		defer signal.Stop(hangUps)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangUps:
			}
			next, cfg, err := readAgain(call)
			if err != nil {
				logger.Error("the configuration is not reloaded", "error", err)
				continue
			}
			live, _ := changed(call, next)
			_, later := changed(first, next)
			call = next
			if slices.Contains(live, "log-level") {
				level.Set(selectedRole(next).logLevel())
			}
			select {
			case found <- cfg:
				logger.Info("the configuration is reloaded", "changed", strings.Join(live, " "))
			case <-ctx.Done():
				return
			}
			if len(later) > 0 {
				logger.Warn("settings that a reload cannot change count from the next start on", "settings", strings.Join(later, " "))
			}
		}
	}()
	return found
}

// readAgain parses the arguments of a call once more, with the environment and
// the file as they are now.
func readAgain(call *kong.Context) (*kong.Context, server.Config, error) {
	var c cli
	parser, err := newParser(&c, newSettings(os.Getenv), io.Discard, io.Discard, func(int) {})
	if err != nil {
		return nil, server.Config{}, err
	}
	next, err := parser.Parse(call.Args)
	if err != nil {
		return nil, server.Config{}, err
	}
	cfg := selectedRole(next).config()
	if err := cfg.Check(); err != nil {
		return nil, server.Config{}, fmt.Errorf("this cannot be run:\n%w", err)
	}
	return next, cfg, nil
}

// selectedRole is the command that a call runs, one of a process.
func selectedRole(call *kong.Context) role {
	r, _ := reflect.TypeAssert[role](call.Selected().Target.Addr())
	return r
}

// changed names the settings that are others in next, those that count at once
// and those that do not.
func changed(call, next *kong.Context) (live, later []string) {
	was := map[string]any{}
	for _, f := range call.Flags() {
		was[f.Name] = f.Target.Interface()
	}
	for _, f := range next.Flags() {
		switch {
		case !isSetting(f) || reflect.DeepEqual(was[f.Name], f.Target.Interface()):
		case f.Tag.Has("reload"):
			live = append(live, f.Name)
		default:
			later = append(later, f.Name)
		}
	}
	return live, later
}
