package projector

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

const realm = events.DefaultRealm

func openLog(t testing.TB, nc *nats.Conn, replicas int) *eventlog.Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	defer cancel()
	l, err := eventlog.Open(ctx, nc, eventlog.Config{Realm: realm, Replicas: replicas})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func openLocal(t testing.TB, log *eventlog.Log, cfg LocalConfig) *Local {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	l, err := OpenLocal(t.Context(), log, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func waitServing(t testing.TB, l *Local) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	defer cancel()
	if err := l.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// appendAll appends the events of a history to the log.
func appendAll(t testing.TB, log *eventlog.Log, entries []eventlog.Entry) {
	t.Helper()
	last := map[events.Subject]uint64{}
	for _, e := range entries {
		r, err := e.Recorded()
		if err != nil {
			t.Fatal(err)
		}
		u := eventlog.Unit{Event: r.Event}
		if r.Subject.Guarded() {
			u.Expect = last[r.Subject]
		}
		receipt, err := log.Append(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		last[r.Subject] = receipt.Seq
	}
}

func openGrant(t testing.TB, log *eventlog.Log, id events.GrantID) uint64 {
	t.Helper()
	r, err := log.Append(t.Context(), eventlog.Unit{Event: events.Event{
		ID: "open-" + id.String(), Source: "test", Subject: realm.GrantSubject(id),
		Fact: events.GrantOpened{Client: "web", User: "alice", Expires: 1 << 40, Code: &events.Code{MACKey: 1}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return r.Seq
}

func grantID(n byte) events.GrantID { return events.NewGrantID(0, [16]byte{15: n}) }

func waitGrant(t testing.TB, r Reader, id events.GrantID, seq uint64) fold.Grant {
	t.Helper()
	var g fold.Grant
	embeddedtest.Eventually(t, "grant is folded", func() bool {
		var err error
		g, err = r.Grant(t.Context(), id)
		return err == nil && g.Seq >= seq
	})
	return g
}

func TestLocalReadsWhatWasAppended(t *testing.T) {
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	l := openLocal(t, log, LocalConfig{})
	waitServing(t, l)

	if g, err := l.Grant(t.Context(), grantID(1)); err != nil || g.Exists() {
		t.Fatalf("before it was opened: %+v, %v", g, err)
	}
	seq := openGrant(t, log, grantID(1))
	if g := waitGrant(t, l, grantID(1), seq); g.Client != "web" || g.ID != grantID(1) {
		t.Errorf("got %+v", g)
	}
	if _, err := l.Grant(t.Context(), events.NewGrantID(9, [16]byte{})); !errors.Is(err, ErrUnavailable) {
		t.Errorf("another partition: got %v, want ErrUnavailable", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Grant(ended, grantID(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: got %v", err)
	}
}

// A projector that returns goes on where it was; one without a file, or with
// one that turns out to be damaged, ends up with the same rows.
func TestLocalGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	dir := t.TempDir()
	l := openLocal(t, log, LocalConfig{Dir: dir})
	appendAll(t, log, partitionLog(21, 300))
	waitPosition(t, l, 300)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	seq := openGrant(t, log, grantID(1))

	l = openLocal(t, log, LocalConfig{Dir: dir})
	waitGrant(t, l, grantID(1), seq)
	fresh := openLocal(t, log, LocalConfig{})
	waitGrant(t, fresh, grantID(1), seq)
	wantSameRows(t, l, fresh)

	// The next event finds a row that cannot be read.
	if _, err := l.models.Load().places["0"].live.Load().store.Load().writer.db.ExecContext(t.Context(), `UPDATE grants SET state = '{'`); err != nil {
		t.Fatal(err)
	}
	put(t, log, realm.GrantSubject(grantID(1)), seq, events.GrantRevoked{Reason: events.ReasonUserRequest})
	waitGrant(t, l, grantID(1), seq+1)
	waitGrant(t, fresh, grantID(1), seq+1)
	wantSameRows(t, l, fresh)
}

// TestDamageAtRest is found where it is read, also in a file that was closed in order
// and is not checked therefore. The read model is built again.
func TestDamageAtRest(t *testing.T) {
	t.Parallel()
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	appendAll(t, log, partitionLog(9, 300))
	seq := openGrant(t, log, grantID(1))
	dir := t.TempDir()
	l := openLocal(t, log, LocalConfig{Dir: dir})
	waitPosition(t, l, seq)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, stream+".db")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !closedInOrder(path) {
		t.Fatal("the file was not closed in order")
	}
	const pages = 4 * 4096 // that can be read: those of the schema and the position
	copy(data[pages:], bytes.Repeat([]byte{0xa5}, len(data)-pages))
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var logged logBuffer
	l = openLocal(t, log, LocalConfig{Dir: dir, Logger: logged.logger()})
	waitGrant(t, l, grantID(1), seq)
	fresh := openLocal(t, log, LocalConfig{})
	waitGrant(t, fresh, grantID(1), seq)
	wantSameRows(t, l, fresh)
	if text := logged.String(); !strings.Contains(text, "malformed") {
		t.Errorf("nobody is told: %s", text)
	}
}

func wantSameRows(t *testing.T, a, b *Local) {
	t.Helper()
	for _, s := range a.Status() {
		hashA, seqA, errA := a.StateHash(t.Context(), s.Stream)
		hashB, seqB, errB := b.StateHash(t.Context(), s.Stream)
		if errA != nil || errB != nil || hashA != hashB || seqA != seqB {
			t.Errorf("%s: %x at %d, %v and %x at %d, %v", s.Stream, hashA, seqA, errA, hashB, seqB, errB)
		}
	}
}

func TestStatusShowsTheLag(t *testing.T) {
	t.Parallel()
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	var held gate
	l := openLocal(t, log, LocalConfig{Gate: held.pass})
	seq := openGrant(t, log, grantID(1))
	waitGrant(t, l, grantID(1), seq)
	held.set(true)
	openGrant(t, log, grantID(2))
	openGrant(t, log, grantID(3))
	embeddedtest.Eventually(t, "lag is seen", func() bool {
		s := l.Status()[0]
		return s.Stream == stream && s.Position == seq && s.Head == seq+2 && s.Behind == 2 && s.Lag > 0 && s.Serving && s.Err == nil
	})
	if g, err := l.Grant(t.Context(), grantID(3)); err != nil || g.Exists() {
		t.Errorf("held back: got %+v, %v", g, err)
	}
	held.set(false)
	waitGrant(t, l, grantID(3), seq+2)
	embeddedtest.Eventually(t, "no lag", func() bool { return l.Status()[0].Behind == 0 && l.Status()[0].Lag == 0 })
}

// Each partition has its own stream and file, and its own grants.
func TestPartitionsAreApart(t *testing.T) {
	t.Parallel()
	log, err := eventlog.Open(t.Context(), embeddedtest.Single(t).Conn(), eventlog.Config{Realm: realm, Partitions: 3})
	if err != nil {
		t.Fatal(err)
	}
	l := openLocal(t, log, LocalConfig{})
	for p := range events.Partition(3) {
		id := events.NewGrantID(p, [16]byte{15: 1})
		g := waitGrant(t, l, id, openGrant(t, log, id))
		if g.ID != id || g.Seq != 1 {
			t.Errorf("partition %d: got %+v", p, g)
		}
	}
	if all := l.Status(); len(all) != 4 || all[2].Stream != realm.PartitionStream(2) || all[3].Stream != realm.RegistryStream() {
		t.Errorf("status %+v", all)
	}
}

// TestStatesComeBeforeTheAudit: a process serves nothing until states are built, which
// must not wait for cores that build the audit.
func TestStatesComeBeforeTheAudit(t *testing.T) {
	t.Parallel()
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	l := openLocal(t, log, LocalConfig{})
	appendAll(t, log, partitionLog(5, 100))
	waitAudited(t, l)

	// The same once more, with states that nobody folds yet.
	stream, cfg := realm.PartitionStream(0), l.cfg
	l.cfg.Dir = t.TempDir()
	states := must(l.openProjection(t.Context(), stream, partitionModel(), nil))
	audit := must(l.openProjection(t.Context(), stream, auditModel(), states))
	l.cfg = cfg
	t.Cleanup(func() { _ = errors.Join(l.Close(), closeAll([]*projection{states, audit})) })

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := audit.live.Load().start(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the audit begins before states have: %v", err)
	}
	states.start(states.live.Load())
	if _, err := audit.live.Load().start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := states.live.Load().status(); !s.Serving {
		t.Errorf("states are at %d when the audit begins", s.Position)
	}

	// Who has stopped keeps nobody waiting, and who serves waits for nobody.
	again := audit.newWorker(0, audit.live.Load().store.Load())
	states.live.Load().set(func() { states.live.Load().caughtUp = false })
	if again.due(ctx) {
		t.Error("the audit does not wait for states that are built again")
	}
	states.live.Load().set(func() { states.live.Load().stopped = true })
	if !again.due(t.Context()) {
		t.Error("the audit waits for states that have stopped")
	}
	states.live.Load().set(func() { states.live.Load().stopped = false })
	again.set(func() { again.caughtUp = true })
	if !again.due(ctx) {
		t.Error("an audit that serves waits for states")
	}

	m := l.models.Load()
	for i := range m.states {
		if m.audits[i].after != m.states[i] || m.trees[i].after != nil || m.states[i].after != nil {
			t.Errorf("%s: another order", m.states[i].stream)
		}
	}
}

// TestGatheredIsFoldedOnce, though the worker is interrupted, ends and begins again in
// the middle of it.
func TestGatheredIsFoldedOnce(t *testing.T) {
	t.Parallel()
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	entries := partitionLog(8, 600)
	appendAll(t, log, entries)
	want := openLocal(t, log, LocalConfig{gathering: 1})
	waitAudited(t, want)

	var calls atomic.Int64
	dir, interrupted := t.TempDir(), errors.New("interrupted")
	cfg := LocalConfig{Dir: dir, gathering: 40, Gate: func(context.Context, string) error {
		if calls.Add(1)%3 == 0 {
			return interrupted
		}
		return nil
	}}
	l := openLocal(t, log, cfg)
	embeddedtest.Eventually(t, "some of it is folded", func() bool { return l.Status()[0].Position > 0 })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLocal(t, log, cfg)
	if got, want := waitAudited(t, l), waitAudited(t, want); got != want {
		t.Error("the audit differs from one that is folded event by event")
	}
	waitPosition(t, l, 600)
	wantSameRows(t, l, want)
}

// TestGather: where much is to come, much is folded together.
func TestGather(t *testing.T) {
	t.Parallel()
	entry := func(seq uint64) []eventlog.Entry { return []eventlog.Entry{{Seq: seq}} }
	for _, tt := range []struct {
		name     string
		target   uint64
		caughtUp bool
		limit    int
		want     int
	}{
		{"much", gathering + 10, false, 0, gathering},
		{"little", gathering, false, 0, 1},
		{"caught up", gathering + 10, true, 0, 1},
		{"slowly", gathering + 10, false, 100, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &worker{target: tt.target, caughtUp: tt.caughtUp, gathering: gathering}
			w.brake.limit(tt.limit)
			seq, got := uint64(1), w.gather(entry(1))
			for got == nil {
				seq++
				got = w.gather(entry(seq))
			}
			if len(got) != tt.want || got[len(got)-1].Seq != seq || got[0].Seq != 1 {
				t.Errorf("%d entries are folded together, want %d", len(got), tt.want)
			}
			// What is left is less than that.
			if next := w.gather(entry(seq + 1)); len(next) != 1 {
				t.Errorf("then %d, want 1", len(next))
			}
		})
	}
}
