package eventlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

func openErasable(t testing.TB, l *eventlog.Log) *eventlog.ErasableBucket {
	t.Helper()
	b, err := l.ErasableBucket(within(t, patience), "people")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mine(value []byte) bool { return bytes.HasPrefix(value, []byte("mine")) }

// leftIn are the subjects of all messages in a bucket, markers of deletions too.
func leftIn(t testing.TB, e env) (subjects []string) {
	t.Helper()
	js, err := jetstream.New(e.dial(t))
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(within(t, patience), "KV_MAIN_people")
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(within(t, patience), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	for subject, n := range info.State.Subjects {
		subjects = append(subjects, fmt.Sprint(subject, " ", n))
	}
	return subjects
}

// TestErasableBucket leaves nothing of what is erased, and all of the rest.
func TestErasableBucket(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, e env) {
		b, ctx := openErasable(t, e.open(t)), within(t, patience)
		must := func(_ uint64, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(b.Create(ctx, "alice", []byte("mine 1")))
		must(b.Create(ctx, "bob", []byte("mine too")))
		for i := 2; i < 5; i++ {
			entry, err := b.Get(ctx, "alice")
			if err != nil {
				t.Fatal(err)
			}
			must(b.Update(ctx, "alice", fmt.Appendf(nil, "mine %d", i), entry.Revision()))
			if _, err := b.Update(ctx, "alice", []byte("late"), entry.Revision()); !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
				t.Errorf("an update of an old revision: %v", err)
			}
		}
		if left := leftIn(t, e); len(left) != 2 {
			t.Errorf("old versions are kept: %v", left)
		}
		stale, err := b.Get(ctx, "alice")
		if err != nil || string(stale.Value()) != "mine 4" {
			t.Fatal(stale, err)
		}
		if err := b.Erase(ctx, "alice", func([]byte) bool { return false }); err != nil {
			t.Error(err)
		}
		if got, err := b.Get(ctx, "alice"); err != nil || string(got.Value()) != "mine 4" {
			t.Errorf("somebody else's is gone: %v", err)
		}
		must(b.Put(ctx, "alice", []byte("mine 5"))) // as an update that was interrupted: two are kept
		for range 2 {
			if err := b.Erase(ctx, "alice", mine); err != nil {
				t.Error(err)
			}
			if _, err := b.Get(ctx, "alice"); !errors.Is(err, jetstream.ErrKeyNotFound) {
				t.Errorf("after the erasure: %v", err)
			}
		}
		if left := leftIn(t, e); len(left) != 1 {
			t.Errorf("left %v", left)
		}
		if _, err := b.Update(ctx, "alice", []byte("back"), stale.Revision()); !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			t.Errorf("an update of what is erased: %v", err)
		}
		must(b.Create(ctx, "alice", []byte("mine again")))
		t.Run("by several at once", func(t *testing.T) {
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					if err := b.Erase(ctx, "alice", mine); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if left := leftIn(t, e); len(left) != 1 {
				t.Errorf("left %v", left)
			}
		})
	})
}

// TestErasedIsWrittenOver looks for erased records, and for old versions of them,
// in the server's files.
func TestErasedIsWrittenOver(t *testing.T) {
	t.Parallel()
	n := embeddedtest.Single(t)
	b, ctx := openErasable(t, open(t, n.Conn(), eventlog.Config{})), within(t, patience)
	revision, err := b.Create(ctx, "alice", []byte("mine, the-first-version"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Create(ctx, "bob", []byte("mine, bob-is-still-here")); err != nil {
		t.Fatal(err)
	}
	if !onDisk(t, n.Dir, "the-first-version") {
		t.Fatal("looked in the wrong place")
	}
	if _, err := b.Update(ctx, "alice", []byte("mine, the-second-version"), revision); err != nil {
		t.Fatal(err)
	}
	if onDisk(t, n.Dir, "the-first-version") || !onDisk(t, n.Dir, "the-second-version") {
		t.Error("the old version is on disk, or the new one is not")
	}
	if err := b.Erase(ctx, "alice", mine); err != nil {
		t.Fatal(err)
	}
	n.Stop()
	if onDisk(t, n.Dir, "the-second-version") || !onDisk(t, n.Dir, "bob-is-still-here") {
		t.Error("the record is on disk, or the other is not")
	}
	again := embeddedtest.Reopen(t, n.Dir)
	b = openErasable(t, open(t, again.Conn(), eventlog.Config{}))
	if _, err := b.Get(ctx, "alice"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("after a restart: %v", err)
	}
	if got, err := b.Get(ctx, "bob"); err != nil || string(got.Value()) != "mine, bob-is-still-here" {
		t.Errorf("the other one: %v", err)
	}
}

// onDisk reports whether any file below dir has text.
func onDisk(t testing.TB, dir, text string) (found bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		found = found || bytes.Contains(content, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestErasableBucketOfAnEarlierVersion lets nobody delete, for good. Records are
// erased there all the same, if not from the disk.
func TestErasableBucketOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	nc, ctx := embeddedtest.Single(t).Conn(), within(t, patience)
	kv, err := open(t, nc, eventlog.Config{}).Bucket(ctx, "people")
	if err != nil {
		t.Fatal(err)
	}
	revision, err := kv.Create(ctx, "alice", []byte("mine"))
	if err != nil {
		t.Fatal(err)
	}
	b := openErasable(t, open(t, nc, eventlog.Config{}))
	if _, err := b.Update(ctx, "alice", []byte("mine still"), revision); err != nil {
		t.Fatal(err)
	}
	if err := b.Erase(ctx, "alice", func([]byte) bool { return false }); err != nil {
		t.Error(err)
	}
	if _, err := b.Get(ctx, "alice"); err != nil {
		t.Errorf("somebody else's is gone: %v", err)
	}
	for range 2 {
		if err := b.Erase(ctx, "alice", mine); err != nil {
			t.Error(err)
		}
	}
	if _, err := b.Get(ctx, "alice"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("after the erasure: %v", err)
	}
}
