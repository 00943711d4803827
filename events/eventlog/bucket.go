package eventlog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events"
)

// Bucket opens the realm's key-value bucket of that name, and creates it if
// need be: for small records that must be possible to erase, and for secrets
// that are encrypted. It is read from the leader, so a record is seen as soon
// as it was written. Errors are those of Open.
func (l *Log) Bucket(ctx context.Context, name string) (jetstream.KeyValue, error) {
	return l.ExpiringBucket(ctx, name, 0)
}

// ExpiringBucket is Bucket for records that matter for a while: one that was
// not written for maxAge is gone. Of an existing bucket it must be as long at
// least. 0 is for ever.
func (l *Log) ExpiringBucket(ctx context.Context, name string, maxAge time.Duration) (jetstream.KeyValue, error) {
	name = l.bucketName(name)
	b, err := l.bucketOf(ctx, name, l.bucketConfig(name, maxAge))
	return b.kv, err
}

// BucketName is the name that a realm's bucket has in NATS.
func BucketName(r events.Realm, name string) string { return strings.ToUpper(string(r)) + "_" + name }

func (l *Log) bucketName(name string) string { return BucketName(l.cfg.Realm, name) }

// bucketOf is the bucket of that name, which is opened once.
func (l *Log) bucketOf(ctx context.Context, name string, c jetstream.StreamConfig) (bucket, error) {
	l.mu.Lock()
	b, ok := l.buckets[name]
	l.mu.Unlock()
	if ok && checkStream(c, b.stream.js.CachedInfo().Config) == nil {
		return b, nil
	}
	b, err := l.openBucket(ctx, name, c)
	if err != nil {
		return bucket{}, fmt.Errorf("open bucket %s: %w", name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buckets[name] = b
	return b, nil
}

// patientKV repeats a read whose answer is lost, as reads of the log are: with a
// leader that has just died it would take as long as its caller allows.
type patientKV struct{ jetstream.KeyValue }

// Get is described at jetstream.KeyValue.
func (kv patientKV) Get(ctx context.Context, key string) (entry jetstream.KeyValueEntry, err error) {
	ctx, cancel := withDefaultTimeout(ctx, readTimeout)
	defer cancel()
	err = retry(ctx, func(ctx context.Context) error {
		entry, err = kv.KeyValue.Get(ctx, key)
		return err
	})
	return entry, err
}

// Create is described at jetstream.KeyValue. On replicated buckets another's
// record may be on its way when this one is refused for it; that is waited for,
// so who is told that a key exists can read it.
func (kv patientKV) Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (revision uint64, err error) {
	ctx, cancel := withDefaultTimeout(ctx, readTimeout)
	defer cancel()
	pause := backoff{next: attemptTimeout / 100, most: attemptTimeout}
	for {
		revision, err = kv.KeyValue.Create(ctx, key, value, opts...)
		if errorCode(err) != jetstream.JSErrCodeStreamWrongLastSequenceConstant || !pause.wait(ctx) {
			return revision, err
		}
	}
}

// bucket is an open bucket and the stream behind it.
type bucket struct {
	kv     jetstream.KeyValue
	stream *stream
}

func (l *Log) openBucket(ctx context.Context, name string, c jetstream.StreamConfig) (b bucket, err error) {
	ctx, cancel := withDefaultTimeout(ctx, openTimeout)
	defer cancel()
	s, err := l.openStream(ctx, c)
	if err != nil {
		return b, err
	}
	b.stream = &stream{name: c.Name, js: s}
	err = retry(ctx, func(ctx context.Context) error {
		b.kv, err = l.js.KeyValue(ctx, name)
		return err
	})
	b.kv = patientKV{b.kv}
	return b, err
}
