package api_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

// steppingReader steps a clock when a grant is read: after the client was
// authenticated by a clock that was right, and before anything is decided.
type steppingReader struct {
	projector.Reader

	step atomic.Int64
	off  atomic.Int64
}

func (r *steppingReader) Grant(ctx context.Context, id events.GrantID) (fold.Grant, error) {
	r.off.Store(r.step.Load())
	return r.Reader.Grant(ctx, id)
}

func (r *steppingReader) now() time.Time {
	return time.Now().Round(0).Add(time.Duration(r.off.Load()))
}

// TestClockIsSteppedInMidRequest steps the clock forth within one request. By that
// clock a code that comes again is a thief's, and one that is fresh has expired.
func TestClockIsSteppedInMidRequest(t *testing.T) {
	t.Parallel()
	reader := &steppingReader{}
	node := embeddedtest.Single(t)
	// The read models are those of another process.
	other := apitest.Start(t, node.Conn(), apitest.Options{})
	reader.Reader = other.Local
	r := apitest.Start(t, node.Conn(), apitest.Options{Reader: reader, Clock: reader.now})
	other.Seed(t)
	waitKnown(t, r, apitest.DemoWeb)
	// And so are the codes: what a replica wrote itself it does not read.
	code, fresh := other.Login(t, apitest.DemoWeb, "read offline_access"), other.Login(t, apitest.DemoWeb, "read offline_access")
	tokens := r.Exchange(t, apitest.DemoWeb, code)
	if tokens.Status != http.StatusOK {
		t.Fatalf("exchange: %d %s", tokens.Status, tokens.Body)
	}
	for name, code := range map[string]string{"a code that comes again": code, "a fresh code": fresh} {
		reader.step.Store(int64(24 * time.Hour))
		if a := r.Exchange(t, apitest.DemoWeb, code); a.Status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
		reader.step.Store(0)
		reader.off.Store(0)
		embeddedtest.Eventually(t, "the clock to be believed again", func() bool {
			return r.Token(t, apitest.DemoService, "grant_type", "client_credentials").Status == http.StatusOK
		})
	}
	if a := r.Refresh(t, apitest.DemoWeb, tokens.Text("refresh_token")); a.Status != http.StatusOK {
		t.Errorf("an innocent grant: %d %s", a.Status, a.Body)
	}
	if a := r.Exchange(t, apitest.DemoWeb, fresh); a.Status != http.StatusOK {
		t.Errorf("a fresh code: %d %s", a.Status, a.Body)
	}
}
