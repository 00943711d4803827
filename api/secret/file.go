package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/chancery-authority/chancery/events/durable"
)

// maxRingFile bounds what is read of a ring file, in bytes.
const maxRingFile = 64 << 10

// OpenRing reads the ring file at path. Without a file it makes one with a fresh
// key, readable by its owner only; created tells. Replicas that start together
// on one directory end up with the same file.
func OpenRing(path string) (ring *Ring, created bool, err error) {
	ring, err = ReadRing(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return ring, false, err
	}
	switch err := CreateFile(path, []byte(NewRingLine("1").Reveal())); {
	case err == nil:
		created = true
	case !errors.Is(err, fs.ErrExist):
		return nil, false, fmt.Errorf("creating the key-encryption key file: %w", err)
	}
	ring, err = ReadRing(path)
	return ring, created, err
}

// ReadRing reads the ring file at path.
func ReadRing(path string) (*Ring, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the key-encryption keys: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(f, maxRingFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the key-encryption keys: %w", err)
	}
	if len(text) > maxRingFile {
		return nil, fmt.Errorf("reading the key-encryption keys: %s is over %d bytes", path, maxRingFile)
	}
	ring, err := ParseRing(New(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return ring, nil
}

// CreateFile puts a secret at path, whole and durable, readable by its owner
// only, unless something is there (fs.ErrExist). A key that a power cut loses would lose everything sealed with
// it, so file and directory are synced before anything is.
func CreateFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".keys-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // a leftover is harmless
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	return durable.SyncDir(dir)
}
