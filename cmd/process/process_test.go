//go:build unix

package process

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestProcess starts, stops and starts again a program that goes on for as long as its
// stdin is open. Settings of this process are not for it.
func TestProcess(t *testing.T) {
	t.Setenv("CHANCERY_REALM", "other")
	t.Setenv("OTEL_SERVICE_NAME", "other")
	p := &Process{Name: "sh", Log: filepath.Join(t.TempDir(), "sh.log"), Argv: []string{"sh", "-c", "echo realm=$CHANCERY_REALM$OTEL_SERVICE_NAME; read line"}}
	if p.Running() || p.PID() != 0 {
		t.Error("it runs before it was started")
	}
	for i := range 2 {
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.Start(t.Context()); err == nil {
			t.Error("it was started twice")
		}
		pid := p.PID()
		if !p.Running() || pid == 0 {
			t.Fatal("it does not run")
		}
		// A terminal's signals are for the group that this process is in.
		if group, err := syscall.Getpgid(pid); err != nil || group != pid {
			t.Errorf("it is in the group %d, %v", group, err)
		}
		err := Eventually(t.Context(), "it to say something", func(context.Context) error {
			text, err := os.ReadFile(p.Log)
			if err == nil && strings.Count(string(text), "\n") != i+1 {
				err = fmt.Errorf("it said %q", text)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		if p.Running() || p.PID() != 0 {
			t.Error("it runs after it was stopped")
		}
	}
	text, err := os.ReadFile(p.Log)
	if want := strings.Repeat("realm=\n", 2); err != nil || string(text) != want {
		t.Errorf("it said %q, %v", text, err)
	}
	if err := p.Stop(); err != nil {
		t.Errorf("stopping what does not run: %v", err)
	}
}
