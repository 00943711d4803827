package eventlog

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Bounds for callers whose ctx has no deadline.
const (
	openTimeout = 10 * time.Second
	readTimeout = 5 * time.Second
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

// retry repeats do while its error may pass. Each try has a time of its own,
// longer than the one before: a request to a leader that has just died is not
// answered at all, nor are all of several replicas that create one stream at
// once. do must be safe to repeat.
func retry(ctx context.Context, do func(ctx context.Context) error) error {
	pause := backoff{next: 20 * time.Millisecond, most: 500 * time.Millisecond}
	for patience := attemptTimeout; ; patience *= 2 {
		attempt, cancel := context.WithTimeout(ctx, patience)
		err := do(attempt)
		cancel()
		if err == nil || !mayPass(err) || !pause.wait(ctx) {
			return err
		}
	}
}

// Codes of refusals whose HTTP-like status misleads (nats-server, errors.json).
const (
	codeNoPeers       jetstream.ErrorCode = 10005 // 400, while a cluster comes up
	codeInvalidConfig jetstream.ErrorCode = 10052 // 500, for good
	codeNotClustered  jetstream.ErrorCode = 10074 // 500, for good
)

// mayPass tells a server that is not available, or does not answer, from one
// that has refused.
func mayPass(err error) bool {
	for _, final := range []error{
		nats.ErrConnectionClosed, nats.ErrPermissionViolation, context.Canceled, jetstream.ErrKeyNotFound, jetstream.ErrInvalidKey,
		ErrNoPartition,
	} {
		if errors.Is(err, final) {
			return false
		}
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok {
		return true
	}
	switch api.ErrorCode {
	case codeNoPeers:
		return true
	case codeInvalidConfig, codeNotClustered:
		return false
	}
	return api.Code >= 500
}

// errorCode is the JetStream error code in err, or 0.
func errorCode(err error) jetstream.ErrorCode {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode
	}
	return 0
}
