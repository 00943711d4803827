package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/secret"
)

func TestGenerateEncryptionKey(t *testing.T) {
	generate := func(args ...string) (string, string, int) {
		return chancery(t, append([]string{"key", "generate-encryption-key"}, args...)...)
	}
	first, _, status := generate()
	second, _, _ := generate("named")
	if status != exitOK || first == second || !strings.HasPrefix(second, "named:") {
		t.Fatalf("status %d: %q, %q", status, first, second)
	}
	ring, err := secret.ParseRing(secret.New(first + second))
	if err != nil || ring.Active() != "named" || len(ring.IDs()) != 2 {
		t.Errorf("a file of them: %v, %v", ring.IDs(), err)
	}
	if out, errs, status := generate("not an id"); status == exitOK || out != "" || !strings.Contains(errs, "letters") {
		t.Errorf("status %d: %q %q", status, out, errs)
	}
}

// Without --yes nobody who is not asked drops a key.
func TestKeyDropAsks(t *testing.T) {
	f := &fakeAdmin{status: http.StatusOK, answer: `{"id":"mac-1","use":"mac","state":"active","grants":12}`}
	_, errs, status := f.ask(t, "key", "drop", "mac-1")
	if status == exitOK || len(f.calls) != 1 || !strings.Contains(errs, "--yes") {
		t.Errorf("status %d, %v: %s", status, f.calls, errs)
	}
}

func TestKeyRotateNeedsAKind(t *testing.T) {
	f := &fakeAdmin{status: http.StatusOK, answer: `{}`}
	if _, errs, status := f.ask(t, "key", "rotate"); status == exitOK || len(f.calls) != 0 || !strings.Contains(errs, "--all") {
		t.Errorf("status %d, %v: %s", status, f.calls, errs)
	}
}
