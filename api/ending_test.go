package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// TestRequestsEnd ends a request that waits for a proof which does not come: it is
// answered, long before its own time is over.
func TestRequestsEnd(t *testing.T) {
	t.Parallel()
	const bound = 4 * time.Second
	gate := &apitest.Gate{}
	r := apitest.Single(t, apitest.Options{FeedGate: gate.Pass, Settings: func(s *config.Settings) { s.FreshnessBound = bound }})
	gate.Shut()
	t.Cleanup(gate.Open)
	embeddedtest.Eventually(t, "a request that has to wait", func() bool { // what was proved before does for a while
		asked := time.Now()
		ending := time.AfterFunc(500*time.Millisecond, r.Server.EndRequests)
		a := r.Token(t, apitest.DemoService, "grant_type", "client_credentials")
		if ending.Stop() {
			return false
		}
		if took := time.Since(asked); a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || took > bound/2 {
			t.Errorf("%d %s after %v", a.Status, a.Body, took)
		}
		return true
	})
}
