package api_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

// countingReader counts the grants that are read.
type countingReader struct {
	projector.Reader
	grants atomic.Int64
}

func (r *countingReader) Grant(ctx context.Context, id events.GrantID) (fold.Grant, error) {
	r.grants.Add(1)
	return r.Reader.Grant(ctx, id)
}

// TestWrittenIsNotRead refreshes where the grant was written a moment ago, which
// needs no read, however far the read model is behind. What another replica has
// written in between is not missed.
func TestWrittenIsNotRead(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	var gate apitest.Gate
	other := apitest.Start(t, node.Conn(), apitest.Options{Gate: gate.Pass})
	other.Seed(t)
	reader := &countingReader{Reader: other.Local}
	r := apitest.Start(t, node.Conn(), apitest.Options{Reader: reader})
	client := register(t, other, retryWindow(600))
	other.WaitFolded(t)
	gate.Shut()
	defer gate.Open()

	tokens := newTokens(t, r, client)
	before := reader.grants.Load() // of the replica's start
	for range 5 {
		tokens = wantOK(t, refreshed(t, r, client, tokens.Text("refresh_token")))
	}
	if n := reader.grants.Load() - before; n > 2 { // after which a slow machine has to
		t.Errorf("%d times the grant was read to go on with what was written here", n)
	}
	before = reader.grants.Load()
	// The other one has not folded it, and finds it on the log.
	there := wantOK(t, refreshed(t, other, client, tokens.Text("refresh_token")))
	if again := wantOK(t, refreshed(t, r, client, tokens.Text("refresh_token"))); again.Text("refresh_token") != there.Text("refresh_token") {
		t.Error("a retry at the replica that wrote before got another successor")
	}
	here := wantOK(t, refreshed(t, r, client, there.Text("refresh_token")))
	revoke(t, other, client, here.Text("refresh_token"))
	wantError(t, refreshed(t, r, client, here.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	if reader.grants.Load() == before {
		t.Error("what another replica wrote was not looked for")
	}
}
