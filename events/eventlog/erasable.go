package eventlog

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// operationHeader marks what is no record but says that there is none.
const operationHeader = "KV-Operation"

// An ErasableBucket is a bucket whose records can be erased for good: the server
// writes over them in its files. That it does with a message that is deleted by
// its sequence only, and not with one that a newer takes the place of, so the
// bucket keeps two of a key and deletes the older one itself.
type ErasableBucket struct {
	jetstream.KeyValue
	log    *Log
	stream *stream
	// legacy is a bucket of an earlier version, which lets nobody delete. That
	// cannot be undone; what it purges stays in the server's files for a while.
	legacy bool
}

// ErasableBucket opens or creates a bucket as Bucket does. One that Bucket has
// created is taken too, with a warning: there nothing is written over.
func (l *Log) ErasableBucket(ctx context.Context, name string) (*ErasableBucket, error) {
	want := l.bucketConfig(l.bucketName(name), 0)
	want.DenyDelete = false
	want.MaxMsgsPerSubject = 2
	b, err := l.bucketOf(ctx, l.bucketName(name), want)
	legacy := errors.Is(err, ErrContract)
	if legacy {
		l.cfg.Logger.Warn("a bucket of an earlier version: what is erased stays in the server's files until it compacts them", "bucket", name)
		b, err = l.bucketOf(ctx, l.bucketName(name), l.bucketConfig(l.bucketName(name), 0))
	}
	if err != nil {
		return nil, err
	}
	return &ErasableBucket{KeyValue: b.kv, log: l, stream: b.stream, legacy: legacy}, nil
}

// Update is described at jetstream.KeyValue. What was there before is written
// over; if that fails, Erase does it.
func (b *ErasableBucket) Update(ctx context.Context, key string, value []byte, last uint64) (uint64, error) {
	if b.legacy || last == 0 {
		return b.KeyValue.Update(ctx, key, value, last)
	}
	// What an interrupted update has left would be pushed out by this one.
	if _, err := b.overwriteAll(ctx, key, last-1, everybodys); err != nil {
		return 0, err
	}
	revision, err := b.KeyValue.Update(ctx, key, value, last)
	if err != nil {
		return 0, err
	}
	if err := b.overwrite(ctx, last); err != nil {
		b.log.cfg.Logger.Warn("an old record was not written over", "bucket", b.Bucket(), "revision", last, "reason", err)
	}
	return revision, nil
}

func everybodys([]byte) bool { return true }

// Erase writes over every version of a key's record that is mine, and leaves
// nothing of it, no mark of a deletion either. It ends with nil once a majority
// of the servers says so: not finding a record proves nothing. Others' records
// under the key stay.
func (b *ErasableBucket) Erase(ctx context.Context, key string, mine func(value []byte) bool) error {
	ctx, cancel := withDefaultTimeout(ctx, readTimeout)
	defer cancel()
	pause := backoff{next: attemptTimeout / 50, most: attemptTimeout}
	for {
		err := b.erase(ctx, key, mine)
		if err == nil || !mayBeErasedLater(err) || !pause.wait(ctx) {
			return wrap("erase a record", err)
		}
	}
}

// mayBeErasedLater holds for what may pass, and where somebody has written.
func mayBeErasedLater(err error) bool {
	code := errorCode(err)
	return mayPass(err) || code == jetstream.JSErrCodeStreamWrongLastSequence || code == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}

func (b *ErasableBucket) erase(ctx context.Context, key string, mine func([]byte) bool) error {
	if b.legacy {
		return b.purge(ctx, key, mine)
	}
	left, err := b.overwriteAll(ctx, key, math.MaxUint64, mine)
	if err != nil || left {
		return err
	}
	proof := &nats.Msg{Subject: b.subject(key), Header: nats.Header{operationHeader: {"DEL"}}}
	ack, err := b.log.js.PublishMsg(ctx, proof, jetstream.WithExpectLastSequencePerSubject(0), jetstream.WithRetryAttempts(0))
	if err != nil {
		return fmt.Errorf("prove that it is gone: %w", err)
	}
	return b.overwrite(ctx, ack.Sequence)
}

// purge leaves a mark of the deletion.
func (b *ErasableBucket) purge(ctx context.Context, key string, mine func([]byte) bool) error {
	entry, err := b.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) || err == nil && !mine(entry.Value()) {
		return nil
	}
	if err != nil {
		return err
	}
	return b.Purge(ctx, key, jetstream.LastRevision(entry.Revision()))
}

func (b *ErasableBucket) subject(key string) string { return "$KV." + b.Bucket() + "." + key }

// overwriteAll writes over what there is of a key up to a sequence. The oldest goes first, so that no older version comes to light. left says that
// there are records that are not mine.
func (b *ErasableBucket) overwriteAll(ctx context.Context, key string, upTo uint64, mine func([]byte) bool) (left bool, err error) {
	for from := uint64(1); ; {
		var m *jetstream.RawStreamMsg
		err := retry(ctx, func(ctx context.Context) (err error) {
			m, err = b.stream.js.GetMsg(ctx, from, jetstream.WithGetMsgSubject(b.subject(key)))
			return err
		})
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Sequence > upTo {
			return left, nil
		}
		if err != nil {
			return left, fmt.Errorf("look for it: %w", err)
		}
		from = m.Sequence + 1
		if m.Header.Get(operationHeader) == "" && !mine(m.Data) {
			left = true
			continue
		}
		if err := b.overwrite(ctx, m.Sequence); err != nil {
			return left, err
		}
	}
}

// overwrite has the server write over a message. One that is not there is none
// to write over.
func (b *ErasableBucket) overwrite(ctx context.Context, seq uint64) error {
	ctx, cancel := withDefaultTimeout(ctx, readTimeout)
	defer cancel()
	return wrap("write over it", retry(ctx, func(ctx context.Context) error {
		err := b.stream.js.SecureDeleteMsg(ctx, seq)
		if err != nil { // which does not tell in which way it failed
			if _, look := b.stream.js.GetMsg(ctx, seq); errors.Is(look, jetstream.ErrMsgNotFound) {
				return nil
			}
		}
		return err
	}))
}
