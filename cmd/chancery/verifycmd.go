package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"github.com/chancery-authority/chancery/events/archive"
	"github.com/chancery-authority/chancery/events/tree"
)

type auditVerifyCmd struct {
	adminFlags `group:"admin"`
	keyFlags

	Path       string   `arg:"" optional:"" type:"path" help:"Export or archive, or a proof. Default: the log of the authority itself."`
	Checkpoint []string `type:"path" placeholder:"FILE" help:"Files of one checkpoint each that were kept elsewhere, such as DATA/checkpoints/MAIN_EVENTS_0. What they cover must be there."`
	Partial    bool     `help:"Take it that an export ends before its newest checkpoint, as the archive of a running authority does."`
	Stream     []string `help:"Only these streams of the authority."`
}

// Help is the detail of chancery audit verify --help.
func (*auditVerifyCmd) Help() string {
	return `Holds every message against the signed checkpoints: it needs the public key, and of an export nothing else. The first sequence that is missing, changed or out of order is named, and the exit status is 1.

Examples:

    chancery audit verify
    chancery audit verify november --key checkpoint-key.pub --checkpoint MAIN_EVENTS_0.checkpoint
    chancery audit verify event-17.ndjson --key auth.example/log+d3b07384+AbC...`
}

// Run verifies, and says what.
func (c *auditVerifyCmd) Run(ctx context.Context, t terminal) error {
	want := archive.Expected{Whole: !c.Partial}
	var err error
	if want.Known, err = c.known(c.Data); err != nil {
		return err
	}
	if want.Checkpoints, err = readCheckpoints(c.Checkpoint, want.Known); err != nil {
		return err
	}
	reports, err := c.verify(ctx, t, want)
	for _, r := range reports {
		if _, err := fmt.Fprintf(t.out, "%s: %d messages, %d to %d, are what %s signed up to %d\n",
			r.Stream, r.Messages, r.First, r.Last, r.Checkpoint.Origin, r.Checkpoint.Size); err != nil {
			return err
		}
	}
	return err
}

func (c *auditVerifyCmd) verify(ctx context.Context, t terminal, want archive.Expected) ([]archive.Report, error) {
	if c.Path == "" {
		return c.online(ctx, t, want)
	}
	info, err := os.Stat(c.Path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return archive.Open(c.Path).Verify(ctx, want, nil)
	}
	f, err := os.Open(c.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	v, err := archive.Verify(f, want, nil)
	if err != nil {
		return nil, err
	}
	return []archive.Report{v.Report()}, nil
}

// readCheckpoints reads signed notes, one from each file.
func readCheckpoints(paths []string, known note.Verifiers) (all []tree.Checkpoint, err error) {
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		c, err := tree.Open(text, known)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, c)
	}
	return all, nil
}

// online reads the whole log from the authority. Of the authority nothing is
// believed but what its key has signed.
func (c *auditVerifyCmd) online(ctx context.Context, t terminal, want archive.Expected) ([]archive.Report, error) {
	all, err := c.signed(ctx, c.Stream)
	if err != nil {
		return nil, err
	}
	var reports []archive.Report
	for _, of := range all.Checkpoints {
		p := newCounter(t.err, "verify "+of.Stream, of.Size)
		var v archive.Verified
		err := c.sealed(ctx, of.Stream, 1, 0, func(from io.Reader) error {
			v, err = archive.Verify(from, want, p.reached)
			return err
		})
		p.end()
		h := v.Header
		if err == nil && (h.Stream != of.Stream || h.First != 1 || h.Last < of.Size || h.Last != v.Checkpoint.Size) {
			err = fmt.Errorf("the authority has answered with another part of the log than all of %s", of.Stream)
		}
		if err != nil {
			return reports, err
		}
		reports = append(reports, v.Report())
	}
	for _, kept := range want.Checkpoints {
		there := slices.ContainsFunc(reports, func(r archive.Report) bool { return r.Stream == kept.Stream() && r.Last >= kept.Size })
		if !there {
			return reports, &archive.Fault{Stream: kept.Stream(), Seq: 1, To: kept.Size, Reason: "not all of what was signed is there"}
		}
	}
	return reports, nil
}
