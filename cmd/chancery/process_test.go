package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asProgram makes the test binary the program itself. It is no setting, so that the
// processes of chancery bench have it too.
const asProgram = "TEST_AS_CHANCERY"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// launch starts the program and waits until it says that it serves. Lines
// of its log follow on the channel.
func launch(t *testing.T, args ...string) (*exec.Cmd, <-chan string) {
	t.Helper()
	return launchWith(t, nil, args...)
}

// launchWith is launch with more in the environment.
func launchWith(t *testing.T, env []string, args ...string) (*exec.Cmd, <-chan string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			lines <- s.Text()
		}
	}()
	return cmd, lines
}

// field waits for the line of the log that says serving, and finds a field.
func field(t *testing.T, lines <-chan string, name string) string {
	t.Helper()
	for line := range lines {
		if value, ok := logField(line, name); ok && strings.Contains(line, "msg=serving") {
			return value
		}
	}
	t.Fatal("the process ended before it served")
	return ""
}

// logField finds a field in a line of the log.
func logField(line, name string) (string, bool) {
	_, rest, ok := strings.Cut(line, " "+name+"=")
	value, _, _ := strings.Cut(rest, " ")
	return value, ok
}

func TestProcessStopsInOrder(t *testing.T) {
	cmd, lines := launch(t, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data", t.TempDir())
	admin := field(t, lines, "admin")
	resp, err := http.Get(admin + "/health/ready")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("ready: %s", resp.Status)
	}
	began := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range lines { // until it closes its end
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("SIGTERM ended it with %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestProcessFailsWithoutServers(t *testing.T) {
	cmd, lines := launch(t, "projector", "--nats-url", "nats://127.0.0.1:1", "--data", t.TempDir())
	for range lines {
	}
	if err := cmd.Wait(); err == nil {
		t.Error("a process without servers ended with status 0")
	}
}
