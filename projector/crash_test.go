package projector

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// crashDir names the directory of a child's read model, in its environment.
const crashDir = "CHANCERY_TEST_CRASH_DIR"

const crashLength = 6000

// TestKilledInTheMiddle kills a process that folds, again and again, and lets
// the next one go on. In the end the rows are those of a fresh replay.
func TestKilledInTheMiddle(t *testing.T) {
	if dir := os.Getenv(crashDir); dir != "" {
		foldInChild(t, dir)
		return
	}
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	kills := 0
	deadline := time.Now().Add(embeddedtest.Patience)
	for done := false; !done; {
		if time.Now().After(deadline) {
			t.Fatal("the children do not get anywhere")
		}
		child := exec.CommandContext(t.Context(), exe, "-test.run=^TestKilledInTheMiddle$")
		child.Env = append(os.Environ(), crashDir+"="+dir)
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(50*time.Millisecond+rand.N(150*time.Millisecond), func() { _ = child.Process.Kill() })
		done = child.Wait() == nil
		if kill.Stop(); !done {
			kills++
		}
	}
	s := openTest(t, dir)
	if seq := s.position().seq; seq != crashLength {
		t.Fatalf("position %d, want %d", seq, crashLength)
	}
	if stateHash(t, s) != replayed(t, partitionLog(11, crashLength)) {
		t.Errorf("after %d kills the rows are not those of a fresh replay", kills)
	}
	if kills == 0 {
		t.Error("no child was killed in the middle")
	}
}

func foldInChild(t *testing.T, dir string) {
	entries := partitionLog(11, crashLength)
	s := openTest(t, dir)
	for s.position().seq < crashLength {
		from := s.position().seq
		if err := s.fold(t.Context(), entries[from:min(from+7, crashLength)]); err != nil {
			t.Fatal(err)
		}
	}
}
