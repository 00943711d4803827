package eventlog

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	openTimeout = 10 * time.Second
	// openAttempt is how long one answer is waited for. A stream without a
	// leader gives none, nor does a cluster in which several replicas create one
	// stream at once to all of them.
	openAttempt = 2 * time.Second
)

// withDefaultTimeout gives ctx a deadline if it has none.
func withDefaultTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

// backoff is a growing pause with jitter, so that racers do not meet again.
type backoff struct {
	next, most time.Duration
}

// wait pauses; false means that ctx ended.
func (b *backoff) wait(ctx context.Context) bool {
	d := b.next/2 + rand.N(b.next) //nolint:gosec // jitter
	b.next = min(2*b.next, b.most)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// retry repeats do while its error may pass, each time for openAttempt at most.
func retry(ctx context.Context, do func(context.Context) error) error {
	b := backoff{next: 20 * time.Millisecond, most: 500 * time.Millisecond}
	for {
		attempt, cancel := context.WithTimeout(ctx, openAttempt)
		err := do(attempt)
		cancel()
		if err == nil || !mayPass(err) || !b.wait(ctx) {
			return err
		}
	}
}

// codeNoPeers is a cluster's answer while too few of its nodes are up to place a
// stream on.
const codeNoPeers jetstream.ErrorCode = 10005

// mayPass tells an unavailable server, which answers 503 or nothing, from one
// that has refused.
func mayPass(err error) bool {
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, context.Canceled) {
		return false
	}
	var api *jetstream.APIError
	return !errors.As(err, &api) || api.Code >= 500 || api.ErrorCode == codeNoPeers
}

// errorCode is the JetStream error code in err, or 0.
func errorCode(err error) jetstream.ErrorCode {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode
	}
	return 0
}
