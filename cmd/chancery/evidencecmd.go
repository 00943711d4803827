package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events/archive"
	"github.com/chancery-authority/chancery/events/tree"
)

// keyFlags say whose checkpoints count.
type keyFlags struct {
	Key []string `placeholder:"KEY|FILE" help:"Public key of checkpoints, or a file that holds it. Default: DATA/checkpoint-key.pub."`
}

// known are the keys, of which the default is in the server's directory.
func (f keyFlags) known(data string) (note.Verifiers, error) {
	keys := f.Key
	if len(keys) == 0 {
		keys = []string{filepath.Join(data, "checkpoint-key.pub")}
	}
	var all []string
	for _, key := range keys {
		if strings.HasPrefix(key, "PRIVATE+KEY+") {
			return nil, errors.New("key: that is a private key, and verifying needs the public one")
		}
		if _, err := note.NewVerifier(key); err == nil {
			all = append(all, key)
			continue
		}
		text, err := os.ReadFile(key)
		if err != nil {
			return nil, fmt.Errorf("no public key of checkpoints (give --key): %w", err)
		}
		all = append(all, strings.Fields(string(text))...)
	}
	return tree.Known(all...)
}

type auditKeygenCmd struct {
	Name   string `arg:"" help:"Name of the log in the world, without spaces or +: auth.example/log. It is a part of every checkpoint."`
	Output string `short:"o" type:"path" default:"checkpoint-key" help:"File for the private key, which must not be there; the public one gets .pub behind it."`
}

// Run makes a key for every process that signs.
func (c *auditKeygenCmd) Run(t terminal) error {
	private, public, err := tree.NewKey(rand.Reader, c.Name)
	if err != nil {
		return err
	}
	if err := secret.CreateFile(c.Output, []byte(private+"\n")); err != nil {
		return fmt.Errorf("writing the key: %w", err)
	}
	if err := os.WriteFile(c.Output+".pub", []byte(public+"\n"), 0o644); err != nil { //nolint:gosec // it is public
		return fmt.Errorf("writing the key: %w", err)
	}
	_, err = fmt.Fprintln(t.out, public)
	return err
}

type auditCheckpointCmd struct {
	adminFlags `group:"admin"`

	Stream string `arg:"" optional:"" help:"Stream. Default: all."`
}

// checkpoints are the admin API's.
type checkpoints struct {
	Checkpoints []checkpointView `json:"checkpoints"`
	// Heads are where the streams end.
	Heads map[string]uint64 `json:"heads"`
}

type checkpointView struct {
	Stream string `json:"stream"`
	Size   uint64 `json:"size"`
	Note   string `json:"note"`
}

// firstCheckpoint is how long a stream may be without one: it has just begun.
const firstCheckpoint = 5 * time.Second

// signed are the checkpoints of the streams that are asked for, all if none are. It
// waits a moment for those that are to be signed yet.
func (f adminFlags) signed(ctx context.Context, streams []string) (checkpoints, error) {
	for late := time.Now().Add(firstCheckpoint); ; {
		all, err := f.checkpoints(ctx)
		if err != nil {
			return all, err
		}
		if !all.unsigned(streams) || time.Now().After(late) {
			return all.of(streams)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return all, ctx.Err()
		}
	}
}

// unsigned reports whether one of the streams, of all if none are named, has
// messages and no checkpoint.
func (c checkpoints) unsigned(streams []string) bool {
	for stream, head := range c.Heads {
		has := slices.ContainsFunc(c.Checkpoints, func(one checkpointView) bool { return one.Stream == stream })
		if head > 0 && !has && (len(streams) == 0 || slices.Contains(streams, stream)) {
			return true
		}
	}
	return false
}

func (f adminFlags) checkpoints(ctx context.Context) (all checkpoints, err error) {
	a, err := f.client()
	if err != nil {
		return all, err
	}
	answer, err := a.call(ctx, http.MethodGet, nil, "checkpoints")
	if err == nil {
		err = json.Unmarshal(answer, &all)
	}
	for _, c := range all.Checkpoints {
		if err == nil && !archive.ValidStream(c.Stream) { // it becomes the name of a file
			err = errors.New("the authority names a stream that can be none")
		}
	}
	return all, err
}

// of are those of the streams that are asked for, all if none are. One that is
// missing is an error.
func (c checkpoints) of(streams []string) (checkpoints, error) {
	if len(streams) == 0 && len(c.Checkpoints) > 0 {
		return c, nil
	}
	var found checkpoints
	for _, one := range c.Checkpoints {
		if slices.Contains(streams, one.Stream) {
			found.Checkpoints = append(found.Checkpoints, one)
		}
	}
	if len(found.Checkpoints) != len(streams) || len(streams) == 0 {
		return found, fmt.Errorf("not all that is asked for is signed: %s", cmp.Or(strings.Join(streams, ", "), "nothing is"))
	}
	return found, nil
}

// Run prints signed notes as they are, an empty line between them.
func (c *auditCheckpointCmd) Run(ctx context.Context, t terminal) error {
	all, err := c.checkpoints(ctx)
	if err != nil {
		return err
	}
	found := 0
	for _, one := range all.Checkpoints {
		if c.Stream != "" && c.Stream != one.Stream {
			continue
		}
		if found++; found > 1 {
			if _, err := fmt.Fprintln(t.out); err != nil {
				return err
			}
		}
		if _, err := io.WriteString(t.out, one.Note); err != nil {
			return err
		}
	}
	if found == 0 {
		return errors.New("there is no such checkpoint yet")
	}
	return nil
}

type auditProveCmd struct {
	adminFlags `group:"admin"`
	keyFlags

	Stream   string `arg:"" help:"Stream, as audit list prints it."`
	Sequence uint64 `arg:"" help:"Sequence in the stream."`
	Output   string `short:"o" type:"path" placeholder:"FILE" help:"File for the proof, which must not be there. Default: standard output."`
}

// Help is the detail of chancery audit prove --help.
func (*auditProveCmd) Help() string {
	return `Writes one event with what proves that it is in the log: the checkpoint and the hashes between. "chancery audit verify FILE" checks it without the authority.

Example:

    chancery audit prove MAIN_EVENTS_0 17 -o event-17.ndjson
    chancery audit verify event-17.ndjson --key checkpoint-key.pub`
}

// Run writes the proof, once it holds.
func (c *auditProveCmd) Run(ctx context.Context, t terminal) error {
	known, err := c.known(c.Data)
	if err != nil {
		return err
	}
	var text strings.Builder
	err = c.sealed(ctx, c.Stream, c.Sequence, c.Sequence, func(from io.Reader) error {
		v, err := archive.Verify(io.TeeReader(from, &text), archive.Expected{Known: known}, nil)
		if err == nil && (v.Header.Stream != c.Stream || v.Header.First != c.Sequence || v.Header.Last != c.Sequence) {
			err = errors.New("the authority has answered with another event")
		}
		return err
	})
	if err != nil {
		return err
	}
	return writeOut(t.out, c.Output, func(w io.Writer) error {
		_, err := io.WriteString(w, text.String())
		return err
	})
}

// writeOut writes to a file that is not there yet, or to out.
func writeOut(out io.Writer, path string, write func(io.Writer) error) error {
	if path == "" {
		return write(out)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing the file: %w", err)
	}
	return errors.Join(write(f), f.Close())
}

// sealed reads a part of the log from the authority; last is 0 for the end of
// what is signed.
func (f adminFlags) sealed(ctx context.Context, stream string, first, last uint64, read func(io.Reader) error) error {
	a, err := f.client()
	if err != nil {
		return err
	}
	q := url.Values{"first": {strconv.FormatUint(first, 10)}}
	if last > 0 {
		q.Set("last", strconv.FormatUint(last, 10))
	}
	body, err := a.open(ctx, http.MethodGet, nil, q, "log", stream)
	if err != nil {
		return err
	}
	defer body.Close()
	return read(body)
}

type auditExportLogCmd struct {
	adminFlags `group:"admin"`
	keyFlags

	Output string   `short:"o" type:"path" required:"" placeholder:"DIR" help:"Directory to write."`
	Stream []string `help:"Only these streams."`
}

// Help is the detail of chancery audit export-log --help.
func (*auditExportLogCmd) Help() string {
	return `Writes every message of the log with what proves it, as far as it is signed, in the form of an archive. What is in the directory already is left alone, so an export that was cut short goes on.

Example:

    chancery audit export-log -o november
    chancery audit verify november --key checkpoint-key.pub`
}

// Run writes segment after segment, each verified.
func (c *auditExportLogCmd) Run(ctx context.Context, t terminal) error {
	known, err := c.known(c.Data)
	if err != nil {
		return err
	}
	all, err := c.signed(ctx, c.Stream)
	if err != nil {
		return err
	}
	dir := archive.Open(c.Output)
	for _, of := range all.Checkpoints {
		if err := c.copyLog(ctx, t, "export", dir, of.Stream, of.Size, known); err != nil {
			return err
		}
	}
	return nil
}
