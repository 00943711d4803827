package archiver

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/time/rate"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/archive"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/checkpoint"
)

const (
	realm  = events.DefaultRealm
	stream = "MAIN_EVENTS_0"
)

// A history is a log with checkpoints and an archive.
type history struct {
	log    *eventlog.Log
	local  *projector.Local
	keeper *checkpoint.Keeper
	dir    *archive.Dir
	known  note.Verifiers
	nc     *nats.Conn
	grants byte
}

func newHistory(t *testing.T) *history {
	t.Helper()
	private, public, err := tree.NewKey(rand.Reader, "auth.example")
	if err != nil {
		t.Fatal(err)
	}
	key, err := note.NewSigner(private)
	verifier, err2 := note.NewVerifier(public)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	h := &history{dir: archive.Open(t.TempDir()), known: note.VerifierList(verifier), nc: embeddedtest.Single(t).Conn()}
	h.log, err = eventlog.Open(t.Context(), h.nc, eventlog.Config{Realm: realm, Archive: h.dir})
	if err != nil {
		t.Fatal(err)
	}
	h.local = h.project(t)
	h.keeper, err = checkpoint.Open(t.Context(), checkpoint.Config{
		Log: h.log, Reader: h.local, Key: key, Known: h.known, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.keeper.Close)
	return h
}

// project starts a projector with empty read models.
func (h *history) project(t *testing.T) *projector.Local {
	t.Helper()
	local, err := projector.OpenLocal(t.Context(), h.log, projector.LocalConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := local.Close(); err != nil {
			t.Error(err)
		}
	})
	return local
}

// open opens grants that expire after d, with a tick for each.
func (h *history) open(t *testing.T, n int, d time.Duration) (last uint64) {
	t.Helper()
	for range n {
		h.grants++
		id := events.NewGrantID(0, [16]byte{15: h.grants})
		h.append(t, realm.GrantSubject(id), events.GrantOpened{
			Client: "c", User: "u", Expires: time.Now().Add(d).Unix(), Code: &events.Code{MACKey: 1, Expires: time.Now().Add(d).Unix()},
		})
		last = h.append(t, realm.RevokedSubject(0), events.FeedTicked{})
	}
	return last
}

func (h *history) append(t *testing.T, s events.Subject, f events.Fact) uint64 {
	t.Helper()
	r, err := h.log.Append(t.Context(), eventlog.Unit{Event: events.Event{ID: rand.Text(), Source: "test", Subject: s, Fact: f}})
	if err != nil {
		t.Fatal(err)
	}
	return r.Seq
}

func (h *history) signed(t *testing.T, seq uint64) {
	t.Helper()
	embeddedtest.Eventually(t, fmt.Sprint("a checkpoint of ", seq), func() bool {
		c, _ := h.keeper.Newest(stream)
		return c.Size >= seq
	})
}

func (h *history) config(forget time.Duration) Config {
	return Config{
		Log: h.log, Local: h.local, Newest: h.keeper.Newest, Known: h.known, Dir: h.dir, ForgetAfter: forget,
		Logger: slog.New(slog.DiscardHandler), size: 16,
	}
}

func (h *history) first(t *testing.T) uint64 {
	t.Helper()
	head, err := h.log.Head(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return head.First
}

// all is what a reader of the whole log gets.
func all(t *testing.T, log *eventlog.Log) []eventlog.Entry {
	t.Helper()
	var entries []eventlog.Entry
	err := log.Replay(t.Context(), stream, eventlog.From{Seq: 1}, func(batch []eventlog.Entry) error {
		entries = append(entries, batch...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// TestForget archives a log and lets it forget all that it may. What reads the
// log then reads what it read before.
func TestForget(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	h.signed(t, h.open(t, 20, -10*time.Minute)) // 40 messages
	before := all(t, h.log)
	keep := h.config(0)
	if err := keep.Once(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	if segments, err := h.dir.Segments(stream); err != nil || len(segments) != 2 || h.first(t) != 1 {
		t.Fatalf("%v, and the stream begins at %d: %v", segments, h.first(t), err)
	}
	// What was sealed is older than the wavering of clocks, by the configuration
	// of this test.
	forget := h.config(-2 * waver)
	if err := forget.Once(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	if first := h.first(t); first != 33 {
		t.Errorf("the stream begins at %d", first)
	}
	after := all(t, h.log)
	if len(after) != len(before) {
		t.Fatalf("%d messages, there were %d", len(after), len(before))
	}
	for i := range after {
		a, b := after[i], before[i]
		if tree.Leaf(a.Seq, a.Stored, a.Message) != tree.Leaf(b.Seq, b.Stored, b.Message) {
			t.Errorf("sequence %d is another", a.Seq)
		}
	}
	if e, ok, err := h.log.At(t.Context(), stream, 3); err != nil || !ok || e.Seq != 3 {
		t.Errorf("%+v %v %v", e, ok, err)
	}
	// A projector that starts with nothing comes to the same.
	fresh := h.project(t)
	for _, model := range []string{stream, stream + ".tree", stream + ".audit"} {
		embeddedtest.Eventually(t, model+" is built again", func() bool {
			was, at, err := h.local.StateHash(t.Context(), model)
			is, position, err2 := fresh.StateHash(t.Context(), model)
			return errors.Join(err, err2) == nil && at == position && was == is && at > 0
		})
	}
	// And it goes on.
	h.signed(t, h.open(t, 8, time.Hour))
	if err := forget.Once(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	if report, err := h.dir.Verify(t.Context(), archive.Expected{Known: h.known}, nil); err != nil || report[0].Messages != 48 {
		t.Errorf("%+v: %v", report, err)
	}
	if first := h.first(t); first != 33 {
		t.Errorf("of what is in force the stream has forgotten all before %d", first)
	}
	if err := checkpoint.Scrub(t.Context(), h.log, h.local, stream, rate.NewLimiter(rate.Inf, 500)); err != nil {
		t.Error(err)
	}
}

// TestForgetWithoutAnArchive is what others see who were not told of the archive.
func TestForgetWithoutAnArchive(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	h.signed(t, h.open(t, 20, -10*time.Minute))
	if err := h.config(-2*waver).Once(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	blind, err := eventlog.Open(t.Context(), h.nc, eventlog.Config{Realm: realm})
	if err != nil {
		t.Fatal(err)
	}
	err = blind.Replay(t.Context(), stream, eventlog.From{Seq: 1}, func([]eventlog.Entry) error { return nil })
	if !errors.Is(err, eventlog.ErrGap) {
		t.Errorf("it reads on: %v", err)
	}
	if _, ok, err := blind.At(t.Context(), stream, 3); ok || err != nil {
		t.Errorf("it has sequence 3: %v", err)
	}
}

// TestDamagedSegment: nothing is forgotten that cannot be read
// back.
func TestDamagedSegment(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	h.signed(t, h.open(t, 20, -10*time.Minute))
	if err := h.config(0).Once(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	segments, err := h.dir.Segments(stream)
	if err != nil {
		t.Fatal(err)
	}
	damage(t, segments[1].Path)
	if err := h.config(-2*waver).Once(t.Context(), stream); err == nil {
		t.Error("the damage was not found")
	}
	if first := h.first(t); first != 1 {
		t.Errorf("the stream begins at %d", first)
	}
}

// TestForgetStopsAtAHole: what was not archived stays, and all behind it. The hole
// is filled again.
func TestForgetStopsAtAHole(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	h.signed(t, h.open(t, 30, -10*time.Minute)) // 60 messages, 3 segments
	if err := h.config(0).Once(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	segments, err := h.dir.Segments(stream)
	if err != nil || len(segments) != 3 {
		t.Fatal(segments, err)
	}
	if err := os.Remove(segments[1].Path); err != nil {
		t.Fatal(err)
	}
	if err := h.config(-2*waver).forget(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	if first := h.first(t); first != 17 {
		t.Errorf("the stream begins at %d", first)
	}
	if err := h.config(-2*waver).Once(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	if filled, err := h.dir.Segments(stream); err != nil || len(filled) != 3 || h.first(t) != 49 {
		t.Errorf("%v, and the stream begins at %d: %v", filled, h.first(t), err)
	}
}

// TestForgetNothingOfAnotherLog has segments of a log that was lost, and the loss
// accepted.
func TestForgetNothingOfAnotherLog(t *testing.T) {
	t.Parallel()
	was, is := newHistory(t), newHistory(t)
	was.signed(t, was.open(t, 20, -10*time.Minute))
	is.signed(t, is.open(t, 20, -10*time.Minute))
	if err := was.config(0).Once(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	c := is.config(-2 * waver)
	c.Dir, c.Known = was.dir, was.known // whose key has signed both
	if err := c.forget(t.Context(), stream); err == nil {
		t.Error("nothing is wrong with it")
	}
	if first := is.first(t); first != 1 {
		t.Errorf("the stream begins at %d", first)
	}
}

// damage changes a byte of a file.
func damage(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
