package eventlog_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// writers append chains of events, and note what they were told.
type writers struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	acked  map[string]uint64
	lost   map[string]bool
	failed error
}

// startWriters starts n of them, each with a log of its own.
func startWriters(t testing.TB, n int, open func() *eventlog.Log) *writers {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &writers{cancel: cancel, acked: map[string]uint64{}, lost: map[string]bool{}}
	for range n {
		l := open()
		w.done.Go(func() { w.write(ctx, l) })
	}
	t.Cleanup(w.stop)
	return w
}

func (w *writers) stop() {
	w.cancel()
	w.done.Wait()
}

// write opens grants, and races itself on each: of two rotations of one state
// only one may be acknowledged.
func (w *writers) write(ctx context.Context, l *eventlog.Log) {
	for ctx.Err() == nil {
		g := newGrant()
		seq, ok := w.append(ctx, l, eventlog.Unit{Event: opened(g)})
		if !ok {
			continue
		}
		var racing sync.WaitGroup
		for gen := range uint32(2) {
			racing.Go(func() { w.append(ctx, l, eventlog.Unit{Event: rotated(g, gen), Expect: seq}) })
		}
		racing.Wait()
		w.append(ctx, l, eventlog.Unit{Event: tick()})
	}
}

func (w *writers) append(ctx context.Context, l *eventlog.Log, u eventlog.Unit) (uint64, bool) {
	r, err := l.Append(ctx, u)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		w.acked[u.Event.ID] = r.Seq
	case errors.Is(err, eventlog.ErrConflict):
		w.lost[u.Event.ID] = true
	case !errors.Is(err, eventlog.ErrUnsettled) && ctx.Err() == nil:
		w.failed = errors.Join(w.failed, err)
	}
	return r.Seq, err == nil
}

// acknowledges waits until n more appends are acknowledged.
func (w *writers) acknowledges(t testing.TB, n int) {
	t.Helper()
	count := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.acked)
	}
	from := count()
	eventually(t, "appends are acknowledged", func() bool { return count() >= from+n })
}

// check compares what the writers were told with the whole log.
func (w *writers) check(t testing.TB, log []eventlog.Entry) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed != nil {
		t.Error(w.failed)
	}
	checkUnbroken(t, log, 1)
	at := map[string]uint64{}
	rotations := map[string]int{}
	for _, en := range log {
		r, err := en.Recorded()
		if err != nil {
			t.Fatal(err)
		}
		if first, ok := at[r.ID]; ok {
			t.Errorf("event %s is at %d and at %d", r.ID, first, r.Seq)
		}
		at[r.ID] = r.Seq
		if w.lost[r.ID] {
			t.Errorf("event %s was reported lost and is at %d", r.ID, r.Seq)
		}
		if _, ok := r.Fact.(events.RefreshTokenRotated); ok {
			if rotations[r.Subject.ID()]++; rotations[r.Subject.ID()] > 1 {
				t.Errorf("grant %s has two successors of one state", r.Subject.ID())
			}
		}
	}
	for id, seq := range w.acked {
		if at[id] != seq {
			t.Errorf("event %s was acknowledged at %d and is at %d", id, seq, at[id])
		}
	}
	t.Logf("%d events, %d acknowledged, %d lost a race", len(log), len(w.acked), len(w.lost))
}

func splitWords(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ';' })
}
