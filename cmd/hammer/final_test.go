package hammer

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chancery-authority/chancery/cmd/process"
)

// TestNothingWorksInTheEnd has an authority that answers 503 for ever, which
// contradicts no other promise.
func TestNothingWorksInTheEnd(t *testing.T) {
	for status, want := range map[int]int{http.StatusServiceUnavailable: 1, http.StatusOK: 0, http.StatusBadRequest: 0} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		defer s.Close()
		b := newBalancer(&Cluster{APIs: []*Service{{Process: &process.Process{Name: "api-0"}, Public: s.URL}}})
		w := newWorker(1, 0, b, newRecorder(), 0)
		w.clients, w.patience = &clients{web: &client{}, service: &client{}}, 0
		w.keep(&grant{number: 1, refresh: []string{"token"}})
		if v := w.final(t.Context()); len(v) != want || want > 0 && v[0].Name != NotRecovered {
			t.Errorf("%d: %v", status, v)
		}
		if v := CheckHistory(w.recorder.history()); status == http.StatusServiceUnavailable && len(v) > 0 {
			t.Errorf("%d: %v", status, v)
		}
	}
}
