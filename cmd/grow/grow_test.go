package grow

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFiles that are there are left as they are, and none is left of what has failed.
func TestFiles(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nothing is made
	dir := t.TempDir()
	cfg := Config{Dir: filepath.Join(dir, "data"), Grants: 1, Partitions: 1, TokensFile: filepath.Join(dir, "tokens"), SecretFile: filepath.Join(dir, "secret")}
	if err := Run(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for _, path := range []string{cfg.TokensFile, cfg.SecretFile} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}

	if err := os.WriteFile(cfg.SecretFile, []byte("of somebody else"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Dir = filepath.Join(dir, "other")
	if err := Run(t.Context(), cfg); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(cfg.SecretFile); err != nil || string(text) != "of somebody else" {
		t.Errorf("it is %q now, %v", text, err)
	}
	for _, path := range []string{cfg.TokensFile, cfg.Dir} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}

	cfg.SecretFile = dir + "/./tokens"
	if err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "in one file") {
		t.Errorf("got %v", err)
	}
}
