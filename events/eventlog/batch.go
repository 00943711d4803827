package eventlog

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
)

const (
	// maxAtomic is how many messages go in one batch; the server takes 1,000.
	maxAtomic = 400
	// settledAtOnce is how many units of a batch are settled at the same time.
	settledAtOnce = 16
)

// AppendAll stores guarded units, each of another subject, many in one batch: that
// syncs once and costs about as much as one unit with a marker does. It gives the
// error of each unit, as Append would. A batch is stored whole or not at all. One
// that was refused, because of one of them, is halved, so that this one does not
// slow down the others; of one whose outcome is not known each unit is appended by
// itself, and that settles it.
func (l *Log) AppendAll(ctx context.Context, units []Unit) []error {
	errs := make([]error, len(units))
	batches := map[*stream][]*appending{}
	of := map[*appending]int{}
	for i, u := range units {
		a, err := l.newAppend(u)
		if err == nil && !a.guarded {
			err = errors.New("a plain event in a batch")
		}
		if err != nil {
			errs[i] = fmt.Errorf("append to %s: %w", u.Event.Subject, err)
			continue
		}
		of[a] = i
		batch := append(batches[a.st], a)
		if batches[a.st] = batch; 2*len(batch) >= maxAtomic {
			l.appendBatch(ctx, batch, func(a *appending, err error) { errs[of[a]] = err })
			delete(batches, a.st)
		}
	}
	for _, batch := range batches {
		l.appendBatch(ctx, batch, func(a *appending, err error) { errs[of[a]] = err })
	}
	return errs
}

// appendBatch appends units of one stream and tells the error of each.
func (l *Log) appendBatch(ctx context.Context, batch []*appending, tell func(*appending, error)) {
	if len(batch) > 1 {
		stored := l.observeBatch(ctx, batch)
		first, err := l.publishBatch(ctx, batch)
		if err == nil {
			stored(first)
			return // nil for each
		}
		if errorCode(err) == codeWrongLastSequence {
			half := len(batch) / 2
			l.appendBatch(ctx, batch[:half], tell)
			l.appendBatch(ctx, batch[half:], tell)
			return
		}
	}
	errs := make([]error, len(batch))
	var settling sync.WaitGroup
	for first := range min(settledAtOnce, len(batch)) {
		settling.Go(func() {
			for i := first; i < len(batch); i += settledAtOnce {
				_, errs[i] = l.Append(ctx, batch[i].unit)
			}
		})
	}
	settling.Wait()
	for i, a := range batch {
		tell(a, errs[i])
	}
}

// publishBatch sends a batch once, and returns where its first message is. A
// refusal means that nothing is stored; any other error leaves the outcome open.
func (l *Log) publishBatch(ctx context.Context, batch []*appending) (first uint64, err error) {
	st := batch[0].st
	if err := st.failure(); err != nil {
		return 0, err
	}
	var msgs []*nats.Msg
	for _, a := range batch {
		msgs = append(msgs, a.build()...)
	}
	known := st.high.Load()
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	k, err := l.publish(ctx, msgs)
	if err != nil {
		return 0, err
	}
	if k.first <= known {
		l.FailPartition(st.name, fmt.Errorf("sequence %d was acknowledged for a new event when %d was known to be stored", k.first, known))
		return 0, st.failure()
	}
	st.saw(k.last)
	return k.first, nil
}
