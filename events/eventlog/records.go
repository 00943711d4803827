package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events/embedded/snapshot"
)

// recordBatch is how many records are asked for at a time, and recordWait for how
// long. Who delivers none for isolatedFor, although there are some, is cut off.
const (
	recordBatch = 500
	recordWait  = 200 * time.Millisecond
	isolatedFor = 30 * time.Second
)

// errNoRecord is returned while a bucket gives none that it should have.
var errNoRecord = errors.New("a record that is in the bucket does not arrive")

// bucketPrefix begins the names of the streams of a realm's buckets.
const bucketPrefix = "KV_"

// Buckets are the names of the realm's buckets, sorted.
func (l *Log) Buckets(ctx context.Context) ([]string, error) {
	names, err := streamNames(ctx, l.js)
	if err != nil {
		return nil, fmt.Errorf("list buckets: %w", err)
	}
	var all []string
	for _, name := range names {
		if bucket, ok := strings.CutPrefix(name, bucketPrefix); ok && strings.HasPrefix(bucket, l.bucketName("")) {
			all = append(all, bucket)
		}
	}
	return all, nil
}

func streamNames(ctx context.Context, js jetstream.JetStream) (all []string, err error) {
	err = retry(ctx, func(ctx context.Context) error {
		all = nil
		found := js.StreamNames(ctx)
		for name := range found.Name() {
			all = append(all, name)
		}
		return found.Err()
	})
	slices.Sort(all)
	return all, err
}

// Records hands over what one of Buckets has, and before it how it is configured.
// What changes meanwhile comes as it was or as it is then, or both, the newer one
// last; nothing is left out that was there all the time.
func (l *Log) Records(ctx context.Context, bucket string, begin func(jetstream.StreamConfig) error, each func(snapshot.Message) error) error {
	var s jetstream.Stream
	err := retry(ctx, func(ctx context.Context) (err error) {
		s, err = l.js.Stream(ctx, bucketPrefix+bucket)
		return err
	})
	if err == nil {
		err = begin(s.CachedInfo().Config)
	}
	if err == nil && s.CachedInfo().State.Msgs > 0 {
		err = readRecords(ctx, s, each)
	}
	if err != nil {
		return fmt.Errorf("read bucket %s: %w", bucket, err)
	}
	return nil
}

// readRecords reads until nothing is left: a record that another has taken the
// place of before it was read comes behind as that other.
//
// Who delivers may be a replica that lags. So it is asked on, until it has come to
// where the leader was in the beginning, or the leader has nothing more.
func readRecords(ctx context.Context, s jetstream.Stream, each func(snapshot.Message) error) error {
	c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return err
	}
	r := recordReader{stream: s, end: s.CachedInfo().State.LastSeq, each: each, moved: time.Now()}
	for {
		batch, err := c.Fetch(recordBatch, jetstream.FetchMaxWait(recordWait))
		if err != nil {
			return err
		}
		for m := range batch.Messages() {
			if err := r.take(m); err != nil {
				return err
			}
		}
		done, err := r.atEnd(ctx)
		if err = errors.Join(err, batch.Error(), ctx.Err()); err != nil || done {
			return err
		}
		if time.Since(r.moved) > isolatedFor {
			return errNoRecord
		}
	}
}

// recordReader is how far a bucket was read.
type recordReader struct {
	stream jetstream.Stream
	// end is where the leader was in the beginning.
	end  uint64
	each func(snapshot.Message) error
	// last is the newest record read, of pending ones behind it.
	last, pending uint64
	moved         time.Time
}

func (r *recordReader) take(m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	r.last, r.pending, r.moved = meta.Sequence.Stream, meta.NumPending, time.Now()
	return r.each(snapshot.Message{
		Seq: meta.Sequence.Stream, Stored: meta.Timestamp, Subject: m.Subject(), Header: m.Headers(), Data: m.Data(),
	})
}

// atEnd reports whether nothing is left that was there in the beginning.
func (r *recordReader) atEnd(ctx context.Context) (bool, error) {
	if r.pending > 0 {
		return false, nil
	}
	if r.last >= r.end {
		return true, nil
	}
	err := retry(ctx, func(ctx context.Context) error {
		_, err := r.stream.GetMsg(ctx, r.last+1, jetstream.WithGetMsgSubject(">"))
		return err
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return true, nil
	}
	return false, err
}
