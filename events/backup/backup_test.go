package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/archive"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
)

const realm = events.DefaultRealm

// A source is a realm with a log and two buckets, and the key that signs it.
type source struct {
	log    *eventlog.Log
	signer note.Signer
	known  note.Verifiers
}

func newSource(t *testing.T, nc *nats.Conn, replicas int) *source {
	t.Helper()
	private, public, err := tree.NewKey(rand.Reader, "auth.example")
	if err != nil {
		t.Fatal(err)
	}
	s := &source{known: known(t, public)}
	if s.signer, err = note.NewSigner(private); err != nil {
		t.Fatal(err)
	}
	if s.log, err = eventlog.Open(t.Context(), nc, eventlog.Config{Realm: realm, Replicas: replicas}); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		s.append(t, realm.RevokedSubject(0), fmt.Sprint("partition-", i))
		s.append(t, realm.RegistryTickSubject(), fmt.Sprint("registry-", i))
	}
	secrets, err := s.log.Bucket(t.Context(), "SECRETS")
	if err != nil {
		t.Fatal(err)
	}
	people, err := s.log.ErasableBucket(t.Context(), "RECORDS")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []jetstream.KeyValue{secrets, people} {
		for _, key := range []string{"a", "b", "gone"} {
			revision, err := b.Create(t.Context(), key, []byte("first of "+key))
			if err == nil && key == "b" {
				_, err = b.Update(t.Context(), key, []byte("second of b"), revision)
			}
			if err == nil && key == "gone" {
				err = b.Delete(t.Context(), key)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}

func known(t *testing.T, public string) note.Verifiers {
	t.Helper()
	v, err := tree.Known(public)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (s *source) append(t *testing.T, on events.Subject, id string) {
	t.Helper()
	_, err := s.log.Append(t.Context(), eventlog.Unit{Event: events.Event{ID: id, Source: "test", Subject: on, Fact: events.FeedTicked{}}})
	if err != nil {
		t.Fatal(err)
	}
}

// leaves are a reader of the hashes of a small tree.
type leaves []tlog.Hash

func (l leaves) ReadHashes(indexes []int64) (found []tlog.Hash, err error) {
	for _, i := range indexes {
		level, n := tlog.SplitStoredHashIndex(i)
		r := tree.EmptyRange(n << level)
		for _, leaf := range l[n<<level : (n+1)<<level] {
			r.Append(leaf)
		}
		found = append(found, r.Hashes()[0])
	}
	return found, nil
}

// backup copies the source into a new directory, as the command does through the API.
func (s *source) backup(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "backup")
	m := Manifest{Realm: string(realm), Issuer: "https://auth.example", Version: "test"}
	for _, stream := range []string{realm.PartitionStream(0), realm.RegistryStream()} {
		m.Streams = append(m.Streams, s.copyStream(t, dir, stream))
	}
	buckets, err := s.log.Buckets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, bucket := range buckets {
		var text bytes.Buffer
		w := NewBucketWriter(&text)
		err := s.log.Records(t.Context(), bucket, w.Config, w.Record)
		if err = errors.Join(err, w.End()); err != nil {
			t.Fatal(err)
		}
		b, err := CopyBucket(dir, bucket, &text)
		if err != nil {
			t.Fatal(err)
		}
		m.Buckets = append(m.Buckets, b)
	}
	if err := m.Write(dir, s.signer); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (s *source) copyStream(t *testing.T, dir, stream string) Stream {
	t.Helper()
	var all []eventlog.Entry
	var hashes leaves
	err := s.log.Replay(t.Context(), stream, eventlog.From{Seq: 1}, func(batch []eventlog.Entry) error {
		for _, e := range batch {
			all, hashes = append(all, e), append(hashes, tree.Leaf(e.Seq, e.Stored, e.Message))
		}
		return nil
	})
	size := uint64(len(all))
	r, err2 := tree.ReadRange(hashes, 0, int64(len(all)))
	root, err3 := r.Root()
	signed, err4 := tree.Sign(s.signer, stream, size, root)
	header, err5 := archive.NewHeader(hashes, signed, 1, size)
	if err := errors.Join(err, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	err = Log(dir).Write(header, s.known, func(w *archive.Writer) error {
		for i, e := range all {
			if err := w.Write(archive.NewLine(e, hashes[i])); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return Stream{Stream: stream, First: 1, Last: size, Checkpoint: string(signed)}
}

func (s *source) options() Options {
	return Options{Realm: realm, Replicas: 1, Known: s.known, Checkpoints: "MAIN_SECRETS", Mark: func(v []byte) ([]byte, error) {
		return append(v, " marked"...), nil
	}}
}

// holds looks at what was restored of a source.
func holds(t *testing.T, nc *nats.Conn, replicas int) {
	t.Helper()
	log, err := eventlog.Open(t.Context(), nc, eventlog.Config{Realm: realm, Replicas: replicas})
	if err != nil {
		t.Fatal(err)
	}
	// The log goes on where it was, and a record is where it was, so that it can be updated.
	people, err := log.ErasableBucket(t.Context(), "RECORDS")
	if err != nil {
		t.Fatal(err)
	}
	b, err := people.Get(t.Context(), "b")
	if err != nil || string(b.Value()) != "second of b" {
		t.Fatalf("a record is %v: %v", b, err)
	}
	if _, err := people.Update(t.Context(), "b", []byte("third"), b.Revision()); err != nil {
		t.Error(err)
	}
	secrets, err := log.Bucket(t.Context(), "SECRETS")
	if err != nil {
		t.Fatal(err)
	}
	if a, err := secrets.Get(t.Context(), "a"); err != nil || string(a.Value()) != "first of a marked" {
		t.Errorf("a record that is marked is %v: %v", a, err)
	}
	for _, stream := range []string{realm.PartitionStream(0), realm.RegistryStream()} {
		if m, err := secrets.Get(t.Context(), stream); err != nil || string(m.Value()) != "{} marked" {
			t.Errorf("%s, of which the backup has no record, is not marked: %v", stream, err)
		}
	}
	if _, err := secrets.Get(t.Context(), "gone"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("what was deleted is there: %v", err)
	}
	r, err := log.Append(t.Context(), eventlog.Unit{Event: events.Event{ID: "next", Source: "test", Subject: realm.RevokedSubject(0), Fact: events.FeedTicked{}}})
	if err != nil || r.Seq != 31 {
		t.Errorf("the next event is %+v, %v", r, err)
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	s := newSource(t, embeddedtest.Single(t).Conn(), 1)
	dir := s.backup(t)
	m, err := Verify(t.Context(), dir, s.known, false)
	if err != nil || !m.Signed || len(m.Streams) != 2 || len(m.Buckets) != 2 || m.Buckets[1].Records != 3 {
		t.Fatalf("%+v: %v", m, err)
	}
	to := embeddedtest.Single(t).Conn()
	if _, err := Restore(t.Context(), to, dir, s.options()); err != nil {
		t.Fatal(err)
	}
	holds(t, to, 1)
	if _, err := Restore(t.Context(), to, dir, s.options()); !errors.Is(err, eventlog.ErrNotEmpty) {
		t.Errorf("restored again: %v", err)
	}
	other := s.options()
	other.Checkpoints = "MAIN_CHECKPOINTS"
	if _, err := Restore(t.Context(), embeddedtest.Single(t).Conn(), dir, other); !errors.Is(err, ErrBackup) {
		t.Errorf("restored without a bucket to mark: %v", err)
	}
	other = s.options()
	other.Realm = "other"
	if _, err := Restore(t.Context(), to, dir, other); !errors.Is(err, ErrBackup) {
		t.Errorf("restored as another realm: %v", err)
	}
}

// TestRestoreToCluster loses a node after it, and still has all of it.
func TestRestoreToCluster(t *testing.T) {
	t.Parallel()
	c := embeddedtest.NewCluster(t)
	from := newSource(t, c.Connect(), 3)
	dir := from.backup(t)
	js, err := jetstream.New(c.Connect())
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"MAIN_EVENTS_0", "MAIN_REGISTRY", "KV_MAIN_SECRETS", "KV_MAIN_RECORDS"} {
		if err := js.DeleteStream(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
	}
	embeddedtest.Eventually(t, "all nodes have heard that they are gone", func() bool {
		_, err := eventlog.NewRestorer(t.Context(), c.Connect(), eventlog.Config{Realm: realm})
		return err == nil
	})
	o := from.options()
	o.Replicas = 3
	if _, err := Restore(t.Context(), c.Connect(), dir, o); err != nil {
		t.Fatal(err)
	}
	c.Kill(c.WaitLeader("MAIN_EVENTS_0"))
	c.WaitLeader("MAIN_EVENTS_0")
	c.WaitLeader("KV_MAIN_RECORDS")
	c.WaitLeader("KV_MAIN_SECRETS")
	holds(t, c.Connect(), 3)
}

// TestDamagedBackups are refused, by what is wrong with them, and leave nothing behind.
func TestDamagedBackups(t *testing.T) {
	t.Parallel()
	s := newSource(t, embeddedtest.Single(t).Conn(), 1)
	whole := s.backup(t)
	s.append(t, realm.RevokedSubject(0), "later")
	later := s.backup(t)
	to := embeddedtest.Single(t).Conn()
	bucket, stream := "buckets/MAIN_RECORDS.ndjson.zst", "log/MAIN_EVENTS_0/00000000000000000001-00000000000000000030.ndjson.zst"
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		says   string
	}{
		"a flipped bit in a bucket":       {flip(bucket), "MAIN_RECORDS"},
		"a flipped bit in the log":        {flip(stream), "MAIN_EVENTS_0"},
		"a flipped bit in the manifest":   {flip("manifest"), "manifest"},
		"no manifest":                     {remove("manifest"), "not finished"},
		"a missing bucket":                {remove(bucket), "bucket MAIN_RECORDS is missing"},
		"a missing stream":                {remove(stream), "MAIN_EVENTS_0"},
		"a bucket that was cut short":     {truncate(bucket), "MAIN_RECORDS"},
		"a stream that was cut short":     {truncate(stream), "MAIN_EVENTS_0"},
		"an older stream":                 {swap(whole, "log/MAIN_EVENTS_0"), "MAIN_EVENTS_0"},
		"another backup's manifest":       {swap(later, "manifest"), "MAIN_EVENTS_0"},
		"a bucket beside the manifest":    {swapAs(whole, bucket, "buckets/MAIN_OTHER.ndjson.zst"), "MAIN_OTHER"},
		"a bucket in another's place":     {swapAs(whole, "buckets/MAIN_SECRETS.ndjson.zst", bucket), "MAIN_RECORDS"},
		"a manifest that nobody signed":   {unsign, "not signed"},
		"a manifest of another's signing": {signedByAnother, "key that is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			base := whole
			if name == "an older stream" {
				base = later
			}
			if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
				t.Fatal(err)
			}
			c.damage(t, dir)
			if _, err := Verify(t.Context(), dir, s.known, false); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("verified: %v, want %q", err, c.says)
			}
			if _, err := Restore(t.Context(), to, dir, s.options()); err == nil {
				t.Error("restored")
			}
			if _, err := eventlog.NewRestorer(t.Context(), to, eventlog.Config{Realm: realm}); err != nil {
				t.Errorf("something is left: %v", err)
			}
		})
	}
}

// TestRestoreIsUndone restores what cannot be read back as it was.
func TestRestoreIsUndone(t *testing.T) {
	t.Parallel()
	s := newSource(t, embeddedtest.Single(t).Conn(), 1)
	dir := s.backup(t)
	to := embeddedtest.Single(t).Conn()
	o := s.options()
	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(what string) {
		if what == realm.PartitionStream(0) {
			cancel()
		}
	}
	if _, err := Restore(ctx, to, dir, o); !errors.Is(err, context.Canceled) {
		t.Fatalf("restored: %v", err)
	}
	if _, err := eventlog.NewRestorer(t.Context(), to, eventlog.Config{Realm: realm}); err != nil {
		t.Errorf("something is left: %v", err)
	}
}

func flip(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		change(t, filepath.Join(dir, name), func(b []byte) []byte {
			b[len(b)/2] ^= 4
			return b
		})
	}
}

func truncate(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		change(t, filepath.Join(dir, name), func(b []byte) []byte { return b[:len(b)-len(b)/4] })
	}
}

func remove(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// swap takes a file or a directory from another backup.
func swap(from, name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(from, name)); err == nil && info.IsDir() {
			if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(from, name))); err != nil {
				t.Fatal(err)
			}
			return
		}
		swapAs(from, name, name)(t, dir)
	}
}

func swapAs(from, name, as string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, as), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func unsign(t *testing.T, dir string) {
	t.Helper()
	change(t, filepath.Join(dir, manifestFile), func(b []byte) []byte {
		text, _, _ := strings.Cut(string(b), "\n\n— ")
		return []byte(text + "\n")
	})
}

func signedByAnother(t *testing.T, dir string) {
	t.Helper()
	private, _, err := tree.NewKey(rand.Reader, "auth.example")
	if err != nil {
		t.Fatal(err)
	}
	key, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	change(t, filepath.Join(dir, manifestFile), func(b []byte) []byte {
		text, _, _ := strings.Cut(string(b), "\n\n— ")
		signed, err := note.Sign(&note.Note{Text: text + "\n"}, key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	})
}

func change(t *testing.T, path string, how func([]byte) []byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, how(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
