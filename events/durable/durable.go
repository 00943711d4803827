// Package durable writes files that a power cut leaves whole: as they were, or as
// they are meant to be.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Write makes what fill writes the file of that path, readable by its owner
// alone. It replaces what was there, and a check that fails leaves that alone.
func Write(path string, fill func(*os.File) error, checks ...func(written string) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := os.CreateTemp(dir, ".writing-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it was renamed, or is of no use
	if err = fill(f); err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	for _, check := range checks {
		if err == nil {
			err = check(f.Name())
		}
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = SyncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// SyncDir makes durable which files a directory has.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
