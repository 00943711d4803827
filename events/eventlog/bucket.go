package eventlog

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Bucket opens the realm's key-value bucket of that name, and creates it if
// need be: for small records that must be possible to erase, and for secrets
// that are encrypted. It is read from the leader, so a record is seen as soon
// as it was written. Errors are those of Open.
func (l *Log) Bucket(ctx context.Context, name string) (jetstream.KeyValue, error) {
	bucket := strings.ToUpper(string(l.cfg.Realm)) + "_" + name
	l.mu.Lock()
	defer l.mu.Unlock()
	if kv, ok := l.buckets[bucket]; ok {
		return kv, nil
	}
	kv, err := l.openBucket(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", bucket, err)
	}
	l.buckets[bucket] = kv
	return kv, nil
}

func (l *Log) openBucket(ctx context.Context, bucket string) (kv jetstream.KeyValue, err error) {
	ctx, cancel := withDefaultTimeout(ctx, openTimeout)
	defer cancel()
	if _, err := l.openStream(ctx, l.bucketConfig(bucket)); err != nil {
		return nil, err
	}
	err = retry(ctx, func(ctx context.Context) error {
		kv, err = l.js.KeyValue(ctx, bucket)
		return err
	})
	return kv, err
}
