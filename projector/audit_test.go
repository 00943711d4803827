package projector

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// TestAuditBatchingChangesNothing is I6 of the audit.
func TestAuditBatchingChangesNothing(t *testing.T) {
	t.Parallel()
	batchingChangesNothing(t, auditModel())
}

// auditedLog is a log that is longer than a segment, and what the audit must
// have of it, found out without SQL.
func auditedLog(t testing.TB, n int) ([]eventlog.Entry, []fold.Audit) {
	t.Helper()
	entries := partitionLog(3, n)
	var clock time.Time
	opened := map[string]fold.Audit{}
	var rows []fold.Audit
	for _, e := range entries {
		r, err := e.Recorded()
		if err != nil {
			t.Fatal(err)
		}
		a, err := fold.AuditOf(r)
		if err != nil {
			t.Fatal(err)
		}
		if r.Stored.After(clock) {
			clock = r.Stored.UTC()
		}
		a.Time = clock
		if _, ok := r.Fact.(events.GrantOpened); ok {
			opened[a.Grant] = a
		} else if a.Grant != "" {
			a = a.Within(opened[a.Grant])
		}
		rows = append(rows, a)
	}
	return entries, rows
}

func auditStore(t testing.TB, entries []eventlog.Entry) *store {
	t.Helper()
	s := openTestAs(t, auditModel(), t.TempDir())
	if len(entries) > 0 && entries[0].Seq > 1 {
		at := position{seq: entries[0].Seq - 1}
		if err := s.writer.transact(t.Context(), func() error { return s.writer.move(t.Context(), at) }); err != nil {
			t.Fatal(err)
		}
		s.at.Store(&at)
	}
	for batch := range slices.Chunk(entries, 500) {
		if err := s.fold(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// A storeReader reads audits from stores by the names of their streams.
type storeReader struct {
	Reader
	stores map[string]*store
	// most is how many rows a read gives at most, if it is not 0.
	most int
}

func newStoreReader(stores map[string]*store) *storeReader { return &storeReader{stores: stores} }

func (r *storeReader) read(ctx context.Context, at place, what, key string) ([]byte, error) {
	return r.stores[string(at)].read(ctx, what, key)
}

func (r *storeReader) Audit(ctx context.Context, stream string, q AuditQuery, place uint64, limit int) (AuditPage, error) {
	if r.most > 0 {
		limit = min(limit, r.most)
	}
	return states{r}.Audit(ctx, stream, q, place, limit)
}

// all reads a trail to its end, some rows at a time, each page by a new trail
// that knows of the one before only its places.
func all(t testing.TB, r Reader, q AuditQuery, streams []string, limit int) []Traced {
	t.Helper()
	var found []Traced
	var places map[string]uint64
	for {
		trail := NewTrail(r, q, streams, places, nil)
		rows, more, err := trail.Page(t.Context(), limit, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		found, places = append(found, rows...), trail.Places()
		if !more {
			return found
		}
	}
}

// TestAuditFindsByEverything compares answers with those of a walk over all
// events, in both orders and with pages of several sizes.
func TestAuditFindsByEverything(t *testing.T) {
	t.Parallel()
	entries, rows := auditedLog(t, 1<<segmentBits+200)
	for i := range entries { // a whole segment, and some of both beside it
		entries[i].Seq += 1<<segmentBits - 100
		rows[i].Seq = entries[i].Seq
	}
	r := newStoreReader(map[string]*store{"MAIN_EVENTS_0": auditStore(t, entries)})
	texts := map[string]struct {
		of  func(fold.Audit) string
		set func(*AuditQuery, string)
	}{
		"type":    {func(a fold.Audit) string { return a.Type }, func(q *AuditQuery, v string) { q.Types = []string{v} }},
		"client":  {func(a fold.Audit) string { return a.Client }, func(q *AuditQuery, v string) { q.Client = v }},
		"user":    {func(a fold.Audit) string { return a.User }, func(q *AuditQuery, v string) { q.User = v }},
		"grant":   {func(a fold.Audit) string { return a.Grant }, func(q *AuditQuery, v string) { q.Grant = v }},
		"session": {func(a fold.Audit) string { return a.Session }, func(q *AuditQuery, v string) { q.Session = v }},
		"jti":     {func(a fold.Audit) string { return a.JTI }, func(q *AuditQuery, v string) { q.JTI = v }},
		"kid":     {func(a fold.Audit) string { return a.KID }, func(q *AuditQuery, v string) { q.KID = v }},
		"actor":   {func(a fold.Audit) string { return a.Actor }, func(q *AuditQuery, v string) { q.Actor = v }},
		"request": {func(a fold.Audit) string { return a.Request }, func(q *AuditQuery, v string) { q.Request = v }},
		"outcome": {func(a fold.Audit) string { return a.Outcome }, func(q *AuditQuery, v string) { q.Outcome = v }},
		"reason":  {func(a fold.Audit) string { return a.Reason }, func(q *AuditQuery, v string) { q.Reason = v }},
	}
	for name, by := range texts {
		t.Run(name, func(t *testing.T) {
			values := map[string]bool{"nobody": true}
			for _, a := range rows {
				if v := by.of(a); v != "" && len(values) < 4 {
					values[v] = true
				}
			}
			if len(values) < 2 {
				t.Fatal("no event has one")
			}
			for v := range values {
				var q AuditQuery
				by.set(&q, v)
				wantFound(t, r, q, rows, func(a fold.Audit) bool { return by.of(a) == v && (name == "type" || !isTick(a)) })
			}
		})
	}
	t.Run("ancestor", func(t *testing.T) {
		made := map[uint64][]string{}
		for _, e := range entries {
			r, err := e.Recorded()
			if err != nil {
				t.Fatal(err)
			}
			made[r.Seq] = fold.Ancestors(r)
		}
		from := func(jti string) func(fold.Audit) bool {
			return func(a fold.Audit) bool { return slices.Contains(made[a.Seq], jti) }
		}
		middle := rows[len(rows)/2:]
		root := middle[slices.IndexFunc(middle, func(a fold.Audit) bool { return a.Parent != "" })].Parent
		for _, jti := range []string{root, "actor-1", "none"} {
			wantFound(t, r, AuditQuery{Ancestor: jti}, rows, from(jti))
		}
		wantFound(t, r, AuditQuery{Ancestor: "actor-1", Client: "nobody"}, rows, func(fold.Audit) bool { return false })
	})
	t.Run("nothing", func(t *testing.T) {
		wantFound(t, r, AuditQuery{}, rows, func(a fold.Audit) bool { return !isTick(a) })
	})
	t.Run("types", func(t *testing.T) {
		types := []string{"refresh_token.rotated.v1", "refresh_token.repeated.v1"}
		wantFound(t, r, AuditQuery{Types: types}, rows, func(a fold.Audit) bool { return slices.Contains(types, a.Type) })
	})
	t.Run("several", func(t *testing.T) {
		q := AuditQuery{Client: "client-1", User: "user-2", Outcome: fold.OutcomeDone, Types: []string{"refresh_token.rotated.v1"}}
		wantFound(t, r, q, rows, func(a fold.Audit) bool {
			return a.Client == q.Client && a.User == q.User && a.Type == q.Types[0]
		})
	})
	t.Run("time", func(t *testing.T) {
		for _, span := range [][2]int{{0, len(rows) - 1}, {10, 20}, {100, 4200}, {4200, 4200}, {20, 10}} {
			since, until := rows[span[0]].Time, rows[span[1]].Time
			wantFound(t, r, AuditQuery{Since: since, Until: until}, rows, func(a fold.Audit) bool {
				return !isTick(a) && !a.Time.Before(since) && a.Time.Before(until)
			})
		}
		for _, q := range []AuditQuery{{Since: start.AddDate(10, 0, 0)}, {Until: start.AddDate(-10, 0, 0)}} {
			wantFound(t, r, q, rows, func(fold.Audit) bool { return false })
		}
	})
}

func isTick(a fold.Audit) bool { return a.Type == events.FeedTicked{}.Type() }

func wantFound(t *testing.T, r Reader, q AuditQuery, rows []fold.Audit, holds func(fold.Audit) bool) {
	t.Helper()
	var want []Traced
	for _, a := range rows {
		if holds(a) {
			want = append(want, Traced{"MAIN_EVENTS_0", a})
		}
	}
	backwards := slices.Clone(want)
	slices.Reverse(backwards)
	page := max(37, len(want)/8) // eight pages show what two hundred do
	for _, read := range []struct {
		limit  int
		newest bool
		want   []Traced
	}{{page, false, want}, {page, true, backwards}, {len(rows), false, want}} {
		q.Newest = read.newest
		if got := all(t, r, q, []string{"MAIN_EVENTS_0"}, read.limit); len(got) != len(read.want) || len(got) > 0 && !reflect.DeepEqual(got, read.want) {
			t.Errorf("%+v, %d at once: found %d, want %d", q, read.limit, len(got), len(read.want))
		}
	}
}

// TestTrailMergesByTimeThenStream has events of three streams at equal times.
func TestTrailMergesByTimeThenStream(t *testing.T) {
	t.Parallel()
	stores := map[string]*store{}
	streams := []string{"MAIN_EVENTS_1", "MAIN_EVENTS_0", "MAIN_REGISTRY"}
	var want []Traced
	for i, stream := range streams {
		entries, _ := auditedLog(t, 30+10*i)
		var clock time.Time
		for j := range entries {
			clock = start.Add(time.Duration(j/7) * time.Second)
			entries[j].Stored = clock
			r, err := entries[j].Recorded()
			if err != nil {
				t.Fatal(err)
			}
			if a, err := fold.AuditOf(r); err != nil {
				t.Fatal(err)
			} else if !isTick(a) {
				want = append(want, Traced{stream, fold.Audit{Seq: r.Seq, Time: clock}})
			}
		}
		stores[stream] = auditStore(t, entries)
	}
	slices.SortFunc(want, func(a, b Traced) int {
		if c := a.Time.Compare(b.Time); c != 0 {
			return c
		}
		if c := strings.Compare(a.Stream, b.Stream); c != 0 {
			return c
		}
		return int(a.Seq) - int(b.Seq)
	})
	r := newStoreReader(stores)
	for _, r.most = range []int{0, 3} {
		for _, newest := range []bool{false, true} {
			for _, limit := range []int{1, 10, 5000} {
				got := all(t, r, AuditQuery{Newest: newest}, streams, limit)
				if !slices.EqualFunc(got, want, func(a, b Traced) bool { return a.Stream == b.Stream && a.Seq == b.Seq }) {
					t.Fatalf("newest %v, %d at once: another order, %d rows of %d", newest, limit, len(got), len(want))
				}
			}
			slices.Reverse(want)
		}
	}
}

// TestNewestFirstLeavesOutWhatComesLater pages while more is stored.
func TestNewestFirstLeavesOutWhatComesLater(t *testing.T) {
	entries, rows := auditedLog(t, 900)
	s := auditStore(t, entries[:600])
	r := newStoreReader(map[string]*store{"A": s, "B": auditStore(t, nil)})
	q := AuditQuery{Newest: true, Types: []string{"refresh_token.rotated.v1"}}
	first := NewTrail(r, q, []string{"A", "B"}, nil, nil)
	got, _, err := first.Page(t.Context(), 5, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.fold(t.Context(), entries[600:]); err != nil {
		t.Fatal(err)
	}
	if err := r.stores["B"].fold(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	rest, more, err := NewTrail(r, q, []string{"A", "B"}, first.Places(), nil).Page(t.Context(), 5000, time.Minute)
	if err != nil || more {
		t.Fatalf("more %v, %v", more, err)
	}
	want := 0
	for _, a := range rows[:600] {
		if a.Type == q.Types[0] {
			want++
		}
	}
	if got = append(got, rest...); len(got) != want || got[0].Seq > 600 {
		t.Errorf("%d rows, want %d, the first at %d", len(got), want, got[0].Seq)
	}
}

// TestTrailGoesOn finds what was stored after its end.
func TestTrailGoesOn(t *testing.T) {
	entries, _ := auditedLog(t, 900)
	s := auditStore(t, entries[:100])
	trail := NewTrail(newStoreReader(map[string]*store{"A": s}), AuditQuery{}, []string{"A"}, nil, nil)
	seen := 0
	for to := 100; to <= 900; to += 400 {
		if err := s.fold(t.Context(), entries[:to]); err != nil {
			t.Fatal(err)
		}
		trail.Again()
		rows, more, err := trail.Page(t.Context(), 5000, time.Minute)
		if err != nil || more {
			t.Fatalf("more %v, %v", more, err)
		}
		seen += len(rows)
	}
	if want := len(all(t, trail.reader, AuditQuery{}, []string{"A"}, 5000)); seen != want {
		t.Errorf("%d rows, want %d", seen, want)
	}
}

// TestTrailDoesNotLeaveOutWhatIsNeeded fails rather than answer from an index
// that is behind.
func TestTrailDoesNotLeaveOutWhatIsNeeded(t *testing.T) {
	entries, _ := auditedLog(t, 100)
	r := newStoreReader(map[string]*store{"A": auditStore(t, entries)})
	trail := NewTrail(r, AuditQuery{}, []string{"A"}, nil, map[string]uint64{"A": 101})
	if rows, _, err := trail.Page(t.Context(), 10, 0); err == nil || len(rows) > 0 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

// TestAuditIsReadFromAnywhere reads the same in the process and over NATS, and
// after the file was deleted and built again.
func TestAuditIsReadFromAnywhere(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	log := openLog(t, node.Conn(), 1)
	appendAll(t, log, partitionLog(5, 300))
	dir := t.TempDir()
	l := openLocal(t, log, LocalConfig{Dir: dir})
	hash := waitAudited(t, l)
	service := Serve(node.Conn(), l)
	remote := NewRemote(node.Conn(), realm)
	streams := []string{realm.PartitionStream(0), realm.RegistryStream()}
	local := all(t, l, AuditQuery{Newest: true}, streams, 50)
	embeddedtest.Eventually(t, "audits are served", func() bool {
		_, err := remote.Audit(t.Context(), streams[0], AuditQuery{}, 0, 1)
		return err == nil
	})
	if got := all(t, remote, AuditQuery{Newest: true}, streams, 50); len(got) < 250 || !reflect.DeepEqual(got, local) {
		t.Errorf("%d rows over NATS, %d in the process", len(got), len(local))
	}
	service.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := removeFile(filepath.Join(dir, "MAIN_EVENTS_0.audit.db")); err != nil {
		t.Fatal(err)
	}
	l = openLocal(t, log, LocalConfig{Dir: dir})
	if again := waitAudited(t, l); again != hash {
		t.Errorf("state hash %x, before %x", again, hash)
	}
}

// waitAudited waits for the audit of partition 0, and returns its state hash.
func waitAudited(t *testing.T, l *Local) events.Hash {
	t.Helper()
	head, err := l.models.Load().states[0].log.Head(t.Context(), realm.PartitionStream(0))
	if err != nil {
		t.Fatal(err)
	}
	embeddedtest.Eventually(t, "the audit is built", func() bool {
		return l.AuditStatus()[0].Position == head.Seq && l.AuditStatus()[0].Serving
	})
	hash, _, err := l.StateHash(t.Context(), realm.PartitionStream(0)+".audit")
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func TestAuditCanBeLeftOut(t *testing.T) {
	t.Parallel()
	l := openLocal(t, openLog(t, embeddedtest.Single(t).Conn(), 1), LocalConfig{NoAudit: true})
	waitServing(t, l)
	if _, err := l.Audit(t.Context(), realm.RegistryStream(), AuditQuery{}, 0, 1); err == nil || len(l.AuditStatus()) > 0 {
		t.Errorf("got %v", err)
	}
}

func TestAuditKeysAreChecked(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		`{"limit":1}`: true, `{"limit":500,"client":"web"}`: true,
		`{}`: false, `{"limit":501}`: false, `{"limit":1,"unknown":1}`: false, `nothing`: false, `{"limit":-1}`: false,
		fmt.Sprintf(`{"limit":1,"client":%q}`, strings.Repeat("a", maxAuditKey)): false,
	} {
		if validKey("MAIN_EVENTS_0", readAudit, text) != ok {
			t.Errorf("%.40s: want %v", text, ok)
		}
	}
}
