package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// TestProfiles reads each kind. Two CPU profiles at once are not possible.
func TestProfiles(t *testing.T) {
	r := single(t) // not parallel: a process has one profiler
	long, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for long.Err() == nil { // again if the other one was first
			request, err := http.NewRequestWithContext(long, http.MethodGet, r.AdminURL+"/admin/v1/profiles/cpu?seconds=60", nil)
			if err != nil {
				return
			}
			request.Header.Set("Authorization", "Bearer "+apitest.AdminKey)
			if a, err := http.DefaultClient.Do(request); err == nil {
				_, _ = io.Copy(io.Discard, a.Body) // its end is the request's
				_ = a.Body.Close()
			}
		}
	}()
	embeddedtest.Eventually(t, "the second one to be refused", func() bool {
		return r.Admin(t, http.MethodGet, "/profiles/cpu?seconds=1", nil).Status == http.StatusConflict
	})
	stop()
	<-ended
	embeddedtest.Eventually(t, "the first one to end with its request", func() bool {
		return r.Admin(t, http.MethodGet, "/profiles/cpu?seconds=1", nil).Status == http.StatusOK
	})
	for _, path := range []string{"cpu?seconds=2", "heap", "allocs", "goroutine"} {
		a := wantOK(t, r.Admin(t, http.MethodGet, "/profiles/"+path, nil))
		z, err := gzip.NewReader(bytes.NewReader(a.Body))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		text, err := io.ReadAll(z)
		if err != nil || len(text) == 0 {
			t.Errorf("%s: %d bytes, %v", path, len(text), err)
		}
	}
	for path, want := range map[string]int{"cpu?seconds=61": http.StatusBadRequest, "cpu?for=1": http.StatusBadRequest, "cmdline": http.StatusNotFound} {
		if a := r.Admin(t, http.MethodGet, "/profiles/"+path, nil); a.Status != want {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
}
