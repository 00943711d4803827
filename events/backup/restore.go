package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/mod/sumdb/note"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/snapshot"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
)

// undoTimeout bounds the deletion of what was restored and does not hold.
const undoTimeout = 30 * time.Second

// Options say how to restore.
type Options struct {
	Realm    events.Realm
	Replicas int
	// Known are the keys that sign checkpoints and manifests; Unsigned takes a
	// manifest that is not signed.
	Known    note.Verifiers
	Unsigned bool
	// Checkpoints names the bucket that says whether a stream may be served, which is
	// restored before all else, and Mark gives what it is to say, of {} where it says
	// nothing of a stream.
	Checkpoints string
	Mark        func(value []byte) ([]byte, error)
	// Progress, if not nil, is told what is done.
	Progress func(what string)
}

// Restore verifies a backup, makes an empty realm of it, and reads it back: every
// message must be what its checkpoint says, every record what the backup has. What
// does not hold is deleted again.
//
// Buckets come before the log and the registry before partitions, so that a realm that
// is restored in part is shorter than its checkpoints say, and nobody serves it.
func Restore(ctx context.Context, nc *nats.Conn, dir string, o Options) (Manifest, error) {
	m, err := Verify(ctx, dir, o.Known, o.Unsigned)
	if err != nil {
		return m, err
	}
	if m.Realm != string(o.Realm) {
		return m, fmt.Errorf("%w: it is of realm %s", ErrBackup, m.Realm)
	}
	to, err := eventlog.NewRestorer(ctx, nc, eventlog.Config{Realm: o.Realm, Replicas: o.Replicas})
	if err != nil {
		return m, err
	}
	r := restoring{Options: o, dir: dir, manifest: m, to: to}
	err = r.all(ctx)
	if err == nil {
		err = r.readBack(ctx, nc)
	}
	if err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		return m, errors.Join(err, to.Undo(undo))
	}
	return m, nil
}

type restoring struct {
	Options

	dir      string
	manifest Manifest
	to       *eventlog.Restorer
}

func (r restoring) told(what string) {
	if r.Progress != nil {
		r.Progress(what)
	}
}

func (r restoring) all(ctx context.Context) error {
	first := func(is bool) int {
		if is {
			return 0
		}
		return 1
	}
	buckets, streams := slices.Clone(r.manifest.Buckets), slices.Clone(r.manifest.Streams)
	if r.Mark != nil && !slices.ContainsFunc(buckets, func(b Bucket) bool { return b.Bucket == r.Checkpoints }) {
		return fmt.Errorf("%w: it has no bucket %s, so nothing would keep the realm from being served", ErrBackup, r.Checkpoints)
	}
	slices.SortStableFunc(buckets, func(a, b Bucket) int {
		return cmp.Compare(first(a.Bucket == r.Checkpoints), first(b.Bucket == r.Checkpoints))
	})
	registry := r.Realm.RegistryStream()
	slices.SortStableFunc(streams, func(a, b Stream) int {
		return cmp.Compare(first(a.Stream == registry), first(b.Stream == registry))
	})
	for _, b := range buckets {
		if err := r.bucket(ctx, b.Bucket); err != nil {
			return err
		}
		r.told(b.Bucket)
	}
	for _, s := range streams {
		if err := r.stream(ctx, s); err != nil {
			return err
		}
		r.told(s.Stream)
	}
	return nil
}

// stream restores a stream of the log.
func (r restoring) stream(ctx context.Context, s Stream) error {
	state := snapshot.State{Messages: s.Last - s.First + 1, First: s.First, Last: s.Last}
	err := r.entries(ctx, s, func(m snapshot.Message) error {
		state.Bytes += m.Size()
		return nil
	})
	if err != nil {
		return err
	}
	return r.to.Stream(ctx, s.Stream, state, func(w *snapshot.Writer) error { return r.entries(ctx, s, w.Write) })
}

// entries reads a stream from the backup.
func (r restoring) entries(ctx context.Context, s Stream, each func(snapshot.Message) error) error {
	return Log(r.dir).Read(ctx, s.Stream, s.First, s.Last, func(batch []eventlog.Entry) error {
		for _, e := range batch {
			m := snapshot.Message{Seq: e.Seq, Stored: e.Stored, Subject: e.Message.Subject, Header: e.Message.Header.Wire(), Data: e.Message.Data}
			if err := each(m); err != nil {
				return err
			}
		}
		return nil
	})
}

// bucket restores the newest record of every key.
func (r restoring) bucket(ctx context.Context, bucket string) error {
	newest, c, err := r.newest(bucket)
	if err != nil {
		return err
	}
	state := snapshot.State{}
	err = r.records(bucket, newest, func(m snapshot.Message) error {
		if state.Messages++; state.First == 0 {
			state.First = m.Seq
		}
		state.Last, state.Bytes = m.Seq, state.Bytes+m.Size()
		return nil
	})
	if err != nil {
		return err
	}
	return r.to.Bucket(ctx, c, state, func(w *snapshot.Writer) error { return r.records(bucket, newest, w.Write) })
}

// newest is the sequence of the newest record of every key: what was replaced while
// it was copied may be there twice.
func (r restoring) newest(bucket string) (newest map[string]uint64, c jetstream.StreamConfig, err error) {
	newest = map[string]uint64{}
	_, c, err = openBucket(bucketPath(r.dir, bucket), bucket, func(m snapshot.Message) error {
		newest[m.Subject] = m.Seq
		return nil
	})
	return newest, c, err
}

// records reads the newest records of a bucket from the backup, marked where that is
// asked for.
func (r restoring) records(bucket string, newest map[string]uint64, each func(snapshot.Message) error) error {
	last := snapshot.Message{Stored: r.manifest.Time}
	_, _, err := openBucket(bucketPath(r.dir, bucket), bucket, func(m snapshot.Message) (err error) {
		last = m
		if newest[m.Subject] != m.Seq {
			return nil
		}
		if bucket == r.Checkpoints && r.Mark != nil {
			if m.Data, err = r.Mark(m.Data); err != nil {
				return err
			}
		}
		return each(m)
	})
	if err != nil || bucket != r.Checkpoints || r.Mark == nil {
		return err
	}
	for _, s := range r.manifest.Streams {
		m := snapshot.Message{Seq: last.Seq + 1, Stored: last.Stored, Subject: keyPrefix(bucket) + s.Stream}
		if _, ok := newest[m.Subject]; ok {
			continue
		}
		if m.Data, err = r.Mark([]byte("{}")); err != nil {
			return err
		}
		if err := each(m); err != nil {
			return err
		}
		last = m
	}
	return nil
}

// readBack reads what was restored.
func (r restoring) readBack(ctx context.Context, nc *nats.Conn) error {
	log, err := eventlog.Open(ctx, nc, eventlog.Config{Realm: r.Realm, Replicas: r.Replicas})
	if err != nil {
		return err
	}
	for _, s := range r.manifest.Streams {
		if err := r.readStream(ctx, log, s); err != nil {
			return fmt.Errorf("read %s back: %w", s.Stream, err)
		}
		r.told(s.Stream + " read back")
	}
	for _, b := range r.manifest.Buckets {
		if err := r.readBucket(ctx, log, b.Bucket); err != nil {
			return fmt.Errorf("read bucket %s back: %w", b.Bucket, err)
		}
	}
	return nil
}

// readStream makes the tree of the stream as it is now.
func (r restoring) readStream(ctx context.Context, log *eventlog.Log, s Stream) error {
	head, err := log.Head(ctx, s.Stream)
	if err != nil {
		return err
	}
	if head.Seq != s.Last || head.First != s.First {
		return fmt.Errorf("%w: it has %d to %d, not %d to %d", ErrBackup, head.First, head.Seq, s.First, s.Last)
	}
	want, err := tree.Open([]byte(s.Checkpoint), r.Known)
	if err != nil {
		return err
	}
	whole := tree.EmptyRange(0)
	err = log.Replay(ctx, s.Stream, eventlog.From{Seq: s.First}, func(batch []eventlog.Entry) error {
		for _, e := range batch {
			whole.Append(tree.Leaf(e.Seq, e.Stored, e.Message))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if root, err := whole.Root(); err != nil || root != want.Root {
		return errors.Join(err, fmt.Errorf("%w: it is not what was signed", ErrBackup))
	}
	return nil
}

// readBucket holds every record against the backup.
func (r restoring) readBucket(ctx context.Context, log *eventlog.Log, bucket string) error {
	newest, c, err := r.newest(bucket)
	if err != nil {
		return err
	}
	want := map[string]snapshot.Message{}
	if err := r.records(bucket, newest, func(m snapshot.Message) error {
		want[m.Subject] = m
		return nil
	}); err != nil {
		return err
	}
	nothing := func(jetstream.StreamConfig) error { return nil }
	err = log.Records(ctx, bucket, nothing, func(m snapshot.Message) error {
		was, ok := want[m.Subject]
		if !ok || !was.Same(m) {
			return fmt.Errorf("%w: %s is another", ErrBackup, keyOf(bucket, m.Subject))
		}
		delete(want, m.Subject)
		return nil
	})
	if err != nil {
		return err
	}
	for subject, m := range want {
		if c.MaxAge == 0 || time.Since(m.Stored) < c.MaxAge { // else its time has come
			return fmt.Errorf("%w: %s is missing", ErrBackup, keyOf(bucket, subject))
		}
	}
	return nil
}

func keyPrefix(bucket string) string { return "$KV." + bucket + "." }

func keyOf(bucket, subject string) string { return strings.TrimPrefix(subject, keyPrefix(bucket)) }
