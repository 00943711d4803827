// Package backup keeps a realm in a directory: its log as an archive, which proves
// itself, the records of its buckets, and a manifest that says what belongs
// together.
//
//	manifest                        what there is, signed
//	log/MAIN_EVENTS_0/….ndjson.zst  as package archive writes it
//	buckets/MAIN_SECRETS.ndjson.zst
//
// The one thing to know: what is copied first refers to what is copied last.
// Partitions name clients, users and keys of the registry, and the registry names
// records of the buckets. In this order a copy that takes hours, of a realm that goes
// on, has everything that anything in it refers to.
package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/chancery-authority/chancery/events/archive"
	"github.com/chancery-authority/chancery/events/durable"
	"github.com/chancery-authority/chancery/events/tree"
)

// format begins the signed text of a manifest, so that a key of checkpoints signs
// nothing that could be taken for one.
const format = "chancery-backup-1\n"

// Names in the directory.
const (
	manifestFile = "manifest"
	logDir       = "log"
	bucketDir    = "buckets"
)

// ErrBackup is returned for a directory that is no whole backup, or not the one that
// its manifest speaks of.
var ErrBackup = errors.New("backup does not hold")

// A Manifest says what belongs to a backup.
type Manifest struct {
	Realm  string `json:"realm"`
	Issuer string `json:"issuer"`
	// Version is the program's that wrote it.
	Version string `json:"version"`
	// Time is when the copy began. What was acknowledged before is in it.
	Time    time.Time `json:"time"`
	Streams []Stream  `json:"streams"`
	Buckets []Bucket  `json:"buckets"`
	// Signed says whether the manifest is.
	Signed bool `json:"-"`
}

// A Stream is one of the log.
type Stream struct {
	Stream string `json:"stream"`
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	// Checkpoint covers all of it and nothing else, as a signed note.
	Checkpoint string `json:"checkpoint"`
}

// A Bucket is one bucket.
type Bucket struct {
	Bucket  string `json:"bucket"`
	Records uint64 `json:"records"`
	// SHA256 is that of the file, in hexadecimal.
	SHA256 string `json:"sha256"`
}

// Log is the archive in a backup.
func Log(dir string) *archive.Dir { return archive.Open(filepath.Join(dir, logDir)) }

// Write makes the directory a backup: it comes last. Without a key the manifest is
// not signed, and what is not in the log could be another's.
func (m Manifest) Write(dir string, key note.Signer) error {
	body, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	text := append(append([]byte(format), body...), '\n')
	if key != nil {
		if text, err = note.Sign(&note.Note{Text: string(text)}, key); err != nil {
			return fmt.Errorf("sign manifest: %w", err)
		}
	}
	return durable.Write(filepath.Join(dir, manifestFile), func(f *os.File) error {
		_, err := f.Write(text)
		return err
	})
}

// readManifest reads a manifest that a known key has signed, or that none has.
func readManifest(dir string, known note.Verifiers) (m Manifest, err error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, os.ErrNotExist) {
		return m, fmt.Errorf("%w: it has no manifest: it was not finished", ErrBackup)
	}
	if err != nil {
		return m, err
	}
	body, signed, err := openNote(text, known)
	if err != nil {
		return m, err
	}
	rest, ok := strings.CutPrefix(body, format)
	if !ok {
		return m, fmt.Errorf("%w: its manifest is none", ErrBackup)
	}
	d := json.NewDecoder(strings.NewReader(rest))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("%w: its manifest cannot be read", ErrBackup)
	}
	m.Signed = signed
	return m, m.check()
}

func openNote(text []byte, known note.Verifiers) (body string, signed bool, err error) {
	if !bytes.Contains(text, []byte("\n\n— ")) {
		return string(text), false, nil
	}
	n, err := note.Open(text, known)
	if err != nil {
		return "", false, fmt.Errorf("%w: its manifest was changed, or signed by a key that is not known: %w", ErrBackup, err)
	}
	return n.Text, true, nil
}

// check looks for names that could not be files of the directory.
func (m Manifest) check() error {
	for _, s := range m.Streams {
		if !archive.ValidStream(s.Stream) {
			return fmt.Errorf("%w: %.64q can be no stream", ErrBackup, s.Stream)
		}
	}
	for _, b := range m.Buckets {
		if !archive.ValidStream(b.Bucket) {
			return fmt.Errorf("%w: %.64q can be no bucket", ErrBackup, b.Bucket)
		}
	}
	return nil
}

// checkpoints are those of all streams, as a known key has signed them.
func (m Manifest) checkpoints(known note.Verifiers) (all []tree.Checkpoint, err error) {
	for _, s := range m.Streams {
		c, err := tree.Open([]byte(s.Checkpoint), known)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrBackup, s.Stream, err)
		}
		if c.Stream() != s.Stream || c.Size != s.Last {
			return nil, fmt.Errorf("%w: the checkpoint beside %s is of %s up to %d", ErrBackup, s.Stream, c.Stream(), c.Size)
		}
		all = append(all, c)
	}
	return all, nil
}
