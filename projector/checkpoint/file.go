package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/chancery-authority/chancery/events/durable"
)

// load reads what the file has of a stream. For a stream that is accepted as it
// is, what was signed before is set aside.
func (k *Keeper) load(ctx context.Context, s *kept) error {
	if slices.Contains(k.cfg.Accept, s.stream) {
		return k.accept(ctx, s)
	}
	if k.cfg.Dir == "" {
		return nil
	}
	path := filepath.Join(k.cfg.Dir, s.stream)
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if s.file, err = k.parse(text); err != nil {
		return fmt.Errorf("%s: %w; is it another key's?", path, err)
	}
	return nil
}

// accept puts the file aside, as evidence, and empties the record. Who else runs
// has still failed, until it is started again.
func (k *Keeper) accept(ctx context.Context, s *kept) error {
	have, revision, err := k.read(ctx, s.stream)
	if err != nil {
		return err
	}
	if have != (record{}) {
		if err := k.write(ctx, s.stream, record{}, revision); err != nil {
			return err
		}
	}
	aside := ""
	if k.cfg.Dir != "" {
		path := filepath.Join(k.cfg.Dir, s.stream)
		if old, err := os.ReadFile(path); err == nil {
			c, _ := k.parse(old)
			aside = path + ".lost"
			if c != nil {
				aside = fmt.Sprintf("%s.lost-%d", path, c.Size)
			}
			if err := os.Rename(path, aside); err != nil {
				return err
			}
		}
	}
	k.cfg.Logger.Error("the log is accepted as it is: what was signed before is set aside",
		"stream", s.stream, "checkpoint", have.Checkpoint, "failed", have.Failed, "file", aside)
	return nil
}

// writeFile replaces the checkpoint of a stream.
func writeFile(dir, stream string, text []byte) error {
	return durable.Write(filepath.Join(dir, stream), func(f *os.File) error {
		_, err := f.Write(text)
		return err
	})
}
