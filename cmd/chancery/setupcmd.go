package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/chancery-authority/chancery/cmd/server"
	"github.com/chancery-authority/chancery/cmd/setup"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// setupCmd are the commands that come before the first start on several
// machines.
type setupCmd struct {
	Secrets setupSecretsCmd `cmd:"" help:"Make the keys of all processes, and NATS users that may do what their role needs."`
	Streams setupStreamsCmd `cmd:"" help:"Make the streams and buckets of the log."`
}

type setupSecretsCmd struct {
	Dir    string   `required:"" type:"path" placeholder:"DIR" help:"Where to put them: DIR/api, DIR/projector, DIR/operator and DIR/nats, each for the processes it is named after and no others."`
	Realm  string   `default:"main" help:"First token of every subject: one authority in a NATS account."`
	Room   int      `default:"16" help:"How many partitions the users' permissions are for."`
	Route  []string `placeholder:"HOST:PORT" help:"Where the NATS servers of a cluster listen for each other."`
	Forget bool     `help:"Let projectors purge what is archived, which --forget-after needs."`
}

// Help is the detail of chancery setup secrets --help.
func (*setupSecretsCmd) Help() string {
	return `What is there stays as it is, so this can be called again: with more room, say. DIR/nats/accounts.conf is written anew each time; a NATS server's configuration includes it. With --route it has $route_password for user route of the cluster, and $routes for its routes.

Back up DIR/api/key-encryption-keys: nothing that was sealed with it opens without it.`
}

// Run makes what is missing.
func (c *setupSecretsCmd) Run(t terminal) error {
	made, err := setup.Secrets{Dir: c.Dir, Realm: events.Realm(c.Realm), Room: c.Room, Routes: c.Route, Forget: c.Forget}.Make()
	for _, file := range made {
		_, failed := fmt.Fprintf(t.out, "made %s\n", file)
		err = errors.Join(err, failed)
	}
	return err
}

type setupStreamsCmd struct {
	Logging logging    `embed:"" group:"logging"`
	Log     server.Log `embed:"" group:"log"`
}

// Help is the detail of chancery setup streams --help.
func (*setupStreamsCmd) Help() string {
	return `The credentials are the operator's. The users of the other roles may not make streams, so this comes before their first start, and again before the first start of a new version.

Example:

    chancery setup streams --nats-url nats://n1:4222 --replicas 3 --nats-creds secrets/operator/nats.nk`
}

// Run makes what is missing.
func (c *setupStreamsCmd) Run(ctx context.Context, t terminal) error {
	cfg := server.Config{Role: server.Projector, Log: c.Log, Admin: server.Admin{AdminListen: "127.0.0.1:0"}}
	if err := cfg.Check(); err != nil {
		return fmt.Errorf("this cannot be run:\n%w", err)
	}
	logger := c.Logging.logger(t.err, new(slog.LevelVar))
	nc, err := c.Log.Connect(c.Log.NATSCreds, logger)
	if err != nil {
		return err
	}
	defer nc.Close()
	err = setup.Streams(ctx, nc, eventlog.Config{
		Realm: events.Realm(c.Log.Realm), Partitions: c.Log.Partitions, Replicas: c.Log.Replicas, Logger: logger,
	})
	if err != nil {
		return errors.Join(err, nc.LastError())
	}
	_, err = fmt.Fprintf(t.out, "the streams and buckets of realm %s are there\n", c.Log.Realm)
	return err
}
