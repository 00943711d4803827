package checkpoint

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/time/rate"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/embedded/snapshot"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
	"github.com/chancery-authority/chancery/projector"
)

const (
	realm = events.DefaultRealm
	// stream is the one that the tests write to.
	stream = "MAIN_EVENTS_0"
)

type keys struct {
	signer note.Signer
	known  note.Verifiers
}

func newKeys(t testing.TB) keys {
	t.Helper()
	private, public, err := tree.NewKey(rand.Reader, "auth.example")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return keys{signer, note.VerifierList(verifier)}
}

// An instance is a process: a log, its projector and what keeps the checkpoints.
type instance struct {
	log    *eventlog.Log
	local  *projector.Local
	keeper *Keeper
}

func start(t testing.TB, nc *nats.Conn, models string, cfg Config) *instance {
	t.Helper()
	var i instance
	var err error
	if i.log, err = eventlog.Open(t.Context(), nc, eventlog.Config{Realm: realm}); err != nil {
		t.Fatal(err)
	}
	if i.local, err = projector.OpenLocal(t.Context(), i.log, projector.LocalConfig{Dir: models, NoAudit: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.close(t) })
	cfg.Log, cfg.Reader = i.log, i.local
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if i.keeper, err = Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	return &i
}

func (i *instance) close(t testing.TB) {
	t.Helper()
	if i.local == nil {
		return
	}
	if i.keeper != nil {
		i.keeper.Close()
	}
	if err := i.local.Close(); err != nil {
		t.Error(err)
	}
	i.local = nil
}

// tick appends n ticks that say where they are from.
func (i *instance) tick(t testing.TB, from string, n int) (last uint64) {
	t.Helper()
	for m := range n {
		r, err := i.log.Append(t.Context(), eventlog.Unit{Event: events.Event{
			ID: fmt.Sprint(from, m), Source: "test", Subject: realm.RevokedSubject(0), Fact: events.FeedTicked{},
		}})
		if err != nil {
			t.Fatal(err)
		}
		last = r.Seq
	}
	return last
}

// signs waits for a checkpoint of at least that size.
func (i *instance) signs(t testing.TB, size uint64) (c tree.Checkpoint, text []byte) {
	t.Helper()
	embeddedtest.Eventually(t, fmt.Sprint("a checkpoint of ", size), func() bool {
		c, text = i.keeper.Newest(stream)
		return c.Size >= size
	})
	return c, text
}

// fails waits until the stream has failed, for that reason.
func (i *instance) fails(t testing.TB, reason error) {
	t.Helper()
	embeddedtest.Eventually(t, "the stream fails", func() bool { return i.log.Failed(stream) != nil })
	if err := i.log.Failed(stream); reason != nil && !errors.Is(err, reason) {
		t.Errorf("it failed by %v, want %v", err, reason)
	}
}

func TestCheckpointsGrow(t *testing.T) {
	t.Parallel()
	k, dir := newKeys(t), t.TempDir()
	nc := embeddedtest.Single(t).Conn()
	i := start(t, nc, t.TempDir(), Config{Key: k.signer, Known: k.known, Dir: dir})
	if _, text := i.keeper.Newest(stream); text != nil {
		t.Errorf("there is a checkpoint of an empty stream: %s", text)
	}
	first, text := i.signs(t, i.tick(t, "a", 300))
	if c, err := tree.Open(text, k.known); err != nil || c != first {
		t.Errorf("%s: %v", text, err)
	}
	second, _ := i.signs(t, i.tick(t, "b", 300))
	old, err := tree.ReadRange(projector.HashReader(t.Context(), i.local, stream), 0, int64(first.Size))
	if root, err2 := old.Root(); errors.Join(err, err2) != nil || root != first.Root {
		t.Errorf("the first one is not of the tree that grew: %v", errors.Join(err, err2))
	}
	embeddedtest.Eventually(t, "file and bucket have it", func() bool {
		file, _ := os.ReadFile(filepath.Join(dir, stream))
		have, _, err := i.keeper.read(t.Context(), stream)
		c, err2 := tree.Open(file, k.known)
		return errors.Join(err, err2) == nil && c == second && have.Checkpoint == string(file)
	})
	// Another process, without a key or files, knows it from the bucket.
	other := start(t, nc, t.TempDir(), Config{Known: k.known})
	if c, _ := other.signs(t, second.Size); c != second {
		t.Errorf("the other one has %+v", c)
	}
}

// TestAnotherLog exchanges the log, with all that is in its engine, and deletes
// the read models, so that only the file tells.
func TestAnotherLog(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		// change changes a stopped server, and again is what happens before it is
		// opened.
		change func(t *testing.T, n *embeddedtest.Node, empty string)
		reason error
	}{
		"empty":         {func(t *testing.T, n *embeddedtest.Node, empty string) { replace(t, n.Dir, empty) }, ErrShorter},
		"shorter":       {func(t *testing.T, n *embeddedtest.Node, empty string) { rewritten(t, n, empty, 50) }, ErrShorter},
		"as long":       {func(t *testing.T, n *embeddedtest.Node, empty string) { rewritten(t, n, empty, 100) }, ErrDifferent},
		"longer":        {func(t *testing.T, n *embeddedtest.Node, empty string) { rewritten(t, n, empty, 150) }, ErrDifferent},
		"a flipped bit": {func(t *testing.T, n *embeddedtest.Node, _ string) { embeddedtest.FlipBit(t, n.Dir, stream, 0.5, false) }, ErrShorter},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, dir, empty := newKeys(t), t.TempDir(), t.TempDir()
			n := embeddedtest.Single(t)
			cfg := Config{Key: k.signer, Known: k.known, Dir: dir}
			was := start(t, n.Conn(), t.TempDir(), cfg)
			was.signs(t, was.tick(t, "a", 100))
			was.close(t)
			n.Stop()
			c.change(t, n, empty)
			n.Start()
			is := start(t, n.Conn(), t.TempDir(), cfg)
			is.fails(t, c.reason)
			is.close(t)
			// A process that knows no file is told by the bucket.
			other := start(t, n.Conn(), t.TempDir(), Config{Known: k.known})
			other.fails(t, nil)
			other.close(t)
			// Restarting does not help, accepting does.
			again := start(t, n.Conn(), t.TempDir(), cfg)
			again.fails(t, nil)
			size := again.keeper.Signed(t.Context(), stream)
			again.close(t)
			cfg.Accept = map[string]uint64{stream: size}
			accepted := start(t, n.Conn(), t.TempDir(), cfg)
			accepted.signs(t, accepted.tick(t, "c", 1))
			saysRestored(t, accepted.log, size)
			accepted.close(t)
			// To accept it again, by a flag that was left, accepts no more.
			if c, err := accepted.keeper.readFile(stream); err != nil || c == nil {
				t.Fatal(c, err)
			}
			if after := start(t, n.Conn(), t.TempDir(), cfg); after.log.Failed(stream) != nil {
				t.Errorf("what was accepted fails again: %v", after.log.Failed(stream))
			}
			if lost, err := filepath.Glob(filepath.Join(dir, stream+".lost-100")); err != nil || len(lost) != 1 {
				t.Errorf("the old checkpoint was not kept: %v", lost)
			}
		})
	}
}

// TestEveryProcessAcceptsOnce has two processes with files of their own accept one loss.
func TestEveryProcessAcceptsOnce(t *testing.T) {
	t.Parallel()
	k, empty := newKeys(t), t.TempDir()
	n := embeddedtest.Single(t)
	var cfgs []Config
	var size uint64
	for i := range 2 {
		cfg := Config{Key: k.signer, Known: k.known, Dir: t.TempDir()}
		was := start(t, n.Conn(), t.TempDir(), cfg)
		c, _ := was.signs(t, was.tick(t, fmt.Sprint("a", i), 50))
		was.close(t)
		size, cfgs = c.Size, append(cfgs, cfg)
	}
	n.Stop()
	rewritten(t, n, empty, 150)
	n.Start()
	for range 2 { // and by a flag that was left
		for _, cfg := range cfgs {
			cfg.Accept = map[string]uint64{stream: size}
			i := start(t, n.Conn(), t.TempDir(), cfg)
			i.signs(t, i.tick(t, fmt.Sprint("c", cfg.Dir), 1))
			saysRestored(t, i.log, size)
			i.close(t)
			if err := i.log.Failed(stream); err != nil {
				t.Fatalf("a process fails that has accepted the loss: %v", err)
			}
		}
	}
}

// saysRestored looks for the one event of a loss that was accepted, which the
// partition and the registry have.
func saysRestored(t *testing.T, log *eventlog.Log, size uint64) {
	t.Helper()
	said, err := log.After(t.Context(), realm.RestoredSubject(), 0)
	if err != nil || len(said) != 1 {
		t.Fatalf("the registry has %d losses: %v", len(said), err)
	}
	f, _ := said[0].Fact.(events.LogRestored)
	of, ok := f.Of(stream)
	if !ok || of.Signed != size || len(f.Streams) != 1 {
		t.Errorf("it says %+v, want %d of %s", f, size, stream)
	}
	r, ok, err := log.At(t.Context(), stream, of.Size+1)
	if err != nil || !ok || r.Fact.Type() != f.Type() {
		t.Errorf("behind what the log had is %v, %v", r.Fact, err)
	}
}

// TestLossOfTheRegistry ends all partitions, whatever the order of failures: what was
// not recorded is not put aside.
func TestLossOfTheRegistry(t *testing.T) {
	t.Parallel()
	k, dir := newKeys(t), t.TempDir()
	n := embeddedtest.Single(t)
	nc := n.Conn()
	was := start(t, nc, t.TempDir(), Config{Key: k.signer, Known: k.known, Dir: dir})
	last := was.tick(t, "a", 5)
	was.signs(t, last)
	was.close(t)
	mark(t, was.keeper)
	cfg := Config{Key: k.signer, Known: k.known, Dir: dir, Accept: map[string]uint64{realm.RegistryStream(): 3}}
	accepted := start(t, nc, t.TempDir(), cfg)
	if err := accepted.log.Failed(realm.RegistryStream()); err != nil {
		t.Error(err)
	}
	said, err := accepted.log.After(t.Context(), realm.RestoredSubject(), 0)
	if err != nil || len(said) != 1 {
		t.Fatalf("%d losses: %v", len(said), err)
	}
	f, _ := said[0].Fact.(events.LogRestored)
	if of, ok := f.Of(stream); !ok || of.Size < last || of.Signed != 0 {
		t.Errorf("of the partition it says %+v", f)
	}
	accepted.close(t)
	// It fails once more for the same size, and may be accepted again.
	mark(t, accepted.keeper)
	again := start(t, nc, t.TempDir(), cfg)
	if said, err := again.log.After(t.Context(), realm.RestoredSubject(), 0); err != nil || len(said) != 2 || again.log.Failed(realm.RegistryStream()) != nil {
		t.Errorf("%d losses: %v, %v", len(said), err, again.log.Failed(realm.RegistryStream()))
	}
	none := Config{Key: k.signer, Known: k.known, Dir: dir, Accept: map[string]uint64{"MAIN_EVENTS_7": 1}, Log: again.log, Reader: again.local, Logger: slog.New(slog.DiscardHandler)}
	if _, err := Open(t.Context(), none); err == nil {
		t.Error("a loss of no stream is accepted")
	}
}

// mark has the registry fail in all processes, as a restore does.
func mark(t *testing.T, k *Keeper) {
	t.Helper()
	have, revision, err := k.read(t.Context(), realm.RegistryStream())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(have)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = MarkFailed(text, "restored"); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &have); err != nil {
		t.Fatal(err)
	}
	if err := k.write(t.Context(), realm.RegistryStream(), have, revision); err != nil {
		t.Fatal(err)
	}
}

// replace replaces a server's directory by another.
func replace(t *testing.T, dir, by string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(by)); err != nil {
		t.Fatal(err)
	}
}

// rewritten replaces the log by one of n other messages.
func rewritten(t *testing.T, n *embeddedtest.Node, empty string, messages int) {
	t.Helper()
	replace(t, n.Dir, empty)
	n.Start()
	log, err := eventlog.Open(t.Context(), n.Conn(), eventlog.Config{Realm: realm})
	if err != nil {
		t.Fatal(err)
	}
	(&instance{log: log}).tick(t, "b", messages)
	n.Stop()
}

// TestCheckpointOfAnotherKey does not start over what it cannot check.
func TestCheckpointOfAnotherKey(t *testing.T) {
	t.Parallel()
	k, other, dir := newKeys(t), newKeys(t), t.TempDir()
	nc := embeddedtest.Single(t).Conn()
	i := start(t, nc, t.TempDir(), Config{Key: k.signer, Known: k.known, Dir: dir})
	i.signs(t, i.tick(t, "a", 3))
	_, err := Open(t.Context(), Config{
		Log: i.log, Reader: i.local, Key: other.signer, Known: other.known, Dir: dir, Logger: slog.New(slog.DiscardHandler),
	})
	if !errors.Is(err, tree.ErrCheckpoint) {
		t.Errorf("it opens: %v", err)
	}
	// In the bucket it is left alone, and nothing is signed past it.
	blind := start(t, nc, t.TempDir(), Config{Key: other.signer, Known: other.known, Dir: t.TempDir()})
	blind.tick(t, "b", 3)
	if err := blind.keeper.look(t.Context(), &kept{stream: stream}); !errors.Is(err, tree.ErrCheckpoint) {
		t.Errorf("a look finds %v", err)
	}
	if err := blind.log.Failed(stream); err != nil {
		t.Errorf("a key that is not known fails the stream: %v", err)
	}
}

// TestScrub holds a log against the tree of another, which differs in one
// message.
func TestScrub(t *testing.T) {
	t.Parallel()
	a := start(t, embeddedtest.Single(t).Conn(), t.TempDir(), Config{})
	b := start(t, embeddedtest.Single(t).Conn(), t.TempDir(), Config{})
	last := a.tick(t, "a", scrubPiece+100)
	b.tick(t, "a", scrubPiece+100)
	for _, i := range []*instance{a, b} {
		embeddedtest.Eventually(t, "the tree is there", func() bool {
			at, err := i.local.Hashes(t.Context(), stream, nil)
			return err == nil && at.Position == last
		})
	}
	fast := rate.NewLimiter(rate.Inf, 500)
	if err := Scrub(t.Context(), a.log, a.local, stream, fast); err != nil {
		t.Errorf("the log is not what was folded from it: %v", err)
	}
	// Those of the other server were stored at other times.
	err := Scrub(t.Context(), a.log, b.local, stream, fast)
	if !errors.Is(err, ErrDifferent) {
		t.Errorf("against another's tree: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Scrub(ctx, a.log, a.local, stream, fast); !errors.Is(err, context.Canceled) {
		t.Errorf("told to stop: %v", err)
	}
}

// TestNotComparedYet holds back a tree that is built again: until it has come up
// to the checkpoint, nobody can say that the log is the one that was signed.
func TestNotComparedYet(t *testing.T) {
	t.Parallel()
	k, dir := newKeys(t), t.TempDir()
	nc := embeddedtest.Single(t).Conn()
	first := start(t, nc, t.TempDir(), Config{Key: k.signer, Known: k.known, Dir: dir})
	first.signs(t, first.tick(t, "a", 300))
	if err := first.keeper.Err(); err != nil {
		t.Errorf("who signed it: %v", err)
	}
	first.close(t)

	again := make(chan struct{})
	local, err := projector.OpenLocal(t.Context(), first.log, projector.LocalConfig{
		Dir: t.TempDir(), NoAudit: true,
		Gate: func(ctx context.Context, _ string) error {
			select {
			case <-again:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	second := &instance{log: first.log, local: local}
	t.Cleanup(func() { second.close(t) })
	second.keeper, err = Open(t.Context(), Config{
		Log: first.log, Reader: local, Key: k.signer, Known: k.known, Dir: dir, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if second.keeper.Err() == nil {
		t.Error("ready before the tree could be compared")
	}
	close(again)
	embeddedtest.Eventually(t, "it is compared", func() bool { return second.keeper.Err() == nil })
}

// TestFailureIsToldInTheEnd has another keeper write the record just before a failure
// is told in it.
func TestFailureIsToldInTheEnd(t *testing.T) {
	t.Parallel()
	i := start(t, embeddedtest.Single(t).Conn(), t.TempDir(), Config{})
	k, s := i.keeper, &kept{stream: stream}
	k.Close()
	i.log.FailPartition(stream, ErrDifferent)
	if err := k.write(t.Context(), stream, record{}, 0); err != nil {
		t.Fatal(err)
	}
	if err := k.tell(t.Context(), s, record{}, 0, ErrDifferent); err == nil {
		t.Error("it was told over what another wrote")
	}
	if err := k.look(t.Context(), s); err != nil {
		t.Error(err)
	}
	if have, _, err := k.read(t.Context(), stream); err != nil || have.Failed == "" {
		t.Errorf("no other process hears of the failure: %v", err)
	}
}

// TestLossIsNotAcceptedInThePast takes a log over to a machine whose clock is behind:
// what was issued last would be of after the loss.
func TestLossIsNotAcceptedInThePast(t *testing.T) {
	t.Parallel()
	from, nc := start(t, embeddedtest.Single(t).Conn(), t.TempDir(), Config{}), embeddedtest.Single(t).Conn()
	from.tick(t, "a", 1)
	to, err := eventlog.NewRestorer(t.Context(), nc, eventlog.Config{Realm: realm})
	if err != nil {
		t.Fatal(err)
	}
	var all []snapshot.Message
	err = from.log.Replay(t.Context(), stream, eventlog.From{Seq: 1}, func(batch []eventlog.Entry) error {
		for _, e := range batch {
			m := snapshot.Message{Seq: e.Seq, Stored: e.Stored.Add(time.Minute), Subject: e.Message.Subject, Header: e.Message.Header.Wire(), Data: e.Message.Data}
			all = append(all, m)
		}
		return nil
	})
	if err == nil {
		s := snapshot.State{Messages: 1, Bytes: all[0].Size(), First: 1, Last: 1}
		err = to.Stream(t.Context(), stream, s, func(w *snapshot.Writer) error { return w.Write(all[0]) })
	}
	if err != nil {
		t.Fatal(err)
	}
	i := start(t, nc, t.TempDir(), Config{})
	accept := Config{Accept: map[string]uint64{stream: 9}, Log: i.log, Reader: i.local, Logger: slog.New(slog.DiscardHandler)}
	if k, err := Open(t.Context(), accept); err == nil {
		k.Close()
		t.Error("a loss is accepted before what it ends")
	}
	if said, err := i.log.After(t.Context(), realm.RestoredSubject(), 0); err != nil || len(said) != 0 {
		t.Errorf("the log says so %d times: %v", len(said), err)
	}
}
