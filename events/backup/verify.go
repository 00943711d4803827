package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/chancery-authority/chancery/events/archive"
	"github.com/chancery-authority/chancery/events/embedded/snapshot"
)

// ErrUnsigned is returned for a backup whose manifest is not signed: of its log all is
// proved, but nobody says that the buckets belong to it.
var ErrUnsigned = fmt.Errorf("%w: its manifest is not signed", ErrBackup)

// Verify holds a backup against its manifest, and its log against the checkpoints,
// with public keys alone. Unsigned takes a manifest that is not signed.
func Verify(ctx context.Context, dir string, known note.Verifiers, unsigned bool) (Manifest, error) {
	m, err := readManifest(dir, known)
	if err != nil {
		return m, err
	}
	if !m.Signed && !unsigned {
		return m, ErrUnsigned
	}
	if err := m.verifyLog(ctx, dir, known); err != nil {
		return m, err
	}
	return m, m.verifyBuckets(dir)
}

func (m Manifest) verifyLog(ctx context.Context, dir string, known note.Verifiers) error {
	checkpoints, err := m.checkpoints(known)
	if err != nil {
		return err
	}
	reports, err := Log(dir).Verify(ctx, archive.Expected{Known: known, Checkpoints: checkpoints, Whole: true}, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBackup, err)
	}
	for _, r := range reports {
		i := slices.IndexFunc(m.Streams, func(s Stream) bool { return s.Stream == r.Stream })
		switch {
		case i < 0:
			return fmt.Errorf("%w: %s is not in the manifest", ErrBackup, r.Stream)
		case r.First != m.Streams[i].First || r.Last != m.Streams[i].Last:
			return fmt.Errorf("%w: %s has %d to %d, and the manifest says %d to %d",
				ErrBackup, r.Stream, r.First, r.Last, m.Streams[i].First, m.Streams[i].Last)
		}
	}
	return nil
}

func (m Manifest) verifyBuckets(dir string) error {
	for _, want := range m.Buckets {
		b, _, err := openBucket(bucketPath(dir, want.Bucket), want.Bucket, func(snapshot.Message) error { return nil })
		switch {
		case errors.Is(err, ErrBackup):
			return err
		case err != nil:
			return fmt.Errorf("%w: bucket %s: %w", ErrBackup, want.Bucket, err)
		case b != want:
			return fmt.Errorf("%w: bucket %s is not the one of the manifest", ErrBackup, want.Bucket)
		}
	}
	found, err := os.ReadDir(filepath.Join(dir, bucketDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, f := range found {
		name := strings.TrimSuffix(f.Name(), ".ndjson.zst")
		if !slices.ContainsFunc(m.Buckets, func(b Bucket) bool { return b.Bucket == name }) {
			return fmt.Errorf("%w: %s is not in the manifest", ErrBackup, f.Name())
		}
	}
	return nil
}
