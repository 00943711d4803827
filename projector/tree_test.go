package projector

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
)

// TestTree builds a tree in batches of all sizes, the file opened again and
// again, and holds every hash of it against tlog's own.
func TestTree(t *testing.T) {
	log := partitionLog(5, 1200)
	var stored []tlog.Hash
	own := tlog.HashReaderFunc(func(indexes []int64) (found []tlog.Hash, _ error) {
		for _, i := range indexes {
			found = append(found, stored[i])
		}
		return found, nil
	})
	for i, e := range log {
		more, err := tlog.StoredHashesForRecordHash(int64(i), tree.Leaf(e.Seq, e.Stored, e.Message), own)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
	}
	dir, rnd := t.TempDir(), rand.New(rand.NewPCG(1, 1))
	s := openTestAs(t, treeModel(), dir)
	for at := 0; at < len(log); {
		size := 1 + rnd.IntN(300)
		from := max(0, at-rnd.IntN(20)) // what was folded may come again
		at = min(len(log), at+size)
		if err := s.fold(t.Context(), log[from:at]); err != nil {
			t.Fatal(err)
		}
		if rnd.IntN(4) == 0 {
			if err := s.close(); err != nil {
				t.Fatal(err)
			}
			s = openTestAs(t, treeModel(), dir)
		}
	}
	if stateHash(t, s) != replayedAs(t, treeModel(), log) {
		t.Error("the tiles are not those of one batch")
	}
	r := states{newStoreReader(map[string]*store{string(treePlace("")): s})}
	for first := 0; first < len(stored); first += 100 {
		var indexes []int64
		for i := first; i < min(first+100, len(stored)); i++ {
			indexes = append(indexes, int64(i))
		}
		got, err := r.Hashes(t.Context(), "", indexes)
		if err != nil || got.Position != uint64(len(log)) || len(got.Hashes) != len(indexes) {
			t.Fatalf("%d hashes at %d: %v", len(got.Hashes), got.Position, err)
		}
		for i, h := range got.Hashes {
			if h != stored[first+i] {
				t.Fatalf("hash %d is another", first+i)
			}
		}
	}
	if got, err := r.Hashes(t.Context(), "", []int64{0, int64(len(stored))}); err != nil || got.Hashes != nil || got.Position != uint64(len(log)) {
		t.Errorf("what is beyond the position is %v: %v", got, err)
	}
	for _, key := range []string{"", "{}", "[-1]", "[1.5]", `["0"]`, "[9223372036854775807]"} {
		if validKey("MAIN_EVENTS_0-tree", readHashes, key) {
			t.Errorf("%q is a key", key)
		}
	}
}

// TestTreeOfDamagedTiles shortens a tile. It is not built upon.
func TestTreeOfDamagedTiles(t *testing.T) {
	log := partitionLog(5, 300)
	s := openTestAs(t, treeModel(), t.TempDir())
	if err := s.fold(t.Context(), log[:290]); err != nil {
		t.Fatal(err)
	}
	if err := s.writer.exec(t.Context(), `UPDATE tiles SET hashes = x'00' WHERE level = 0 AND n = 1`); err != nil {
		t.Fatal(err)
	}
	if err := s.fold(t.Context(), log[290:]); !disposable(err) {
		t.Errorf("it is: %v", err)
	}
	r := states{newStoreReader(map[string]*store{string(treePlace("")): s})}
	if _, err := r.Hashes(t.Context(), "", []int64{tlog.StoredHashIndex(0, 260)}); !disposable(err) {
		t.Errorf("it is read: %v", err)
	}
}

// BenchmarkTreeFold builds a tree of a realistic mix, 500 in a batch.
func BenchmarkTreeFold(b *testing.B) {
	s := openTestAs(b, treeModel(), b.TempDir())
	m := newAuditMix(200_000)
	n := 0
	var batch []eventlog.Entry
	for b.Loop() {
		b.StopTimer()
		batch = m.batch(500)
		b.StartTimer()
		if err := s.fold(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		n += 500
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
