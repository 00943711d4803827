package projector

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// auditMix makes a log as a busy authority would: a tenth of the events open
// grants, six tenths refresh recent ones.
type auditMix struct {
	*history
	seq   uint64
	users int
	// taken is how many of entries were handed over by exactly.
	taken int
	open  []events.GrantID
	gens  []uint32
}

func newAuditMix(users int) *auditMix { return &auditMix{history: newHistory(7), users: users} }

// batch is the next n events, or one more: the slice is used again.
func (m *auditMix) batch(n int) []eventlog.Entry {
	m.entries = m.entries[:0]
	m.fill(n)
	return m.entries
}

// exactly is the next n events.
func (m *auditMix) exactly(n int) []eventlog.Entry {
	over := slices.Clone(m.entries[min(m.taken, len(m.entries)):])
	m.entries, m.taken = over, n
	m.fill(n)
	return slices.Clone(m.entries[:n])
}

func (m *auditMix) fill(n int) {
	for len(m.entries) < n {
		m.clock = m.clock.Add(20 * time.Millisecond)
		first := len(m.entries)
		m.event()
		for i := first; i < len(m.entries); i++ {
			m.seq++
			m.entries[i].Seq = m.seq
		}
	}
}

func (m *auditMix) event() {
	client := fmt.Sprint("client-", m.rnd.IntN(40))
	switch n := m.rnd.IntN(100); {
	case n < 10 || len(m.open) == 0:
		id := m.grantID()
		m.open, m.gens = append(m.open, id), append(m.gens, 0)
		m.say(realm.GrantSubject(id), "client:"+client, events.GrantOpened{
			Client: client, User: fmt.Sprintf("0e3329c8-efc8-4e1e-a87a-%012d", m.rnd.IntN(m.users)),
			Scope: []string{"read", "write"}, Audience: []string{"https://api.example"}, AMR: []string{"pwd"},
			Session: m.grantID(), Expires: m.clock.Unix() + 7776000, Refreshable: true,
			Code: &events.Code{MACKey: 1, Expires: m.clock.Unix() + 60, RedirectURI: "https://web.example/callback", Challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"},
		})
	case n < 70:
		i := len(m.open) - 1 - m.rnd.IntN(min(len(m.open), 100_000))
		m.gens[i]++
		var f events.Fact = events.RefreshTokenRotated{Issuance: m.token(m.gens[i])}
		if m.gens[i] == 1 {
			f = events.CodeRedeemed{Issuance: m.token(1)}
		}
		m.say(realm.GrantSubject(m.open[i]), "client:"+client, f)
	case n < 90:
		i := m.token(1)
		m.say(realm.IssuedSubject(0, client), "client:"+client, events.AccessTokenIssued{
			JTI: i.JTI, Client: client, Subject: client, IssuedAt: i.IssuedAt, Expires: i.Expires, Scope: i.Scope,
			Audience: i.Audience, KID: i.KID, Origin: i.Origin,
		})
	case n < 91:
		i := m.rnd.IntN(len(m.open))
		id, last := m.open[i], len(m.open)-1
		m.open[i], m.gens[i] = m.open[last], m.gens[last]
		m.open, m.gens = m.open[:last], m.gens[:last]
		m.say(realm.GrantSubject(id), "client:"+client, events.GrantRevoked{Reason: events.ReasonClientRequest})
		m.say(realm.RevokedSubject(0), "client:"+client, events.GrantRevocationMarked{Grant: id, Until: m.clock.Unix() + 3600})
	case n < 97:
		m.say(realm.RefusedSubject(0), "", events.RequestRefused{
			What: "refresh_token", Client: client, Reason: "invalid_refresh_token", Count: 1, First: m.clock.Unix(), Last: m.clock.Unix(),
		})
	default:
		m.say(realm.RevokedSubject(0), "", events.FeedTicked{})
	}
}

func (m *auditMix) token(generation uint32) events.Issuance {
	return events.Issuance{
		Generation: generation, JTI: m.text26(), IssuedAt: m.clock.Unix(), Expires: m.clock.Unix() + 3600,
		Scope: []string{"read", "write"}, Audience: []string{"https://api.example"}, KID: fmt.Sprint("kid-", m.clock.Unix()/86400),
		MACKey: 1, Origin: m.text26()[:16],
	}
}

func (m *auditMix) text26() string {
	return fmt.Sprintf("%013X%013X", m.rnd.Uint64()>>12, m.rnd.Uint64()>>12)
}

func (m *auditMix) say(s events.Subject, actor string, f events.Fact) {
	meta := events.Meta{Request: m.text26(), Actor: actor}
	msg, err := events.Encode(events.Event{ID: m.text26(), Source: "https://issuer.example", Time: m.clock, Subject: s, Meta: meta, Fact: f})
	if err != nil {
		panic(err)
	}
	m.entries = append(m.entries, eventlog.Entry{Stored: m.clock, Message: msg})
}

// benchEvents says how many events the audit has that benchmarks read, and
// benchDir where it is kept for the next time.
const (
	benchEvents = "CHANCERY_BENCH_EVENTS"
	benchDir    = "CHANCERY_BENCH_DIR"
)

// manyAudited is an audit of many events, and the last batch of them.
func manyAudited(b *testing.B) (*store, []fold.Audit) {
	b.Helper()
	want := benchmarkEvents(b)
	s := openTestAs(b, auditModel(), cmp.Or(os.Getenv(benchDir), b.TempDir()))
	for m := newAuditMix(want / 25); int(s.position().seq) < want; {
		if err := s.fold(b.Context(), m.batch(500)); err != nil {
			b.Fatal(err)
		}
	}
	page, err := newStoreReader(map[string]*store{"": s}).Audit(b.Context(), "", AuditQuery{Newest: true}, s.position().seq/2, MaxAuditPage)
	if err != nil {
		b.Fatal(err)
	}
	return s, page.Rows
}

// BenchmarkAuditPage reads a page of 100, the newest first, by each filter, of
// what an event in the middle of the log has and of what none has.
func BenchmarkAuditPage(b *testing.B) {
	s, rows := manyAudited(b)
	r := newStoreReader(map[string]*store{"": s})
	row := rows[slices.IndexFunc(rows, func(a fold.Audit) bool { return a.Session != "" && a.JTI != "" && a.KID != "" })]
	refused := rows[slices.IndexFunc(rows, func(a fold.Audit) bool { return a.Reason != "" })]
	for name, q := range map[string]AuditQuery{
		"all": {}, "type": {Types: []string{row.Type}}, "types": {Types: []string{"grant.opened.v1", row.Type}},
		"client": {Client: row.Client}, "user": {User: row.User}, "grant": {Grant: row.Grant}, "session": {Session: row.Session},
		"jti": {JTI: row.JTI}, "kid": {KID: row.KID}, "actor": {Actor: row.Actor}, "request": {Request: row.Request},
		"refused": {Outcome: fold.OutcomeRefused}, "reason": {Reason: refused.Reason},
		"client and type": {Client: row.Client, Types: []string{row.Type}},
		"time":            {Since: row.Time.Add(-time.Hour), Until: row.Time},
		"no such client":  {Client: "nobody"}, "no such jti": {JTI: "none"}, "no such ancestor": {Ancestor: "none"}, "no such type": {Types: []string{"grant.revoked.v1"}},
		"no such two": {Client: row.Client, KID: "none"},
	} {
		q.Newest = true
		b.Run(name, func(b *testing.B) {
			pages := make([]time.Duration, 0, b.N)
			for b.Loop() {
				at := time.Now()
				if _, _, err := NewTrail(r, q, []string{""}, nil, nil).Page(b.Context(), 100, time.Minute); err != nil {
					b.Fatal(err)
				}
				pages = append(pages, time.Since(at))
			}
			b.ReportMetric(float64(slices.Max(pages).Microseconds())/1000, "max-ms")
		})
	}
}

// BenchmarkAuditExport reads all rows, as an export does.
func BenchmarkAuditExport(b *testing.B) {
	s, _ := manyAudited(b)
	r := newStoreReader(map[string]*store{"": s})
	rows := 0
	for b.Loop() {
		trail := NewTrail(r, AuditQuery{}, []string{""}, nil, nil)
		for more := true; more; {
			page, m, err := trail.Page(b.Context(), MaxAuditPage, time.Minute)
			if err != nil {
				b.Fatal(err)
			}
			rows, more = rows+len(page), m
		}
	}
	var mem runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&mem)
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(mem.HeapInuse)/(1<<20), "MiB")
}

// BenchmarkAuditFold indexes a realistic mix, 500 in a batch.
func BenchmarkAuditFold(b *testing.B) {
	dir := b.TempDir()
	s := openTestAs(b, auditModel(), dir)
	m := newAuditMix(200_000)
	var folding time.Duration
	n := 0
	for ; n < b.N; n += 500 {
		batch := m.batch(500)
		at := time.Now()
		if err := s.fold(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		folding += time.Since(at)
	}
	info, err := os.Stat(filepath.Join(dir, "MAIN_EVENTS_0.audit.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(n)/folding.Seconds(), "events/s")
	b.ReportMetric(float64(info.Size())/float64(n), "B/event")
}
