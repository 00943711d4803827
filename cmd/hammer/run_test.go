package hammer

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// program builds the binary that is hammered.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chancery")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, "github.com/chancery-authority/chancery/cmd/chancery")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// TestHammer is a short run. The long one is the command: chancery hammer.
func TestHammer(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	cfg := Config{
		Program: program(t), Dir: t.TempDir(), Duration: 20 * time.Second, Seed: 1,
		Faults: []string{KillLeader, KillAPI, CutProjector, ClockStep}, APIs: 2, Projectors: 2, Workers: 2, Out: &said,
	}
	r, err := Run(t.Context(), cfg)
	if err == nil {
		err = r.Write(&said)
	}
	t.Logf("%s", said.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range r.Violations {
		t.Errorf("%s: %s", v.Name, v.Detail)
	}
	// Without these it has shown nothing.
	if len(r.Faults) == 0 || r.Acknowledged < 100 || r.Grants < 10 || r.Events < r.Grants || r.Refusal.N == 0 {
		t.Errorf("%d faults, %d acknowledged, %d grants, %d events, %d refusals", len(r.Faults), r.Acknowledged, r.Grants, r.Events, r.Refusal.N)
	}
	for _, name := range []string{"report.json", "history.ndjson"} {
		if _, err := os.Stat(filepath.Join(cfg.Dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	occupied := t.TempDir()
	if err := os.WriteFile(filepath.Join(occupied, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := Config{Dir: t.TempDir(), APIs: 1, Projectors: 1, Workers: 1}
	for want, change := range map[string]func(*Config){
		"no fault":     func(c *Config) { c.Faults = []string{"earthquake"} },
		"at least":     func(c *Config) { c.APIs = 0 },
		"is not empty": func(c *Config) { c.Dir = occupied },
	} {
		cfg := good
		change(&cfg)
		if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
