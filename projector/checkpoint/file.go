package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/chancery-authority/chancery/events/durable"
)

// load reads what the file has of a stream.
func (k *Keeper) load(s *kept) error {
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

// writeFile replaces the checkpoint of a stream.
func writeFile(dir, stream string, text []byte) error {
	return durable.Write(filepath.Join(dir, stream), func(f *os.File) error {
		_, err := f.Write(text)
		return err
	})
}
