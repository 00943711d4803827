package projector

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
)

// crashDir names the directory of a child's read model, in its environment.
const crashDir = "CHANCERY_TEST_CRASH_DIR"

const crashLength = 3000

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
	for !runChild(t, exe, dir) {
		kills++
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

// runChild runs a child that is killed after some of its batches, while it
// folds on. It reports whether the child was done before that.
func runChild(t *testing.T, exe, dir string) (done bool) {
	t.Helper()
	child := exec.CommandContext(t.Context(), exe, "-test.run=^TestKilledInTheMiddle$")
	child.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	folded := lines.Scan()
	for range rand.IntN(100) {
		lines.Scan()
	}
	_ = child.Process.Kill() // it may be done
	err = child.Wait()
	if err != nil && !folded {
		t.Fatalf("child did not begin: %v", err)
	}
	return err == nil
}

// foldInChild prints a line for every batch.
func foldInChild(t *testing.T, dir string) {
	entries := partitionLog(11, crashLength)
	s := openTest(t, dir)
	for s.position().seq < crashLength {
		from := s.position().seq
		if err := s.fold(t.Context(), entries[from:min(from+10, crashLength)]); err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintln(os.Stdout, "folded", s.position().seq)
	}
}
