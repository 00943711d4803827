package bench

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/cmd/process"
)

// TestChildren that have ended are named with their log, and those that are started
// again are so a bounded number of times.
func TestChildren(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	made := func(name string, once bool) *child {
		return &child{once: once, Process: &process.Process{Name: name, Log: filepath.Join(dir, name+".log"), Argv: []string{"false"}}}
	}
	a := &authority{processes: []*child{made("api-0", false)}}
	if err := a.restart(t.Context()); err != nil || a.processes[0].starts != 1 {
		t.Errorf("%v after %d starts", err, a.processes[0].starts)
	}
	if err := a.stop(); err != nil {
		t.Error(err)
	}
	if err := a.died(); err == nil || !strings.Contains(err.Error(), "api-0.log") {
		t.Errorf("got %v", err)
	}
	a.processes[0].starts = maxStarts
	for _, p := range []*authority{a, {processes: []*child{made("serve", true)}}} {
		if err := process.Eventually(t.Context(), "it", p.restart); err == nil || !strings.Contains(err.Error(), ".log") {
			t.Errorf("got %v", err)
		}
	}
}

// TestEventsAreCounted also where a measurement has failed.
func TestEventsAreCounted(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	why := errors.New("the disk is full")
	cfg := short(Target{
		Issuer: f.URL, Client: Client{"client", secret.New("x")}, RefreshTokens: []string{"a", "b"}, Admin: noEvents,
	}, Refresh, Introspection)
	cfg.KeepTokens = func([]string) error { return why }
	report, err := Run(t.Context(), cfg)
	if !errors.Is(err, why) || len(report.Events) != 1 || len(report.Runs) != 1 {
		t.Errorf("%v, %+v", err, report)
	}
}
