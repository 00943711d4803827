package projector

import (
	"errors"
	"path/filepath"
	"testing"
)

// TestConnectionsHoldNoMoreThanTheirCache asks the connections of every kind of file, also of one that was there.
func TestConnectionsHoldNoMoreThanTheirCache(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]model{
		"partition": partitionModel(), "registry": registryModel(), "audit": auditModel(), "tree": treeModel(),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "model.db")
			for range 2 {
				s, err := openStore(t.Context(), path, "MAIN_EVENTS_0", m, quiet())
				if err != nil {
					t.Fatal(err)
				}
				var write, read int
				err = errors.Join(
					s.writer.conn.QueryRowContext(t.Context(), `PRAGMA cache_size`).Scan(&write),
					s.reader.QueryRowContext(t.Context(), `PRAGMA cache_size`).Scan(&read),
					s.close(),
				)
				if got := (cache{-write, -read}); err != nil || got != m.cache || write >= 0 || read >= 0 {
					t.Errorf("the connections hold %+v KiB, want %+v: %v", got, m.cache, err)
				}
			}
		})
	}
}
