package projector

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
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
				if err != nil || write != -m.cache.write || read != -m.cache.read || write >= 0 || read >= 0 {
					t.Errorf("the connections hold %d and %d KiB, want %+v: %v", -write, -read, m.cache, err)
				}
			}
		})
	}
}

// TestCacheOfABuild: it is larger while much is folded at once, and given back.
func TestCacheOfABuild(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	cacheOf := func() (kib int) {
		if err := s.writer.conn.QueryRowContext(t.Context(), `PRAGMA cache_size`).Scan(&kib); err != nil {
			t.Fatal(err)
		}
		return -kib
	}
	h := newHistory(11)
	for range gathering + 1000 {
		h.write(events.DefaultRealm.RefusedSubject(0), events.RequestRefused{What: "code", Reason: "invalid_code", Count: 1})
	}
	for _, step := range []struct {
		batch []eventlog.Entry
		want  int
	}{
		{h.entries[:500], s.model.cache.write},
		{h.entries[500 : 500+gathering], s.model.cache.build},
		{h.entries[500+gathering:], s.model.cache.write},
	} {
		if err := s.fold(t.Context(), step.batch); err != nil {
			t.Fatal(err)
		}
		if got := cacheOf(); got != step.want || got == 0 {
			t.Errorf("%d KiB after %d events, want %d", got, len(step.batch), step.want)
		}
	}
}
