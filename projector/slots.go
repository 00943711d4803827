package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A slot is one of the two files that a read model can be in. One of them is
// live; a new one is built in the other.
type slot int

const (
	firstSlot  slot = 1
	secondSlot slot = 2
)

func (n slot) other() slot { return firstSlot + secondSlot - n }

// slots are the files of one read model of one stream.
type slots struct {
	dir, stream string
	model       model
	logger      *slog.Logger
}

// name is that of the read model, as Status has it.
func (s slots) name() string { return s.stream + s.model.suffix }

func (s slots) path(n slot) string {
	if n == firstSlot {
		return filepath.Join(s.dir, s.name()+".db")
	}
	return filepath.Join(s.dir, s.name()+"."+strconv.Itoa(int(n))+".db")
}

// marker is the file that has the number of the live slot. Without it the first
// one is live.
func (s slots) marker() string { return filepath.Join(s.dir, s.name()+".live") }

// open opens a slot, an empty one if there is none or the one there is of no use.
func (s slots) open(ctx context.Context, n slot) (*store, error) {
	return openStore(ctx, s.path(n), s.stream, s.model, s.logger)
}

// openLive opens the live slot. What is in the other one is deleted: nobody was
// ever told of what was being built there, and what was switched from is needed
// no longer once the process has started on the other. So a start has one file to
// check, and a build that has brought the process down does not do so again.
func (s slots) openLive(ctx context.Context) (*store, slot, error) {
	n, err := s.live()
	if err == nil {
		err = s.remove(n.other())
	}
	if err != nil {
		return nil, n, fmt.Errorf("open read model %s: %w", s.name(), err)
	}
	opened, err := s.open(ctx, n)
	return opened, n, err
}

// live is the slot that the marker names. A marker that names none was not
// written here: the first one is built again if it is not there.
func (s slots) live() (slot, error) {
	text, err := os.ReadFile(s.marker()) //nolint:gosec // the operator's directory
	if errors.Is(err, os.ErrNotExist) {
		return firstSlot, nil
	}
	if err != nil {
		return firstSlot, fmt.Errorf("read which file is live: %w", err)
	}
	switch named := strings.TrimSpace(string(text)); named {
	case "1":
		return firstSlot, nil
	case "2":
		return secondSlot, nil
	default:
		s.logger.Warn("the first file is taken for the live one", "model", s.name(), "marker", s.marker())
		return firstSlot, nil
	}
}

// setLive makes a slot the live one, also for whoever starts after a power cut.
// Where it fails either may be.
func (s slots) setLive(n slot) error {
	if err := s.writeMarker(n); err != nil {
		return fmt.Errorf("write which file of %s is live: %w", s.name(), err)
	}
	return nil
}

func (s slots) writeMarker(n slot) (err error) {
	unnamed := s.marker() + ".new"
	f, err := os.OpenFile(unnamed, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) //nolint:gosec // the operator's directory
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.Itoa(int(n)) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(unnamed, s.marker()); err != nil { //nolint:gosec // the operator's directory
		return err
	}
	// The names of the marker and of the file that it means.
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// remove deletes what is in a slot that is not the live one.
func (s slots) remove(n slot) error {
	live, err := s.live()
	if err == nil && live == n {
		// A switch has failed half way.
		err = s.setLive(n.other())
	}
	if err != nil {
		return err
	}
	return removeFile(s.path(n))
}
