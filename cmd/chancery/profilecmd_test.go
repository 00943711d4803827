package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
)

// TestProfile writes a new file, and leaves none of what has failed.
func TestProfile(t *testing.T) {
	r := apitest.Single(t, apitest.Options{OwnIssuer: true})
	file := filepath.Join(t.TempDir(), "file.pprof")
	profile := func(key string, args ...string) (string, int) {
		args = append([]string{"profile", "-o", file, "--admin-url", r.AdminURL, "--admin-key-file", writeFile(t, "admin-key", key)}, args...)
		_, errs, status := chancery(t, args...)
		return errs, status
	}
	for want, args := range map[string][]string{
		"as it is at one moment": {"heap", "--for", "2s"},
		"whole seconds":          {"--for", "1500ms"},
	} {
		if errs, status := profile(apitest.AdminKey, args...); status != exitFailure || !strings.Contains(errs, want) {
			t.Errorf("status %d, want %q: %s", status, want, errs)
		}
	}
	if errs, status := profile("another-key", "heap"); status != exitFailure {
		t.Errorf("with another key: status %d: %s", status, errs)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("it left a file: %v", err)
	}
	if errs, status := profile(apitest.AdminKey, "heap"); status != exitOK {
		t.Errorf("status %d: %s", status, errs)
	}
	before := read(t, file)
	if errs, status := profile(apitest.AdminKey, "heap"); status != exitFailure || !strings.Contains(errs, "exists") {
		t.Errorf("where there is a file: status %d: %s", status, errs)
	}
	if read(t, file) != before || before == "" {
		t.Error("the file of before is another")
	}
}
