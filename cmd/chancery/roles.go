package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/alecthomas/kong"

	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/cmd/server"
)

type serveCmd struct {
	process

	Dev      bool            `group:"authority" help:"Demonstration clients and a user, on loopback only. Prints a tour."`
	Settings config.Settings `embed:"" group:"authority"`
	Public   server.Public   `embed:"" group:"listeners"`
	Admin    server.Admin    `embed:"" group:"listeners"`
	Data     server.Data     `embed:"" group:"log"`
	Log      server.Log      `embed:"" group:"log"`
	Keys     server.Keys     `embed:"" group:"keys"`
	Evidence server.Evidence `embed:"" group:"evidence"`
	Archive  server.Archive  `embed:"" group:"evidence"`
	Metrics  server.Metrics  `embed:"" group:"metrics"`
	Tracing  server.Tracing  `embed:"" group:"metrics"`
}

// Help is the detail of chancery serve --help.
func (*serveCmd) Help() string {
	return `Without --nats-url the log is kept by a NATS server inside this process, which syncs every event to disk before it is acknowledged.

Examples:

    chancery serve --dev
    chancery serve --issuer https://auth.example --data /var/lib/chancery
    chancery serve --config /etc/chancery.yaml --print-config`
}

func (c *serveCmd) config() server.Config {
	return server.Config{
		Role: server.All, Dev: c.Dev, Settings: c.Settings, Public: c.Public,
		Admin: c.Admin, Data: c.Data, Log: c.Log, Keys: c.Keys, Evidence: c.Evidence, Archive: c.Archive,
		Metrics: c.Metrics, Tracing: c.Tracing,
	}
}

// Run serves until ctx ends.
func (c *serveCmd) Run(ctx context.Context, call *kong.Context, set *settings, t terminal) error {
	return c.run(ctx, call, set, t, c.config())
}

type apiCmd struct {
	process

	Settings config.Settings `embed:"" group:"authority"`
	Public   server.Public   `embed:"" group:"listeners"`
	Admin    server.Admin    `embed:"" group:"listeners"`
	Log      server.Log      `embed:"" group:"log"`
	Keys     server.Keys     `embed:"" group:"keys"`
	Archive  server.Archive  `embed:"" group:"evidence"`
	Metrics  server.Metrics  `embed:"" group:"metrics"`
	Tracing  server.Tracing  `embed:"" group:"metrics"`
}

// Help is the detail of chancery api --help.
func (*apiCmd) Help() string {
	return `Any number of replicas run side by side. Each needs the same issuer, realm, admin key and key-encryption keys, and a projector to ask.

Example:

    chancery api --issuer https://auth.example --listen 0.0.0.0:8080 \
        --nats-url nats://n1:4222,nats://n2:4222,nats://n3:4222 --replicas 3 \
        --admin-key-file /run/secrets/admin-key \
        --key-encryption-keys-file /run/secrets/key-encryption-keys`
}

func (c *apiCmd) config() server.Config {
	return server.Config{
		Role: server.API, Settings: c.Settings, Public: c.Public,
		Admin: c.Admin, Log: c.Log, Keys: c.Keys, Archive: c.Archive,
		Metrics: c.Metrics, Tracing: c.Tracing,
	}
}

// Run serves until ctx ends.
func (c *apiCmd) Run(ctx context.Context, call *kong.Context, set *settings, t terminal) error {
	return c.run(ctx, call, set, t, c.config())
}

type projectorCmd struct {
	process

	Admin server.Admin     `embed:"" group:"listeners"`
	Data  server.Data      `embed:"" group:"log"`
	Log   server.Log       `embed:"" group:"log"`
	Keys  server.AdminKeys `embed:"" group:"keys"`

	Evidence server.Evidence `embed:"" group:"evidence"`
	Archive  server.Archive  `embed:"" group:"evidence"`
	Metrics  server.Metrics  `embed:"" group:"metrics"`
	Tracing  server.Tracing  `embed:"" group:"metrics"`
}

// Help is the detail of chancery projector --help.
func (*projectorCmd) Help() string {
	return `A projector folds the log into SQLite files under --data, which can be deleted at any time, and answers the reads of API replicas over NATS. Any number of projectors share the reads.

With an admin key its read models can be rebuilt ("chancery projection"); without one its admin listener answers health alone.

Example:

    chancery projector --nats-url nats://n1:4222 --replicas 3 --data /var/lib/chancery \
        --admin-key-file /run/secrets/admin-key`
}

func (c *projectorCmd) config() server.Config {
	return server.Config{
		Role: server.Projector, Admin: c.Admin, Data: c.Data, Log: c.Log, Keys: server.Keys{AdminKeys: c.Keys},
		Evidence: c.Evidence, Archive: c.Archive,
		Metrics: c.Metrics, Tracing: c.Tracing,
	}
}

// Run serves until ctx ends.
func (c *projectorCmd) Run(ctx context.Context, call *kong.Context, set *settings, t terminal) error {
	return c.run(ctx, call, set, t, c.config())
}

// A role is the command of a process that serves.
type role interface {
	config() server.Config
	logLevel() slog.Level
}

// process is what the roles have in common.
type process struct {
	PrintConfig bool    `help:"Print what is in force as YAML, secrets redacted, and exit."`
	Logging     logging `embed:"" group:"logging"`

	// clock is the machine's own if nil.
	clock func() time.Time
}

func (p process) logLevel() slog.Level { return p.Logging.LogLevel }

func (p process) run(ctx context.Context, call *kong.Context, set *settings, t terminal, cfg server.Config) error {
	cfg.LogLevel = new(slog.LevelVar)
	cfg.Logger, cfg.Out = p.Logging.logger(t.err, cfg.LogLevel), t.out
	cfg.Clock, cfg.AccessLog, cfg.Build = p.clock, p.Logging.AccessLog, build()
	if p.PrintConfig {
		if err := printConfig(t.out, call, set, cfg.WithIssuer()); err != nil {
			return err
		}
	}
	if err := cfg.Check(); err != nil {
		return fmt.Errorf("this cannot be run:\n%w", err)
	}
	if p.PrintConfig {
		return nil
	}
	if !cfg.Dev { // which is for a terminal, and ends with it
		cfg.Reloads = reloads(ctx, call, cfg.Logger, cfg.LogLevel)
	}
	defer runtime.KeepAlive(make([]byte, ballast))
	return server.New(cfg).Run(ctx)
}

// ballast is never touched, and so takes no memory, but the collector counts it among
// what is held: who holds 20 MiB may have 80 MiB of garbage instead of as much as
// that, which takes a twelfth off what an introspection costs. Who holds a gigabyte
// does not notice.
const ballast = 32 << 20
