package projector

import (
	"cmp"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/chancery-authority/chancery/events/archive"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
)

// benchmarkEvents is how many events benchmarks of long logs have.
func benchmarkEvents(tb testing.TB) int {
	tb.Helper()
	text := cmp.Or(os.Getenv(benchEvents), "200000")
	n, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// sealedMix is an archive of a realistic mix of many events, and the key that it
// is signed by. It is kept for the next time in benchDir.
func sealedMix(tb testing.TB) (*archive.Dir, note.Verifiers, uint64) {
	tb.Helper()
	want := uint64(benchmarkEvents(tb)) / archive.SegmentSize * archive.SegmentSize
	root := cmp.Or(os.Getenv(benchDir), tb.TempDir())
	public, err := os.ReadFile(filepath.Join(root, "key.pub"))
	if errors.Is(err, os.ErrNotExist) {
		public = sealMix(tb, root, want)
	} else if err != nil {
		tb.Fatal(err)
	}
	verifier, err := note.NewVerifier(string(public))
	if err != nil {
		tb.Fatal(err)
	}
	return archive.Open(filepath.Join(root, "archive")), note.VerifierList(verifier), want
}

func sealMix(tb testing.TB, root string, want uint64) (public []byte) {
	tb.Helper()
	private, vkey, err := tree.NewKey(rand.Reader, "bench.example")
	if err != nil {
		tb.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	verifier, err2 := note.NewVerifier(vkey)
	if err := errors.Join(err, err2); err != nil {
		tb.Fatal(err)
	}
	s := openTestAs(tb, treeModel(), tb.TempDir())
	r := states{newStoreReader(map[string]*store{string(treePlace("MAIN_EVENTS_0")): s})}
	dir := archive.Open(filepath.Join(root, "archive"))
	m := newAuditMix(int(want) / 25)
	for at := uint64(0); at < want; at += archive.SegmentSize {
		var entries []eventlog.Entry
		for len(entries) < archive.SegmentSize {
			entries = append(entries, m.exactly(archive.SegmentSize/16)...)
		}
		if err := s.fold(tb.Context(), entries); err != nil {
			tb.Fatal(err)
		}
		hashes := HashReader(tb.Context(), r, "MAIN_EVENTS_0")
		whole, err := tree.ReadRange(hashes, 0, int64(at+archive.SegmentSize))
		if err != nil {
			tb.Fatal(err)
		}
		top, err := whole.Root()
		signed, err2 := tree.Sign(signer, "MAIN_EVENTS_0", at+archive.SegmentSize, top)
		header, err3 := archive.NewHeader(hashes, signed, at+1, at+archive.SegmentSize)
		err4 := dir.Write(header, note.VerifierList(verifier), func(w *archive.Writer) error {
			for _, e := range entries {
				if err := w.Write(archive.NewLine(e, tree.Leaf(e.Seq, e.Stored, e.Message))); err != nil {
					return err
				}
			}
			return nil
		})
		if err := errors.Join(err, err2, err3, err4); err != nil {
			tb.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "key.pub"), []byte(vkey), 0o600); err != nil {
		tb.Fatal(err)
	}
	return []byte(vkey)
}

// BenchmarkVerify verifies an archive.
func BenchmarkVerify(b *testing.B) {
	dir, known, n := sealedMix(b)
	peak := watchHeap(b)
	for b.Loop() {
		if _, err := dir.Verify(b.Context(), archive.Expected{Known: known, Whole: true}, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(peak(), "peak-MiB")
}

// BenchmarkReplay replays an archive into rows, and hashes them.
func BenchmarkReplay(b *testing.B) {
	dir, _, n := sealedMix(b)
	peak, used := watchHeap(b), cpuTime(b)
	b.ReportAllocs()
	for b.Loop() {
		source := func(each func([]eventlog.Entry) error) error {
			return dir.Read(b.Context(), "MAIN_EVENTS_0", 1, n, each)
		}
		r, err := Replay(b.Context(), b.TempDir(), realm, "MAIN_EVENTS_0", Until{}, source, nil)
		if err != nil || r.Position != n {
			b.Fatal(r, err)
		}
	}
	reportEvents(b, n, used)
	b.ReportMetric(peak(), "peak-MiB")
}

// BenchmarkReplayStates does what a replay does but for the rows: it reads an
// archive, decodes, chains the hash and folds in memory.
func BenchmarkReplayStates(b *testing.B) {
	dir, _, n := sealedMix(b)
	used := cpuTime(b)
	b.ReportAllocs()
	for b.Loop() {
		s := openTest(b, b.TempDir())
		f, err := s.folding(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		err = dir.Read(b.Context(), "MAIN_EVENTS_0", 1, n, func(batch []eventlog.Entry) error {
			for _, e := range batch {
				e.Decode()
				if poison, err := f.add(b.Context(), e); poison != nil || err != nil {
					return errors.Join(poison, err)
				}
			}
			return nil
		})
		if err != nil || f.reached.seq != n {
			b.Fatal(f.reached.seq, err)
		}
	}
	reportEvents(b, n, used)
}

// reportEvents reports n events in each loop. Used is the CPU time before them.
func reportEvents(b *testing.B, n uint64, used time.Duration) {
	b.Helper()
	events := float64(n) * float64(b.N)
	b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64((cpuTime(b)-used).Nanoseconds())/1000/events, "cpu-µs/event")
}

// cpuTime is what the process has used so far.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// watchHeap gives the most that the process held while it was watched, in MiB.
func watchHeap(b *testing.B) func() float64 {
	b.Helper()
	stop, most := make(chan struct{}), make(chan uint64)
	go func() {
		var peak uint64
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.Sys-m.HeapReleased)
			select {
			case <-stop:
				most <- peak
				return
			case <-tick.C:
			}
		}
	}()
	return func() float64 {
		close(stop)
		return float64(<-most) / (1 << 20)
	}
}
