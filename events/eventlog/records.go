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
// long.
const (
	recordBatch = 500
	recordWait  = 2 * time.Second
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
func readRecords(ctx context.Context, s jetstream.Stream, each func(snapshot.Message) error) error {
	c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return err
	}
	for {
		batch, err := c.Fetch(recordBatch, jetstream.FetchMaxWait(recordWait))
		if err != nil {
			return err
		}
		got := 0
		for m := range batch.Messages() {
			got++
			meta, err := m.Metadata()
			if err != nil {
				return err
			}
			err = each(snapshot.Message{
				Seq: meta.Sequence.Stream, Stored: meta.Timestamp, Subject: m.Subject(), Header: m.Headers(), Data: m.Data(),
			})
			if err != nil || meta.NumPending == 0 {
				return err
			}
		}
		if err := errors.Join(batch.Error(), ctx.Err()); err != nil {
			return err
		}
		if got > 0 {
			continue
		}
		info, err := s.Info(ctx)
		if err != nil {
			return err
		}
		if info.State.Msgs == 0 {
			return nil
		}
		return errNoRecord
	}
}
