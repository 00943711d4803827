package api_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
)

// TestProfiles reads each kind. Two CPU profiles at once are not possible.
func TestProfiles(t *testing.T) {
	r := single(t) // not parallel: a process has one profiler
	type answered struct{ status int }
	both := make(chan answered, 2)
	for range 2 {
		go func() { both <- answered{r.Admin(t, http.MethodGet, "/profiles/cpu?seconds=1", nil).Status} }()
	}
	if a, b := <-both, <-both; a.status+b.status != http.StatusOK+http.StatusConflict {
		t.Errorf("two at once: %d and %d", a.status, b.status)
	}
	for _, path := range []string{"cpu?seconds=1", "heap", "allocs", "goroutine"} {
		a := wantOK(t, r.Admin(t, http.MethodGet, "/profiles/"+path, nil))
		z, err := gzip.NewReader(bytes.NewReader(a.Body))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		text, err := io.ReadAll(z)
		if err != nil || len(text) == 0 {
			t.Errorf("%s: %d bytes, %v", path, len(text), err)
		}
		if bytes.Contains(text, []byte(apitest.DemoWeb.Secret)) {
			t.Errorf("%s has a secret", path)
		}
	}
	for path, want := range map[string]int{"cpu?seconds=61": http.StatusBadRequest, "cpu?for=1": http.StatusBadRequest, "cmdline": http.StatusNotFound} {
		if a := r.Admin(t, http.MethodGet, "/profiles/"+path, nil); a.Status != want {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
}
