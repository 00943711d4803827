package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/chancery-authority/chancery/events/durable"
)

// load reads what the file has of a stream. What is accepted to be lost is set
// aside first.
func (k *Keeper) load(ctx context.Context, s *kept) error {
	if size, ok := k.cfg.Accept[s.stream]; ok {
		if err := k.accept(ctx, s.stream, size); err != nil {
			return fmt.Errorf("accept a loss: %w", err)
		}
	}
	c, err := k.readFile(s.stream)
	s.file = c
	return err
}

// path is where the file of a stream is.
func (k *Keeper) path(stream string) string { return filepath.Join(k.cfg.Dir, stream) }

func (k *Keeper) readFile(stream string) (*signed, error) {
	if k.cfg.Dir == "" {
		return nil, nil
	}
	text, err := os.ReadFile(k.path(stream))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := k.parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; is it another key's?", k.path(stream), err)
	}
	return c, nil
}

// accept puts what was signed up to a size aside, in the file as evidence, and
// takes it from the record. It does so once: where it was done nothing is done
// again, so that it does no harm to start that way again. Who else runs has still
// failed, until it is started again.
func (k *Keeper) accept(ctx context.Context, stream string, size uint64) error {
	aside := fmt.Sprintf("%s.lost-%d", k.path(stream), size)
	if _, err := os.Stat(aside); err == nil && k.cfg.Dir != "" {
		return nil
	}
	have, revision, err := k.read(ctx, stream)
	if err != nil {
		return err
	}
	theirs, err := k.parse([]byte(have.Checkpoint))
	if err != nil {
		return err
	}
	if have != (record{}) && (theirs == nil || theirs.Size <= size) {
		if err := k.write(ctx, stream, record{}, revision); err != nil {
			return err
		}
	}
	k.cfg.Logger.Error("a loss is accepted: what was signed before is set aside",
		"stream", stream, "size", size, "checkpoint", have.Checkpoint, "failed", have.Failed, "file", aside)
	if k.cfg.Dir == "" {
		return nil
	}
	ours, err := k.readFile(stream)
	if err != nil {
		return err
	}
	if ours != nil && ours.Size <= size {
		return os.Rename(k.path(stream), aside)
	}
	return writeFile(k.cfg.Dir, filepath.Base(aside), nil)
}

// writeFile replaces the checkpoint of a stream.
func writeFile(dir, stream string, text []byte) error {
	return durable.Write(filepath.Join(dir, stream), func(f *os.File) error {
		_, err := f.Write(text)
		return err
	})
}
