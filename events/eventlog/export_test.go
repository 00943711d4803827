package eventlog

import (
	"context"
	"sync"
)

// AtOnce and MaxWaiting bound who is on their way alone, and who waits.
const (
	AtOnce     = atOnce
	MaxWaiting = maxWaiting
)

// AppendGrouped sends units of one stream as one batch, as a committer does with
// those that wait.
func (l *Log) AppendGrouped(ctx context.Context, units []Unit) (seqs []uint64, errs []error) {
	seqs, errs = make([]uint64, len(units)), make([]error, len(units))
	batch := make([]*waiter, len(units))
	for i, u := range units {
		a, err := l.newAppend(u)
		if err != nil {
			panic(err)
		}
		batch[i] = &waiter{a, make(chan outcome, 1)}
	}
	c := &batch[0].st.committer
	c.mu.Lock()
	c.batched = true
	c.mu.Unlock()
	var waiting sync.WaitGroup
	for i, w := range batch {
		waiting.Go(func() { seqs[i], errs[i] = c.goOn(ctx, w, <-w.woken) })
	}
	c.commit(batch)
	waiting.Wait()
	return seqs, errs
}
