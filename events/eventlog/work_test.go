package eventlog_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events/eventlog"
)

// A bench counts what workers were handed.
type bench struct {
	mu   sync.Mutex
	done map[uint64]int
	last map[uint64]uint64
}

func newBench() *bench { return &bench{done: map[uint64]int{}, last: map[uint64]uint64{}} }

func (b *bench) note(j eventlog.Job) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done[j.Seq]++
	b.last[j.Seq] = j.Attempt
	return b.done[j.Seq]
}

func (b *bench) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.done)
}

// work works on a queue until stop.
func work(t *testing.T, l *eventlog.Log, do func(context.Context, eventlog.Job) time.Duration) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	q := eventlog.Queue{Name: "test", Stream: partition, Subjects: []string{string(realm.RevokedSubject(0))}, Workers: 4}
	go func() { ended <- l.Work(ctx, q, do) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestWork hands out the entries of its subjects, those that are put off again,
// and what one worker leaves undone to another.
func TestWork(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, e env) {
		l := e.open(t)
		const jobs = 20
		var first uint64
		for n := range jobs {
			mustAppend(t, l, eventlog.Unit{Event: opened(newGrant())})
			if seq := mustAppend(t, l, eventlog.Unit{Event: tick()}); n == 0 {
				first = seq
			}
		}
		b := newBench()
		held := make(chan struct{}, jobs)
		stop := work(t, l, func(ctx context.Context, j eventlog.Job) time.Duration {
			switch {
			case j.Seq == first: // until it is stopped
				held <- struct{}{}
				<-ctx.Done()
				return time.Hour
			case b.note(j) == 1:
				return time.Millisecond
			}
			return 0
		})
		t.Cleanup(stop)
		<-held
		eventually(t, "all are done but for one", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, n := range b.done {
				if n < 2 {
					return false
				}
			}
			return len(b.done) == jobs-1
		})
		stop()
		after := newBench()
		stop = work(t, l, func(_ context.Context, j eventlog.Job) time.Duration { after.note(j); return 0 })
		t.Cleanup(stop)
		seq := mustAppend(t, l, eventlog.Unit{Event: tick()})
		eventually(t, "what was left undone is done", func() bool { return after.count() == 2 })
		after.mu.Lock()
		defer after.mu.Unlock()
		if after.last[first] < 2 || after.last[seq] != 1 {
			t.Errorf("attempts %v", after.last)
		}
	})
}
