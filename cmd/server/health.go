package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
)

// health is what the admin listener answers before there is an API, and in a
// process that has none.
type health struct {
	mu sync.Mutex
	// state is why the process is not ready, or nil.
	state error
	// check is asked when state is nil.
	check func(context.Context) error
	// next answers everything once it is there.
	next http.Handler
	// admin answers what is below /admin/v1 where there is no next.
	admin http.Handler
	// metrics answers /metrics, nil if there are none.
	metrics http.Handler
}

var (
	errStarting = errors.New("starting")
	errDraining = errors.New("draining")
)

func newHealth(check func(context.Context) error) *health {
	return &health{state: errStarting, check: check}
}

// set changes the state of the process.
func (h *health) set(state error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state = state
}

// handOver lets next answer.
func (h *health) handOver(next http.Handler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next = next
}

// admit lets h answer what is below /admin/v1.
func (h *health) admit(admin http.Handler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.admin = admin
}

// show lets h answer /metrics.
func (h *health) show(metrics http.Handler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.metrics = metrics
}

// ready says what keeps the process from serving, or nil.
func (h *health) ready(ctx context.Context) error {
	h.mu.Lock()
	state := h.state
	h.mu.Unlock()
	if state != nil {
		return state
	}
	return h.check(ctx)
}

func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	next, admin, metrics := h.next, h.admin, h.metrics
	h.mu.Unlock()
	switch {
	case metrics != nil && r.URL.Path == "/metrics" && r.Method == http.MethodGet:
		metrics.ServeHTTP(w, r)
	case next != nil:
		next.ServeHTTP(w, r)
	case admin != nil && strings.HasPrefix(r.URL.Path, "/admin/v1/"):
		admin.ServeHTTP(w, r)
	case r.Method != http.MethodGet:
		http.Error(w, "not here", http.StatusNotFound)
	case r.URL.Path == "/health/live":
		_, _ = io.WriteString(w, "live\n")
	case r.URL.Path == "/health/ready":
		if err := h.ready(r.Context()); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	default:
		http.Error(w, "not here", http.StatusNotFound)
	}
}
