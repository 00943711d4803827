package projector

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// errCrash is a transaction that was never committed.
var errCrash = errors.New("crash")

// TestBatchingChangesNothing is I6: random batches, redelivered ones, crashes
// in the middle of a transaction and restarts leave the rows of a fresh replay.
func TestBatchingChangesNothing(t *testing.T) {
	t.Parallel()
	batchingChangesNothing(t, partitionModel())
}

// TestMain has properties checked 40 times instead of 100, but where
// -rapid.checks says otherwise: a check opens three files or more, and every run
// takes others.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "40"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func batchingChangesNothing(t *testing.T, m model) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		entries := partitionLog(rapid.Uint64().Draw(rt, "seed"), rapid.IntRange(1, 300).Draw(rt, "length"))
		want := replayedAs(t, m, entries)
		dir := t.TempDir()
		s := openTestAs(t, m, dir)
		for int(s.position().seq) < len(entries) {
			seq := int(s.position().seq)
			from := seq - min(seq, rapid.IntRange(0, 20).Draw(rt, "again"))
			to := min(len(entries), seq+rapid.IntRange(1, 80).Draw(rt, "batch"))
			switch rapid.IntRange(0, 9).Draw(rt, "fate") {
			case 0:
				crash(rt, s, entries[seq:to])
			case 1:
				_ = s.close()
				s = openTestAs(t, m, dir)
			default:
				if err := s.fold(t.Context(), entries[from:to]); err != nil {
					rt.Fatal(err)
				}
			}
		}
		if got := stateHash(t, s); got != want {
			rt.Fatalf("state hash %x, a fresh replay has %x", got, want)
		}
	})
}

// crash folds a batch and drops the transaction in the end.
func crash(t *rapid.T, s *store, batch []eventlog.Entry) {
	err := s.writer.transact(t.Context(), func() error {
		if _, _, err := s.foldRows(t.Context(), batch); err != nil {
			return err
		}
		return errCrash
	})
	if !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
}

func TestRowsCanBeAsked(t *testing.T) {
	s := openTest(t, t.TempDir())
	h := newHistory(1)
	id := events.NewGrantID(0, [16]byte{0, 1})
	h.onGrant(fold.Grant{ID: id}, events.GrantOpened{
		Client: "web", User: "alice", Expires: start.Unix() + 3600, Code: &events.Code{MACKey: 1},
	})
	h.write(events.DefaultRealm.GrantSubject(id), events.GrantRevoked{Reason: events.ReasonUserRequest})
	h.write(events.DefaultRealm.RevokedSubject(0), events.GrantRevocationMarked{Grant: id, Until: start.Unix() + 300})
	h.write(events.DefaultRealm.IssuedSubject(0, "svc"), events.AccessTokenIssued{JTI: "j", Client: "svc", Expires: start.Unix() + 60})
	h.write(events.DefaultRealm.IssuedSubject(0, "gateway"), events.TokenExchanged{
		AccessTokenIssued: events.AccessTokenIssued{JTI: "k", Client: "gateway", Subject: "alice", Expires: start.Unix() + 60},
		Grant:             id, Act: &events.Actor{Subject: "svc"},
		Chain: []events.Ancestor{{JTI: "first"}, {JTI: "j", Actor: &events.ActorToken{}}},
	})
	if err := s.fold(t.Context(), h.entries); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		`SELECT id FROM grants WHERE user = 'alice' AND client = 'web'`: id.String(),
		`SELECT revoked_reason FROM grants`:                             events.ReasonUserRequest,
		`SELECT seq || ' ' || generation FROM grants`:                   "2 0",
		`SELECT datetime(expires, 'unixepoch') FROM grants`:             "2026-03-01 13:00:00",
		`SELECT strftime('%Y-%m', revoked_at) FROM grants`:              "2026-03",
		`SELECT state ->> 'client' FROM grants`:                         "web",
		`SELECT kind || ' ' || id FROM revocations`:                     "grant " + id.String(),
		`SELECT client FROM issued WHERE jti = 'j'`:                     "svc",
		`SELECT parent IS NULL FROM issued WHERE jti = 'j'`:             "1",
		`SELECT jti || ' ' || actor FROM issued WHERE parent = 'first'`: "k svc",
		`SELECT jti FROM issued WHERE grant_id = '` + id.String() + `'`: "k",
		`SELECT position FROM meta WHERE stream = 'MAIN_EVENTS_0'`:      "5",
		`SELECT julianday(clock) BETWEEN 2461101 AND 2461102 FROM meta`: "1",
	} {
		var got string
		if err := s.reader.QueryRowContext(t.Context(), query).Scan(&got); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", query, got, err, want)
		}
	}
}

func TestFinishedRowsGo(t *testing.T) {
	h := newHistory(1)
	id := events.NewGrantID(0, [16]byte{0, 1})
	end := start.Unix() + 600
	h.onGrant(fold.Grant{ID: id}, events.GrantOpened{Client: "web", Expires: end, Code: &events.Code{}})
	h.write(events.DefaultRealm.IssuedSubject(0, "svc"), events.AccessTokenIssued{JTI: "j", Expires: end})
	h.write(events.DefaultRealm.RevokedSubject(0), events.AccessTokenRevoked{JTI: "j", Until: end})
	tick := func(seconds int64) {
		h.write(events.DefaultRealm.RevokedSubject(0), events.FeedTicked{})
		h.entries[len(h.entries)-1].Stored = time.Unix(seconds, 0)
	}
	s := openTest(t, t.TempDir())
	rows := func(want int) {
		t.Helper()
		if err := s.fold(t.Context(), h.entries); err != nil {
			t.Fatal(err)
		}
		var n int
		err := s.reader.QueryRowContext(t.Context(),
			`SELECT (SELECT count(*) FROM grants) + (SELECT count(*) FROM issued) + (SELECT count(*) FROM revocations)`).Scan(&n)
		if err != nil || n != want {
			t.Errorf("%d rows at %v, %v, want %d", n, s.position().clock, err, want)
		}
	}
	rows(3)
	tick(end + fold.Slack - 1)
	rows(3)
	tick(end - 3600) // a clock stepped back
	rows(3)
	tick(end + fold.Slack)
	rows(0)
	tick(end - 3600) // revives nothing
	rows(0)
	s = openTest(t, t.TempDir()) // all in one batch
	rows(0)
}

// A marker that is repeated with an earlier end takes nothing back.
func TestRevocationsKeepTheLatestEnd(t *testing.T) {
	s := openTest(t, t.TempDir())
	h := newHistory(1)
	for _, until := range []int64{300, 900, 600} {
		h.write(events.DefaultRealm.RevokedSubject(0), events.AccessTokenRevoked{JTI: "j", Until: start.Unix() + until})
	}
	if err := s.fold(t.Context(), h.entries); err != nil {
		t.Fatal(err)
	}
	var until, seq int64
	err := s.reader.QueryRowContext(t.Context(), `SELECT until, seq FROM revocations`).Scan(&until, &seq)
	if err != nil || until != start.Unix()+900 || seq != 3 {
		t.Errorf("until %d at sequence %d, %v", until-start.Unix(), seq, err)
	}
}

// TestLateEvents has events on a grant whose row is gone. Whether they are in
// the batch that deletes it or in a later one, they change nothing, unless they
// prove that it should be there.
func TestLateEvents(t *testing.T) {
	t.Parallel()
	id := events.NewGrantID(0, [16]byte{0, 1})
	on := events.DefaultRealm.GrantSubject(id)
	end := start.Unix() + 600
	issued := func(exp int64) events.Issuance {
		return events.Issuance{Generation: 1, JTI: "j", MACKey: 1, Expires: exp}
	}
	tests := []struct {
		name   string
		late   events.Fact
		poison bool
	}{
		{"revoked", events.GrantRevoked{Reason: events.ReasonAdminRequest}, false},
		{"repeated", events.RefreshTokenRepeated{Generation: 2}, false},
		{"redeemed", events.CodeRedeemed{Issuance: issued(end)}, false},
		{"rotated", events.RefreshTokenRotated{Issuance: issued(end)}, false},
		{"redeemed for longer than the grant", events.CodeRedeemed{Issuance: issued(end + 3600)}, true},
		{"not a grant's", events.ClientDisabled{}, true},
	}
	for _, tt := range tests {
		for _, size := range []int{1, 10} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, size), func(t *testing.T) {
				h := newHistory(1)
				h.onGrant(fold.Grant{ID: id}, events.GrantOpened{Client: "web", Expires: end, Code: &events.Code{}})
				h.clock = time.Unix(end+fold.Slack+10, 0)
				h.write(on, tt.late)
				s := openTest(t, t.TempDir())
				var err error
				for i := 0; i < len(h.entries) && err == nil; i += size {
					err = s.fold(t.Context(), h.entries[i:min(i+size, len(h.entries))])
				}
				if got := errors.Is(err, fold.ErrPoison); got != tt.poison || (err != nil && !got) {
					t.Fatalf("got %v, want poison: %v", err, tt.poison)
				}
			})
		}
	}
}

// TestRefusalsChangeNothing but the position. What is no refusal does not belong
// where they are.
func TestRefusalsChangeNothing(t *testing.T) {
	s, h := openTest(t, t.TempDir()), newHistory(1)
	for len(h.entries) < 50 {
		h.step()
	}
	if err := s.fold(t.Context(), h.entries); err != nil {
		t.Fatal(err)
	}
	before := stateHash(t, s)
	on := events.DefaultRealm.RefusedSubject(0)
	id := events.NewGrantID(0, [16]byte{0, 1})
	h.write(on, events.RequestRefused{What: "refresh_token", Grant: id, Reason: "invalid_refresh_token", Count: 1})
	if err := s.fold(t.Context(), h.entries); err != nil || stateHash(t, s) != before {
		t.Errorf("%v, or the rows are others", err)
	}
	h.write(on, events.FeedTicked{})
	if err := s.fold(t.Context(), h.entries); !errors.Is(err, fold.ErrPoison) {
		t.Errorf("got %v, want poison", err)
	}
}

func TestPoisonStopsBehindWhatCouldBeFolded(t *testing.T) {
	of := func(e *eventlog.Entry, typ string) {
		wire := e.Message.Header.Wire()
		wire["ce-type"] = []string{typ}
		e.Message.Header = events.OwnHeader(wire)
	}
	undecodable := func(e *eventlog.Entry) { of(e, "grant.burnt.v1") }
	unfoldable := func(e *eventlog.Entry) {
		of(e, "client.enabled.v1")
		e.Message.Data = []byte("{}")
	}
	for name, spoil := range map[string]func(*eventlog.Entry){"undecodable": undecodable, "unfoldable": unfoldable} {
		t.Run(name, func(t *testing.T) {
			entries := partitionLog(7, 100)
			spoil(&entries[60])
			s := openTest(t, t.TempDir())
			for range 2 {
				err := s.fold(t.Context(), entries[s.position().seq:])
				if !errors.Is(err, fold.ErrPoison) || !bytes.Contains([]byte(err.Error()), []byte("sequence 61")) {
					t.Fatalf("got %v, want poison at sequence 61", err)
				}
				if seq := s.position().seq; seq != 60 {
					t.Fatalf("position %d, want 60", seq)
				}
			}
			if got, want := stateHash(t, s), replayed(t, entries[:60]); got != want {
				t.Error("the rows are not those of the events in front of the poison")
			}
		})
	}
}

func TestAnotherLogIsRefused(t *testing.T) {
	entries := partitionLog(3, 20)
	other := partitionLog(4, 20)
	for name, batch := range map[string][]eventlog.Entry{
		"another message at the position": other[9:12],
		"a gap behind the position":       entries[11:],
		"a gap in the batch":              {entries[10], entries[12]},
	} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, t.TempDir())
			if err := s.fold(t.Context(), entries[:10]); err != nil {
				t.Fatal(err)
			}
			if err := s.fold(t.Context(), batch); !errors.Is(err, errDiverged) {
				t.Fatalf("got %v, want errDiverged", err)
			}
			if seq := s.position().seq; seq != 10 {
				t.Errorf("position moved to %d", seq)
			}
		})
	}
}

// TestUselessFilesAreRebuilt opens every kind of file that is of no use, and
// a good one.
func TestUselessFilesAreRebuilt(t *testing.T) {
	t.Parallel()
	run := func(query string) func(string) error {
		return func(path string) error {
			db, err := sql.Open("sqlite", dataSource(path))
			if err != nil {
				return err
			}
			_, err = db.ExecContext(t.Context(), query)
			return errors.Join(err, db.Close())
		}
	}
	overwrite := func(offset int64, n int) func(string) error {
		return func(path string) error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, n), offset)
			return errors.Join(err, f.Close())
		}
	}
	for name, tt := range map[string]struct {
		spoil func(path string) error
		want  uint64
	}{
		"good":           {func(string) error { return nil }, 200},
		"missing":        {os.Remove, 0},
		"empty":          {func(p string) error { return os.Truncate(p, 0) }, 0},
		"cut short":      {func(p string) error { return os.Truncate(p, 3*4096) }, 0},
		"no database":    {func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte("no"), 5000), 0o600) }, 0},
		"header damaged": {overwrite(0, 50), 0},
		"page damaged": {func(p string) error {
			return errors.Join(overwrite(5*4096, 4096)(p), os.WriteFile(p+"-wal", nil, 0o600))
		}, 0},
		"other version": {run(`UPDATE meta SET version = version + 1`), 0},
		"other stream":  {run(`UPDATE meta SET stream = 'MAIN_EVENTS_1'`), 0},
		"no position":   {run(`DELETE FROM meta`), 0},
		"no meta table": {run(`DROP TABLE meta`), 0},
		"damaged hash":  {run(`UPDATE meta SET hash = 'xyz'`), 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a dir?with#odd%20name")
			entries := partitionLog(5, 200)
			s := openTest(t, dir)
			if err := s.fold(t.Context(), entries); err != nil {
				t.Fatal(err)
			}
			if err := s.close(); err != nil {
				t.Fatal(err)
			}
			if err := tt.spoil(filepath.Join(dir, "MAIN_EVENTS_0.db")); err != nil {
				t.Fatal(err)
			}
			s = openTest(t, dir)
			if seq := s.position().seq; seq != tt.want {
				t.Fatalf("opened at %d, want %d", seq, tt.want)
			}
			if err := s.fold(t.Context(), entries); err != nil {
				t.Fatal(err)
			}
			if stateHash(t, s) != replayed(t, entries) {
				t.Error("not the rows of a fresh replay")
			}
		})
	}
}

// Another writer on the same file must not make this one's rows wrong.
func TestSecondWriterIsNoticed(t *testing.T) {
	dir, entries := t.TempDir(), partitionLog(6, 50)
	a, b := openTest(t, dir), openTest(t, dir)
	if err := a.fold(context.Background(), entries[:30]); err != nil {
		t.Fatal(err)
	}
	if err := b.fold(context.Background(), entries[:20]); err == nil || errors.Is(err, fold.ErrPoison) {
		t.Fatalf("got %v, want to be told of the other writer", err)
	}
	if err := a.fold(context.Background(), entries); err != nil {
		t.Fatal(err)
	}
	if stateHash(t, a) != replayed(t, entries) {
		t.Error("the second writer left something")
	}
}

func TestPositionChain(t *testing.T) {
	entries := partitionLog(8, 50)
	s := openTest(t, t.TempDir())
	var want events.Hash
	for _, e := range entries {
		want = want.Next(e.Seq, e.Message)
	}
	if err := s.fold(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	if got := s.position(); got.hash != want || got.seq != 50 {
		t.Errorf("got %x at %d, want %x", got.hash, got.seq, want)
	}
}
