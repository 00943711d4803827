package apitest

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// A Listener is where a client is told of the ends of sessions (OpenID Connect
// Back-Channel Logout 1.0 §2.5). It answers with 200, until a test says
// otherwise.
type Listener struct {
	testing.TB
	// URL is the client's backchannel_logout_uri.
	URL string

	mu      sync.Mutex
	answer  http.HandlerFunc
	arrived int
	tokens  []string
}

// NewListener listens until the test ends.
func NewListener(t testing.TB) *Listener {
	t.Helper()
	l := &Listener{TB: t}
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	l.URL = server.URL + "/logout"
	return l
}

// Answer makes it answer in another way, or take what it is told again if nil.
func (l *Listener) Answer(h http.HandlerFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = h
}

// ServeHTTP is how it is told.
func (l *Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.arrived++
	answer := l.answer
	l.mu.Unlock()
	err := r.ParseForm() // to its end, or nobody would notice that the caller has gone
	if answer != nil {
		answer(w, r)
		return
	}
	if err != nil || r.Method != http.MethodPost || len(r.PostForm) != 1 || r.URL.Path != "/logout" {
		l.Errorf("told by %s of %s: %v", r.Method, r.URL, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tokens = append(l.tokens, r.PostForm.Get("logout_token"))
}

// Arrived is how many requests have come.
func (l *Listener) Arrived() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.arrived
}

// Tokens are the logout tokens that it took.
func (l *Listener) Tokens() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tokens
}

// Told waits until it has taken that many logout tokens, and gives them.
func (l *Listener) Told(n int) []string {
	l.Helper()
	embeddedtest.Eventually(l.TB, "a client is told of the end of a session", func() bool { return len(l.Tokens()) >= n })
	return l.Tokens()
}
