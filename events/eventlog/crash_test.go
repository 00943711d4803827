package eventlog_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// crashDir tells this test binary, started by itself, to be the process that
// is killed.
const crashDir = "CHANCERY_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	fmt.Fprintln(os.Stderr, appendUntilKilled(dir))
	os.Exit(1)
}

// appendUntilKilled appends to a log in dir from several writers and prints
// the id and sequence of what was acknowledged. It ends when its standard
// input does, so that it does not outlive the test.
func appendUntilKilled(dir string) error {
	s, err := embedded.Start(embedded.Options{Dir: dir})
	if err != nil {
		return err
	}
	nc, err := s.Connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l, err := eventlog.Open(ctx, nc, eventlog.Config{Realm: realm})
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	var writing sync.WaitGroup
	for range 8 {
		writing.Go(func() {
			for ctx.Err() == nil {
				appendOneGrant(ctx, l)
			}
		})
	}
	writing.Wait()
	return ctx.Err()
}

func appendOneGrant(ctx context.Context, l *eventlog.Log) {
	g := newGrant()
	opening := opened(g)
	r, err := l.Append(ctx, eventlog.Unit{Event: opening})
	if err != nil {
		return
	}
	fmt.Fprintf(os.Stdout, "%s %d\n", opening.ID, r.Seq)
	ending := revoked(g)
	if r, err = l.Append(ctx, eventlog.Unit{Event: ending, Expect: r.Seq, Marker: marker(g)}); err == nil {
		fmt.Fprintf(os.Stdout, "%s %d\n", ending.ID, r.Seq)
	}
}

// TestKill kills a process with kill -9 in mid-load, again and again on one
// directory. What it had printed is in the log.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acked := map[string]uint64{}
	for range 3 {
		killInMidLoad(t, dir, acked)
		checkAfterCrash(t, dir, acked)
	}
}

// killInMidLoad adds to acked what was acknowledged until the kill.
func killInMidLoad(t *testing.T, dir string, acked map[string]uint64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	before := len(acked)
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // what the kill cut off was not promised
		}
		var id string
		var seq uint64
		if _, err := fmt.Sscan(line, &id, &seq); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		acked[id] = seq
		if len(acked) == before+300 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the process was not killed: %v", err)
	}
}

func checkAfterCrash(t *testing.T, dir string, acked map[string]uint64) {
	t.Helper()
	n := embeddedtest.Reopen(t, dir)
	defer n.Stop()
	nc := n.Conn()
	defer nc.Close()
	l := open(t, nc, eventlog.Config{})
	all := replay(t, l, partition, eventlog.From{})
	checkUnbroken(t, all, 1)
	at := map[string]uint64{}
	for i, en := range all {
		r, err := en.Recorded()
		if err != nil {
			t.Fatal(err)
		}
		at[r.ID] = r.Seq
		if _, ok := r.Fact.(events.GrantRevoked); ok {
			checkMarkerFollows(t, all, i)
		}
	}
	for id, seq := range acked {
		if at[id] != seq {
			t.Errorf("event %s was acknowledged at %d and is at %d", id, seq, at[id])
		}
	}
	head := uint64(len(all))
	if seq := mustAppend(t, l, eventlog.Unit{Event: tick()}); seq != head+1 {
		t.Errorf("the first append after the crash is at %d, the log ended at %d", seq, head)
	}
}

func checkMarkerFollows(t *testing.T, all []eventlog.Entry, i int) {
	t.Helper()
	if i+1 == len(all) {
		t.Fatalf("sequence %d has no marker", all[i].Seq)
	}
	r, err := all[i+1].Recorded()
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := r.Fact.(events.GrantRevocationMarked); !ok || "main.grant.0."+m.Grant.String() != all[i].Message.Subject {
		t.Errorf("sequence %d has no marker", all[i].Seq)
	}
}
