package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/archive"
	"github.com/chancery-authority/chancery/events/backup"
)

// signedWithin is how long a backup waits until what is in the log is signed, and
// signedEvery how often it looks.
const (
	signedWithin = time.Minute
	signedEvery  = 200 * time.Millisecond
)

// backupCmd are the commands about backups. The name of a directory alone makes one.
type backupCmd struct {
	Create backupCreateCmd `cmd:"" default:"withargs" help:"Copy a running authority into a directory."`
	Verify backupVerifyCmd `cmd:"" help:"Hold a backup against its manifest, and its log against the signed checkpoints."`
}

type backupCreateCmd struct {
	adminFlags `group:"admin"`
	keyFlags

	Dir           string `arg:"" type:"path" help:"Directory to write, which must be empty or not there."`
	SigningKey    string `type:"path" placeholder:"FILE" help:"File of the private key of checkpoints, which signs the manifest. Default: DATA/checkpoint-key."`
	Unsigned      bool   `help:"Leave the manifest unsigned. Nobody can tell then whether a bucket is the one that was copied."`
	WithoutVerify bool   `help:"Do not read all of it again in the end. Every file was read back when it was written."`
}

// Help is the detail of chancery backup --help.
func (*backupCreateCmd) Help() string {
	return `Copies the log, as far as it is signed, and every bucket of the realm, while the authority goes on. What was acknowledged before the call is in it, and whatever anything in it refers to.

It has private keys, sealed with the key-encryption keys, and never those: keep them elsewhere, without them nothing of it can be used. It has people's records and hashes of their passwords: keep it as secret as the authority.

Examples:

    chancery backup /backup/2026-11-26
    chancery backup verify /backup/2026-11-26 --key checkpoint-key.pub`
}

// Run copies partitions, then the registry, then buckets: what refers before what it
// refers to.
func (c *backupCreateCmd) Run(ctx context.Context, t terminal) error {
	known, err := c.known(c.Data)
	if err != nil {
		return err
	}
	key, err := c.signer()
	if err != nil {
		return err
	}
	if err := emptyDir(c.Dir); err != nil {
		return err
	}
	m := backup.Manifest{Version: version(), Time: time.Now().UTC()}
	var of struct {
		Realm, Issuer string
	}
	if err := c.get(ctx, &of, "buckets"); err != nil {
		return err
	}
	m.Realm, m.Issuer = of.Realm, of.Issuer
	registry := events.Realm(m.Realm).RegistryStream()
	for _, last := range []bool{false, true} {
		// What was acknowledged by now must be signed, or it would not be copied.
		signed, err := c.signed(ctx)
		if err != nil {
			return err
		}
		for _, s := range signed.Checkpoints {
			if (s.Stream == registry) != last {
				continue
			}
			copied, err := c.copyStream(ctx, t, s.Stream, s.Size, known)
			if err != nil {
				return err
			}
			m.Streams = append(m.Streams, copied)
		}
	}
	if m.Buckets, err = c.copyBuckets(ctx); err != nil {
		return err
	}
	if err := m.Write(c.Dir, key); err != nil {
		return err
	}
	if !c.WithoutVerify {
		if m, err = backup.Verify(ctx, c.Dir, known, c.Unsigned); err != nil {
			return err
		}
	}
	return tellBackup(t, m)
}

// signer is the key of the manifest, nil if it is not to be signed.
func (c *backupCreateCmd) signer() (note.Signer, error) {
	if c.Unsigned {
		return nil, nil
	}
	text, err := os.ReadFile(cmp.Or(c.SigningKey, filepath.Join(c.Data, "checkpoint-key")))
	if err != nil {
		return nil, fmt.Errorf("no key to sign the manifest (give --signing-key, or --unsigned): %w", err)
	}
	key, err := note.NewSigner(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, errors.New("signing-key: it is no private key of checkpoints") // and the reason may hold it
	}
	return key, nil
}

func emptyDir(dir string) error {
	found, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("%s is not empty: every backup has a directory of its own", dir)
	}
	return err
}

func (f adminFlags) get(ctx context.Context, into any, path ...string) error {
	a, err := f.client()
	if err != nil {
		return err
	}
	answer, err := a.call(ctx, http.MethodGet, nil, path...)
	if err == nil {
		err = json.Unmarshal(answer, into)
	}
	return err
}

// signed waits until everything that is in the log now is signed.
func (c *backupCreateCmd) signed(ctx context.Context) (checkpoints, error) {
	ctx, cancel := context.WithTimeout(ctx, signedWithin)
	defer cancel()
	first, err := c.checkpoints(ctx)
	for now := first; err == nil; now, err = c.checkpoints(ctx) {
		missing := now.missing(first.Heads)
		if missing == "" {
			return now, nil
		}
		select {
		case <-time.After(signedEvery):
		case <-ctx.Done():
			return now, fmt.Errorf("%s is not signed up to its end: does a projector have a key of checkpoints?", missing)
		}
	}
	return first, err
}

// missing names a stream that is not signed up to where it was.
func (c checkpoints) missing(heads map[string]uint64) string {
	sizes := map[string]uint64{}
	for _, s := range c.Checkpoints {
		sizes[s.Stream] = s.Size
	}
	for stream, head := range heads {
		if sizes[stream] < head {
			return stream
		}
	}
	return ""
}

// copyStream copies a stream up to at least size, and says what it has then.
func (c *backupCreateCmd) copyStream(ctx context.Context, t terminal, stream string, size uint64, known note.Verifiers) (s backup.Stream, err error) {
	if err := c.copyLog(ctx, t, "copy", backup.Log(c.Dir), stream, size, known); err != nil {
		return s, err
	}
	segments, err := backup.Log(c.Dir).Segments(stream)
	if err != nil || len(segments) == 0 {
		return s, errors.Join(err, fmt.Errorf("nothing of %s was copied", stream))
	}
	end := segments[len(segments)-1]
	v, err := end.Verify(archive.Expected{Known: known})
	if err == nil && v.Checkpoint.Size != end.Last {
		err = fmt.Errorf("the authority has answered with less of %s than it has signed", stream)
	}
	return backup.Stream{Stream: stream, First: segments[0].First, Last: end.Last, Checkpoint: v.Header.Checkpoint}, err
}

// copyBuckets copies every bucket that there is once the log is copied.
func (c *backupCreateCmd) copyBuckets(ctx context.Context) (all []backup.Bucket, err error) {
	var found struct{ Buckets []string }
	if err := c.get(ctx, &found, "buckets"); err != nil {
		return nil, err
	}
	a, err := c.client()
	if err != nil {
		return nil, err
	}
	for _, bucket := range found.Buckets {
		if !archive.ValidStream(bucket) { // it becomes the name of a file
			return nil, errors.New("the authority names a bucket that can be none")
		}
		from, err := a.open(ctx, http.MethodGet, nil, nil, "buckets", bucket)
		if err != nil {
			return nil, err
		}
		b, err := backup.CopyBucket(c.Dir, bucket, from)
		if err = errors.Join(err, from.Close()); err != nil {
			return nil, fmt.Errorf("copying %s: %w", bucket, err)
		}
		all = append(all, b)
	}
	return all, nil
}

type backupVerifyCmd struct {
	keyFlags

	Data     string `default:"./chancery-data" type:"path" help:"Directory of the server, for its public key."`
	Dir      string `arg:"" type:"path" help:"Backup."`
	Unsigned bool   `help:"Take a manifest that is not signed."`
}

// Run verifies, and says what.
func (c *backupVerifyCmd) Run(ctx context.Context, t terminal) error {
	known, err := c.known(c.Data)
	if err != nil {
		return err
	}
	m, err := backup.Verify(ctx, c.Dir, known, c.Unsigned)
	if err != nil {
		return err
	}
	return tellBackup(t, m)
}

func tellBackup(t terminal, m backup.Manifest) error {
	rows := [][]string{{"realm " + m.Realm, "of " + moment(m.Time), m.Issuer}}
	for _, s := range m.Streams {
		rows = append(rows, []string{s.Stream, fmt.Sprintf("%d to %d", s.First, s.Last), "as signed"})
	}
	for _, b := range m.Buckets {
		as := "as in the manifest"
		if !m.Signed {
			as += ", which is not signed"
		}
		rows = append(rows, []string{b.Bucket, fmt.Sprintf("%d records", b.Records), as})
	}
	return table(t.out, rows...)
}

// copyLog copies a stream, segment after segment, each verified, up to at least size.
func (f adminFlags) copyLog(ctx context.Context, t terminal, what string, dir *archive.Dir, stream string, size uint64, known note.Verifiers) error {
	p := newCounter(t.err, what+" "+stream, size)
	defer p.end()
	for first := uint64(1); first <= size; first += archive.SegmentSize {
		last := first + archive.SegmentSize - 1
		if last >= size {
			last = 0 // all that is signed by then: the log goes on
		}
		err := f.sealed(ctx, stream, first, last, func(from io.Reader) error { return dir.Copy(from, known) })
		if err != nil {
			return err
		}
		p.reached(min(first+archive.SegmentSize-1, size))
	}
	return nil
}
