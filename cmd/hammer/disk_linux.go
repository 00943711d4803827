package hammer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// smallDisk is how large the disk is that gets full.
const smallDisk = 256 << 20

// A disk is a small file system of its own for the store of one server, which can be
// filled up. Only root can have one.
type disk struct {
	path string
}

// makeDisk mounts a small file system at path.
func (d *disk) makeDisk(path string) error {
	if os.Geteuid() != 0 {
		return errors.New("a disk that can be filled up needs root, to mount one")
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("hammer", path, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", smallDisk)); err != nil {
		return fmt.Errorf("mount a small disk: %w", err)
	}
	d.path = path
	return nil
}

func (d *disk) ballast() string { return filepath.Join(d.path, "ballast") }

// fill leaves no byte free.
func (d *disk) fill() error {
	f, err := os.Create(d.ballast())
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is full
	block := make([]byte, 1<<20)
	for len(block) > 0 {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) empty() error { return os.Remove(d.ballast()) }

func (d *disk) releaseDisk() error {
	if d.path == "" {
		return nil
	}
	return syscall.Unmount(d.path, syscall.MNT_DETACH)
}
