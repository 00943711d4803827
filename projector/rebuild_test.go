package projector

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

func projectionOf(t testing.TB, l *Local, model string) Projection {
	t.Helper()
	p, err := l.Projection(model)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// waitBeside waits until what is beside the live read model is in a state.
func waitBeside(t testing.TB, l *Local, model, state string) Slot {
	t.Helper()
	var beside Slot
	embeddedtest.Eventually(t, model+" is "+state, func() bool {
		p := projectionOf(t, l, model)
		if p.Beside != nil {
			beside = *p.Beside
		}
		return beside.State == state
	})
	return beside
}

func rebuilt(t testing.TB, l *Local, model string) {
	t.Helper()
	if err := l.Rebuild(t.Context(), model, 0); err != nil {
		t.Fatal(err)
	}
	waitBeside(t, l, model, SlotBuilt)
}

func compared(t testing.TB, l *Local, model string) Diff {
	t.Helper()
	if err := l.Diff(model, 0); err != nil {
		t.Fatal(err)
	}
	var d Diff
	embeddedtest.Eventually(t, model+" is compared", func() bool {
		d = *projectionOf(t, l, model).Diff
		return !d.Running
	})
	return d
}

func must[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}

// traffic appends and reads, in the process and over NATS, until it is ended.
// No read may fail, and none may see less than one before it.
func traffic(t *testing.T, nc *nats.Conn, log *eventlog.Log, l *Local) (end func() (reads int64)) {
	t.Helper()
	service := Serve(nc, l)
	remote := NewRemote(nc, realm)
	waitAnswered(t, remote, grantID(1))
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var reads atomic.Int64
	for _, r := range []Reader{l, l, remote} {
		running.Go(func() {
			var seen, indexed uint64
			for wait(ctx, time.Millisecond) {
				held, err := r.Held(t.Context(), 0, "nobody", "")
				if err != nil || held.Position < seen {
					t.Errorf("read at %d behind %d: %v", held.Position, seen, err)
					return
				}
				page, err := r.Audit(t.Context(), stream, AuditQuery{Newest: true}, 0, 1)
				if err != nil || page.Position < indexed {
					t.Errorf("audit at %d behind %d: %v", page.Position, indexed, err)
					return
				}
				seen, indexed = held.Position, page.Position
				reads.Add(2)
			}
		})
	}
	running.Go(func() {
		for n := uint64(0); wait(ctx, time.Millisecond); n++ {
			openGrant(t, log, events.NewGrantID(0, [16]byte{7, byte(n >> 16), byte(n >> 8), byte(n)}))
		}
	})
	return func() int64 {
		stop()
		running.Wait()
		service.Close()
		return reads.Load()
	}
}

// TestRebuildUnderTraffic builds, compares, switches and drops every read model
// while it is read and written. No read fails, and in the end the rows are
// those of a fresh replay.
func TestRebuildUnderTraffic(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	log := openLog(t, node.Conn(), 1)
	dir := t.TempDir()
	l := openLocal(t, log, LocalConfig{Dir: dir})
	appendAll(t, log, partitionLog(41, 300))
	waitServing(t, l)
	waitAudited(t, l)
	end := traffic(t, node.Conn(), log, l)
	for _, p := range l.Projections() {
		rebuilt(t, l, p.Model)
		if d := compared(t, l, p.Model); !d.Same || d.Err != nil || d.Position == 0 && p.Stream == stream {
			t.Fatalf("%s: %+v", p.Model, d)
		}
		if err := l.Switch(t.Context(), p.Model, false); err != nil {
			t.Fatal(err)
		}
		now := projectionOf(t, l, p.Model)
		if now.Live.Slot == p.Live.Slot || now.Live.State != SlotLive || now.Beside.State != SlotPrevious {
			t.Errorf("after a switch: %+v", now)
		}
		if err := l.Drop(p.Model); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil || len(files) != len(l.Projections()) {
		t.Errorf("files %v, %v", files, err)
	}
	if reads := end(); reads < 100 {
		t.Errorf("%d reads", reads)
	}
	head := must(log.Head(t.Context(), stream))
	waitPosition(t, l, head.Seq)
	fresh := openLocal(t, log, LocalConfig{})
	waitPosition(t, fresh, head.Seq)
	wantSameRows(t, l, fresh)
}

// TestSwitchIsKept starts again on what was switched to, without what was beside
// it, and builds the next in the first file.
func TestSwitchIsKept(t *testing.T) {
	t.Parallel()
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	dir := t.TempDir()
	l := openLocal(t, log, LocalConfig{Dir: dir, NoAudit: true})
	seq := openGrants(t, log, 0, 20)
	waitPosition(t, l, seq)
	rebuilt(t, l, stream)
	compared(t, l, stream)
	synchronous := func(w *worker) (n int) {
		if err := w.store.Load().writer.conn.QueryRowContext(t.Context(), `PRAGMA synchronous`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := synchronous(must(l.projection(stream)).beside); n != 0 {
		t.Errorf("what is built is synced: %d", n)
	}
	// There and back again and there: they remain the same.
	for range 3 {
		if err := l.Switch(t.Context(), stream, false); err != nil {
			t.Fatal(err)
		}
	}
	if n := synchronous(must(l.projection(stream)).live.Load()); n != 1 {
		t.Errorf("what is live is not synced: %d", n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLocal(t, log, LocalConfig{Dir: dir, NoAudit: true})
	if p := projectionOf(t, l, stream); p.Live.Slot != 2 || p.Live.Position != seq || p.Beside != nil {
		t.Errorf("opened %+v", p)
	}
	if _, err := os.Stat(filepath.Join(dir, stream+".db")); !os.IsNotExist(err) {
		t.Errorf("the first file: %v", err)
	}
	rebuilt(t, l, stream)
	if p := projectionOf(t, l, stream); p.Beside.Slot != 1 || p.Diff != nil {
		t.Errorf("built %+v", p)
	}
}

// TestDifferencesAreNamed compares with a read model that somebody has changed:
// it cannot be switched from by accident.
func TestDifferencesAreNamed(t *testing.T) {
	t.Parallel()
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	l := openLocal(t, log, LocalConfig{NoAudit: true})
	seq := openGrants(t, log, 0, 60)
	waitPosition(t, l, seq)
	rebuilt(t, l, stream)
	file := l.models.Load().places["0"].live.Load().store.Load().writer.db
	for _, change := range []string{
		`UPDATE grants SET user = 'mallory' WHERE id = '` + grantID(3).String() + `'`,
		`DELETE FROM grants WHERE id = '` + grantID(5).String() + `'`,
		`INSERT INTO participants VALUES ('s', 'c', 1, 'u', 'u', 0, 0)`,
	} {
		if _, err := file.ExecContext(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	d := compared(t, l, stream)
	want := []Difference{{"grants", grantID(3).String(), "both"}, {"grants", grantID(5).String(), "beside"}, {"participants", "s.c", "live"}}
	if d.Same || d.Err != nil || d.Position != seq || d.Rows != 61 || d.Live == d.Beside {
		t.Errorf("compared %+v", d)
	}
	if len(d.Differences) != len(want) {
		t.Fatalf("differences %v", d.Differences)
	}
	for i, one := range d.Differences {
		if one != want[i] {
			t.Errorf("difference %v, want %v", one, want[i])
		}
	}
	if err := l.Switch(t.Context(), stream, false); !errors.Is(err, ErrNotCompared) {
		t.Errorf("switch: %v", err)
	}
	if err := l.Switch(t.Context(), stream, true); err != nil {
		t.Errorf("forced switch: %v", err)
	}
	if g := waitGrant(t, l, grantID(3), 1); g.User != "alice" {
		t.Errorf("read %+v", g)
	}
	if _, err := must(l.projection(stream)).beside.store.Load().writer.db.ExecContext(t.Context(), `DELETE FROM grants`); err != nil {
		t.Fatal(err)
	}
	if d = compared(t, l, stream); len(d.Differences) != MaxDifferences || d.Rows != 61 {
		t.Errorf("%d differences in %d rows", len(d.Differences), d.Rows)
	}
}

// TestHashesOfADiff are those of StateHash.
func TestHashesOfADiff(t *testing.T) {
	t.Parallel()
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	l := openLocal(t, log, LocalConfig{})
	appendAll(t, log, partitionLog(43, 200))
	for _, p := range l.Projections() {
		rebuilt(t, l, p.Model)
		d := compared(t, l, p.Model)
		hash, seq, err := l.StateHash(t.Context(), p.Model)
		if err != nil || d.Live != hash || d.Beside != hash || d.Position != seq {
			t.Errorf("%s: %+v, want %x at %d, %v", p.Model, d, hash, seq, err)
		}
	}
}

func TestRebuildIsThrottled(t *testing.T) {
	t.Parallel()
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	l := openLocal(t, log, LocalConfig{NoAudit: true})
	seq := openGrants(t, log, 0, 200)
	waitPosition(t, l, seq)
	began := time.Now()
	if err := l.Rebuild(t.Context(), stream, 20); err != nil {
		t.Fatal(err)
	}
	embeddedtest.Eventually(t, "some are folded", func() bool { return projectionOf(t, l, stream).Beside.Position >= 10 })
	s := *projectionOf(t, l, stream).Beside
	if most := 20*time.Since(began).Seconds() + 3; float64(s.Position) > most {
		t.Errorf("position %d, want %v at most", s.Position, most)
	}
	if s.State != SlotBuilding || s.Rate != 20 || s.Head != seq {
		t.Errorf("%+v", s)
	}
	if err := l.Switch(t.Context(), stream, true); !errors.Is(err, ErrBehind) {
		t.Errorf("switch: %v", err)
	}
	if err := l.Diff(stream, 0); !errors.Is(err, ErrBehind) {
		t.Errorf("diff: %v", err)
	}
	// A part that was waited for is still folded at the old rate.
	rebuilt(t, l, stream)
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("without a limit it took %v", took)
	}
}

func TestOperationsInTheWrongState(t *testing.T) {
	t.Parallel()
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	l := openLocal(t, log, LocalConfig{NoAudit: true})
	waitServing(t, l)
	rebuild := func(model string) error { return l.Rebuild(t.Context(), model, 0) }
	diff := func(model string) error { return l.Diff(model, 0) }
	swap := func(model string) error { return l.Switch(t.Context(), model, false) }
	wantErr := func(what string, do func(string) error, model string, want error) {
		t.Helper()
		if err := do(model); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
	}
	for what, do := range map[string]func(string) error{"rebuild": rebuild, "diff": diff, "switch": swap, "drop": l.Drop} {
		wantErr(what, do, stream+".audit", ErrNoModel)
		if what != "rebuild" {
			wantErr(what, do, stream, ErrNotBuilt)
		}
	}
	rebuilt(t, l, stream)
	wantErr("switch without a diff", swap, stream, ErrNotCompared)
	rebuilt(t, l, stream) // again, which changes nothing
	compared(t, l, stream)
	wantErr("switch", swap, stream, nil)
	wantErr("rebuild before drop", rebuild, stream, ErrPrevious)
	must(l.projection(stream)).operation.Lock()
	for what, do := range map[string]func(string) error{"rebuild": rebuild, "diff": diff, "switch": swap, "drop": l.Drop} {
		wantErr(what, do, stream, ErrBusy)
	}
	must(l.projection(stream)).operation.Unlock()
	wantErr("drop", l.Drop, stream, nil)
	wantErr("drop again", l.Drop, stream, ErrNotBuilt)
}

// A file that was built again is not the one that was compared.
func TestComparisonIsOfTheFile(t *testing.T) {
	t.Parallel()
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	l := openLocal(t, log, LocalConfig{NoAudit: true})
	waitPosition(t, l, openGrants(t, log, 0, 10))
	rebuilt(t, l, stream)
	compared(t, l, stream)
	beside := must(l.projection(stream)).beside
	beside.unreadable(beside.store.Load(), errDisposable)
	embeddedtest.Eventually(t, "it is not the one that was compared", func() bool {
		return errors.Is(l.Switch(t.Context(), stream, false), ErrNotCompared)
	})
}

// TestBuildThatFails has a log whose first messages are gone, as an archiver
// leaves it, and no archive. The build stops, and nothing else does.
func TestBuildThatFails(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	log := openLog(t, node.Conn(), 1)
	l := openLocal(t, log, LocalConfig{NoAudit: true})
	seq := openGrants(t, log, 0, 10)
	waitPosition(t, l, seq)
	s, err := must(jetstream.New(node.Conn())).Stream(t.Context(), stream)
	if err == nil {
		err = s.Purge(t.Context(), jetstream.WithPurgeSequence(4))
	}
	if err == nil {
		err = l.Rebuild(t.Context(), stream, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	if beside := waitBeside(t, l, stream, SlotStopped); !errors.Is(beside.Err, eventlog.ErrGap) {
		t.Errorf("%+v", beside)
	}
	if err := log.Failed(stream); err != nil {
		t.Fatal(err)
	}
	waitGrant(t, l, grantID(20), openGrant(t, log, grantID(20)))
	if err := l.Rebuild(t.Context(), stream, 0); !errors.Is(err, ErrPrevious) {
		t.Errorf("rebuild: %v", err)
	}
	if err := l.Drop(stream); err != nil {
		t.Error(err)
	}
}

// TestDiffFindsAnotherLog is I8: what was folded before is not what is in the log
// now, although both are as long.
func TestDiffFindsAnotherLog(t *testing.T) {
	t.Parallel()
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	l := openLocal(t, log, LocalConfig{NoAudit: true})
	waitPosition(t, l, openGrants(t, log, 0, 10))
	if _, err := l.models.Load().places["0"].live.Load().store.Load().writer.db.ExecContext(t.Context(), `UPDATE meta SET hash = ?`, hashText(events.Hash{1})); err != nil {
		t.Fatal(err)
	}
	rebuilt(t, l, stream)
	if d := compared(t, l, stream); d.Same || !errors.Is(d.Err, errDiverged) {
		t.Errorf("%+v", d)
	}
	wantFailedClosed(t, log, l, errDiverged)
	if err := l.Switch(t.Context(), stream, true); !errors.Is(err, ErrBehind) {
		t.Errorf("switch: %v", err)
	}
}

// TestCloseGivesUpABuild closes in the middle of everything, more than once.
func TestCloseGivesUpABuild(t *testing.T) {
	t.Parallel()
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	l := openLocal(t, log, LocalConfig{NoAudit: true})
	waitPosition(t, l, openGrants(t, log, 0, 100))
	rebuilt(t, l, stream)
	if err := errors.Join(l.Diff(stream, 1), l.Rebuild(t.Context(), realm.RegistryStream(), 1)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := l.Drop(stream); !errors.Is(err, ErrBusy) {
		t.Errorf("drop: %v", err)
	}
}
