package projector

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery-authority/chancery/events/eventlog"
)

// A build is what an operator does to a read model and what happens to it, on
// the files alone.
type build struct {
	t       testing.TB
	slots   slots
	entries []eventlog.Entry
	slot    slot
	live    *store
	// beside is nil while there is none.
	beside *store
}

func openBuild(t testing.TB, dir string, entries []eventlog.Entry) *build {
	t.Helper()
	b := &build{t: t, entries: entries, slots: slots{dir: dir, stream: stream, model: partitionModel(), logger: quiet()}}
	b.open()
	return b
}

func (b *build) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *build) open() {
	b.t.Helper()
	var err error
	b.live, b.slot, err = b.slots.openLive(b.t.Context())
	b.must(err)
	b.beside = nil
	if _, err := os.Stat(b.slots.path(b.slot.other())); !os.IsNotExist(err) {
		b.t.Fatalf("what is not live was left: %v", err)
	}
}

func (b *build) fold(s *store, n int) {
	b.t.Helper()
	from := int(s.position().seq)
	b.must(s.fold(b.t.Context(), b.entries[from:min(from+n, len(b.entries))]))
}

func (b *build) rebuild() {
	b.t.Helper()
	if b.beside != nil {
		return
	}
	b.must(b.slots.remove(b.slot.other()))
	var err error
	b.beside, err = b.slots.open(b.t.Context(), b.slot.other())
	b.must(err)
}

func (b *build) swap() {
	b.t.Helper()
	if b.beside == nil || b.beside.position().seq < b.live.position().seq {
		return
	}
	b.must(b.slots.setLive(b.slot.other()))
	b.live, b.beside, b.slot = b.beside, b.live, b.slot.other()
}

func (b *build) drop() {
	b.t.Helper()
	if b.beside != nil {
		b.must(b.beside.close())
		b.must(b.slots.remove(b.slot.other()))
		b.beside = nil
	}
}

func (b *build) close() {
	_ = b.live.close()
	if b.beside != nil {
		_ = b.beside.close()
	}
}

// crash goes on with the files as they are now, and what else may lie there when
// it ends in the middle of something.
func (b *build) crash(middle int) {
	b.t.Helper()
	at := b.live.position()
	image := b.t.TempDir()
	b.must(os.CopyFS(image, os.DirFS(b.slots.dir)))
	b.close()
	b.slots.dir = image
	switch middle {
	case 1: // of a switch
		b.must(os.WriteFile(b.slots.marker()+".new", nil, 0o600))
	case 2: // of a drop
		_ = os.Remove(b.slots.path(b.slot.other()))
	case 3: // of a rebuild
		b.must(os.WriteFile(b.slots.path(b.slot.other()), []byte("half a page"), 0o600))
	}
	b.open()
	if b.live.position() != at {
		b.t.Fatalf("position %d after a crash at %d", b.live.position().seq, at.seq)
	}
}

// TestRebuildsAndCrashesChangeNothing is I6 with rebuilds: whatever was folded,
// built, switched to, dropped and cut short, the rows are those of a fresh replay.
func TestRebuildsAndCrashesChangeNothing(t *testing.T) {
	t.Parallel()
	entries := partitionLog(31, 100)
	want := replayed(t, entries)
	rapid.Check(t, func(rt *rapid.T) {
		b := openBuild(t, t.TempDir(), entries)
		defer b.close()
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			switch rapid.IntRange(0, 6).Draw(rt, "step") {
			case 0, 1:
				b.fold(b.live, rapid.IntRange(1, 60).Draw(rt, "batch"))
			case 2:
				b.rebuild()
			case 3:
				if b.beside != nil {
					b.fold(b.beside, rapid.IntRange(1, 120).Draw(rt, "batch"))
				}
			case 4:
				b.swap()
			case 5:
				b.drop()
			case 6:
				b.crash(rapid.IntRange(0, 3).Draw(rt, "middle"))
			}
		}
		b.fold(b.live, len(entries))
		if got := stateHash(t, b.live); got != want {
			rt.Fatalf("state hash %x, a fresh replay has %x", got, want)
		}
	})
}

// TestMarkers opens what markers may name.
func TestMarkers(t *testing.T) {
	for text, want := range map[string]slot{"1\n": firstSlot, "2\n": secondSlot, "": firstSlot, "3": firstSlot} {
		s := slots{dir: t.TempDir(), stream: stream, model: partitionModel(), logger: quiet()}
		if err := os.WriteFile(s.marker(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		opened, got, err := s.openLive(t.Context())
		if err != nil || got != want {
			t.Errorf("%q: slot %d, %v", text, got, err)
			continue
		}
		if opened.path != s.path(want) {
			t.Errorf("%q: %s", text, opened.path)
		}
		_ = opened.close()
	}
}

// A switch that failed half way may have written the marker. What it then names
// is not deleted under it.
func TestDropAfterHalfASwitch(t *testing.T) {
	b := openBuild(t, t.TempDir(), partitionLog(5, 50))
	b.fold(b.live, 50)
	b.rebuild()
	b.must(b.slots.setLive(b.slot.other()))
	b.drop()
	b.close()
	b.open()
	if b.live.position().seq != 50 || b.slot != firstSlot {
		t.Errorf("slot %d at %d", b.slot, b.live.position().seq)
	}
	b.close()
}

const buildLength = 600

// TestKilledWhileRebuilding kills a process that folds, builds, switches and
// drops, again and again, and lets the next one go on.
func TestKilledWhileRebuilding(t *testing.T) {
	if dir := os.Getenv(crashDir); dir != "" {
		rebuildInChild(t, dir)
		return
	}
	t.Parallel()
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	entries := partitionLog(11, buildLength)
	for range 3 {
		killInTheMiddle(t, exe, dir)
		b := openBuild(t, dir, entries)
		at := b.live.position().seq
		if stateHash(t, b.live) != replayed(t, entries[:at]) {
			t.Errorf("the rows at %d are not those of a fresh replay", at)
		}
		b.close()
	}
	if _, err := os.Stat(filepath.Join(dir, stream+".live")); err != nil {
		t.Errorf("no child has switched: %v", err)
	}
}

func killInTheMiddle(t *testing.T, exe, dir string) {
	t.Helper()
	child := exec.CommandContext(t.Context(), exe, "-test.run=^TestKilledWhileRebuilding$")
	child.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range 2 + rand.IntN(40) {
		if !lines.Scan() {
			t.Fatal("the child has ended")
		}
	}
	_ = child.Process.Kill() // in the middle of what comes behind the line
	_ = child.Wait()
}

// rebuildInChild prints a line for every step, for ever.
func rebuildInChild(t *testing.T, dir string) {
	b := openBuild(t, dir, partitionLog(11, buildLength))
	say := func(what string) { _, _ = fmt.Fprintln(os.Stdout, what, b.live.position().seq) }
	for {
		b.fold(b.live, 20)
		say("folded")
		b.rebuild()
		say("begun")
		for b.beside.position().seq < b.live.position().seq {
			b.fold(b.beside, 200)
			say("built")
		}
		b.swap()
		say("switched")
		b.drop()
		say("dropped")
	}
}
