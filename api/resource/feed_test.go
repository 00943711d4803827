package resource

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/endings"
)

// TestAllEndingsTakeLongerThanPatience has a feed begin with so much that it takes
// longer than a feed may prove nothing.
func TestAllEndingsTakeLongerThanPatience(t *testing.T) {
	t.Parallel()
	const patience = 200 * time.Millisecond
	var opened int
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"revocation_feed_endpoint":%q}`, server.URL, server.URL+"/feed")
	})
	mux.HandleFunc("GET /feed", func(w http.ResponseWriter, r *http.Request) {
		opened++
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 10 {
			e := endings.Entry{Kind: endings.Token, ID: endings.DigestOf(endings.Token, fmt.Sprint(i)), Until: time.Now().Unix() + 60}
			_ = endings.WriteEvent(w, endings.Ended, "", []endings.Entry{e})
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(patience / 4):
			case <-r.Context().Done():
				return
			}
		}
		_ = endings.WriteEvent(w, endings.Fresh, "place", endings.Mark{AsOf: -1})
	})
	f := newFeed(newAuthority(Config{Issuer: server.URL}), Config{Logger: slog.New(slog.DiscardHandler)}, func(endings.Digest) {})
	f.patience = patience
	if _, err := f.follow(t.Context()); f.lastID != "place" || f.set.Len() != 10 || opened != 1 {
		t.Errorf("%d endings, as of %q, after %d attempts: %v", f.set.Len(), f.lastID, opened, err)
	}
}
