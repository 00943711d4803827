package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chancery-authority/chancery/cmd/server"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/backup"
	"github.com/chancery-authority/chancery/events/embedded"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/checkpoint"
)

type restoreCmd struct {
	keyFlags

	Dir         string     `arg:"" type:"path" help:"Backup."`
	Data        string     `default:"./chancery-data" type:"path" group:"log" help:"Directory of the embedded log, which must have no log yet."`
	Log         server.Log `embed:"" group:"log"`
	Unsigned    bool       `help:"Take a manifest that is not signed."`
	NothingLost bool       `help:"The authority was stopped before the backup was made, or right after it, and has issued nothing since. Otherwise a start must accept the loss."`
}

// Help is the detail of chancery restore --help.
func (*restoreCmd) Help() string {
	return `Verifies the backup, makes an empty realm of it, with all sequences and times, and reads all of it back. The realm is that of the embedded server, or of --nats-url.

What the authority did after the backup is forgotten: revocations, too. So it does not start again before --accept-loss says that this is known, as the process that does not start tells; then everything that was issued before ends, and everybody signs in again.

Put the key-encryption-keys, the checkpoint-key and the admin-key into --data, or give them as before: they are in no backup. Read models of before are built again where a loss is accepted; with --nothing-lost delete them (DATA/read-models).

Example:

    chancery restore /backup/2026-11-26 --data /var/lib/chancery --key checkpoint-key.pub
    chancery serve --data /var/lib/chancery --accept-loss MAIN_REGISTRY:16,MAIN_EVENTS_0:8`
}

// Run restores.
func (c *restoreCmd) Run(ctx context.Context, t terminal) (err error) {
	known, err := c.known(c.Data)
	if err != nil {
		return err
	}
	nc, closeLog, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	realm := events.Realm(c.Log.Realm)
	began := time.Now()
	o := backup.Options{
		Realm: realm, Replicas: c.Log.Replicas, Known: known, Unsigned: c.Unsigned,
		Checkpoints: eventlog.BucketName(realm, checkpoint.Bucket),
		Progress:    func(what string) { _, _ = fmt.Fprintln(t.err, printable(what)) },
	}
	if !c.NothingLost {
		o.Mark = func(value []byte) ([]byte, error) {
			return checkpoint.MarkFailed(value, fmt.Sprintf("it was restored %s from a backup, and what came after that is lost", moment(began)))
		}
	}
	m, err := backup.Restore(ctx, nc, c.Dir, o)
	if err != nil {
		return err
	}
	if err := tellBackup(t, m); err != nil {
		return err
	}
	if !c.NothingLost {
		_, err = fmt.Fprintln(t.out, "restored, and not to be served before the loss is accepted: start it, and it says how")
	}
	return err
}

// open connects to the log that is to be made.
func (c *restoreCmd) open(ctx context.Context) (*nats.Conn, func() error, error) {
	logger := slog.New(slog.DiscardHandler)
	if l := c.Log; l.NATSURL != "" {
		nc, err := eventlog.Connect(eventlog.ConnectConfig{
			URL: l.NATSURL, Name: "chancery-restore", Creds: l.NATSCreds,
			CA: l.NATSTLSCA, Cert: l.NATSTLSCert, Key: l.NATSTLSKey, Logger: logger,
		})
		if err != nil {
			return nil, nil, err
		}
		return nc, func() error { nc.Close(); return nil }, nil
	}
	ns, err := embedded.Start(embedded.Options{Dir: filepath.Clean(c.Data), Logger: logger})
	if err != nil {
		return nil, nil, err
	}
	stop := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return ns.Shutdown(ctx)
	}
	nc, err := ns.Connect()
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return nc, func() error { nc.Close(); return stop() }, nil
}
