package projector

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A history makes a partition's log as replicas would: everything it writes
// can be folded. The same seed makes the same log.
type history struct {
	rnd    *rand.Rand
	clock  time.Time
	grants []fold.Grant
	// sessions are all that were opened.
	sessions []events.SessionEnded
	entries  []eventlog.Entry
}

func newHistory(seed uint64) *history {
	return &history{rnd: rand.New(rand.NewPCG(seed, 1)), clock: start}
}

// partitionLog is a log of n messages.
func partitionLog(seed uint64, n int) []eventlog.Entry {
	h := newHistory(seed)
	for len(h.entries) < n {
		h.step()
	}
	return h.entries
}

func (h *history) step() {
	h.clock = h.clock.Add(time.Duration(h.rnd.IntN(20_000)) * time.Millisecond)
	switch n := h.rnd.IntN(100); {
	case n < 15:
		h.open()
	case n < 17:
		h.write(events.DefaultRealm.IssuedSubject(0, "gateway"), events.TokenExchanged{
			AccessTokenIssued: events.AccessTokenIssued{
				JTI: h.id(), Client: "gateway", Subject: "svc", Expires: h.clock.Unix() + int64(h.rnd.IntN(600)),
			},
			Act:   &events.Actor{Subject: "svc"},
			Chain: []events.Ancestor{{JTI: h.id(), Client: "svc"}, {JTI: fmt.Sprint("actor-", h.rnd.IntN(3)), Actor: &events.ActorToken{}}},
		})
	case n < 20:
		exp := h.clock.Unix() + int64(h.rnd.IntN(600))
		h.write(events.DefaultRealm.IssuedSubject(0, "svc"), events.AccessTokenIssued{
			JTI: h.id(), Client: "svc", Subject: "svc", Expires: exp, Scope: []string{"a", "b"},
		})
	case n < 25:
		h.write(events.DefaultRealm.RevokedSubject(0), events.FeedTicked{})
	case n < 30:
		h.write(events.DefaultRealm.RevokedSubject(0), events.AccessTokenRevoked{
			JTI: fmt.Sprint(h.rnd.IntN(10)), Until: h.clock.Unix() + int64(h.rnd.IntN(600)),
		})
	case n < 33:
		h.session()
	case n < 34:
		h.told()
	case n < 35:
		h.write(events.DefaultRealm.RefusedSubject(0), events.RequestRefused{What: "refresh_token", Reason: "invalid_refresh_token", Count: 3})
	case n == 35:
		h.restored()
	case n < 37:
		h.clock = h.clock.Add(time.Duration(h.rnd.IntN(1800)) * time.Second)
	default:
		h.change()
	}
}

// session opens a session, and ends it at times.
func (h *history) session() {
	id := h.grantID()
	f := events.SessionOpened{User: fmt.Sprintf("user-%d", h.rnd.IntN(5)), Expires: h.clock.Unix() + int64(h.rnd.IntN(3600)), MACKey: 1}
	h.write(events.DefaultRealm.SessionSubject(id), f)
	ended := events.SessionEnded{Session: id, User: f.User, Until: f.Expires}
	h.sessions = append(h.sessions, ended)
	if h.rnd.IntN(2) == 0 {
		h.write(events.DefaultRealm.RevokedSubject(0), ended)
	}
}

// restored accepts a loss of what there is, which one client may survive. Once in
// a while a replica has not heard of it, and goes on with a grant.
func (h *history) restored() {
	f := events.LogRestored{
		Streams: []events.RestoredStream{{Stream: "MAIN_EVENTS_0", Signed: 1 << 20, Size: uint64(len(h.entries))}},
		Keep:    []string{fmt.Sprintf("client-%d", h.rnd.IntN(6))},
	}
	r, err := h.write(events.DefaultRealm.RevokedSubject(0), f).Recorded()
	if err != nil {
		panic(err)
	}
	x, err := fold.PartitionRestored(r)
	if err != nil {
		panic(err)
	}
	for i, g := range h.grants {
		if h.rnd.IntN(4) > 0 {
			h.grants[i] = x.Grant(g)
		}
	}
}

// told tells a client of the end of a session, which may be long over, or tells
// it again.
func (h *history) told() {
	if len(h.sessions) == 0 {
		return
	}
	s := h.sessions[h.rnd.IntN(len(h.sessions))]
	o := events.LogoutOutcome{
		Session: s.Session, Client: fmt.Sprintf("client-%d", h.rnd.IntN(3)), User: s.User, Attempts: 1 + uint64(h.rnd.IntN(3)), Until: s.Until,
	}
	f := events.Fact(events.LogoutFailed{LogoutOutcome: o})
	if o.Status = 200; h.rnd.IntN(2) == 0 {
		f = events.LogoutDelivered{LogoutOutcome: o}
	}
	h.write(events.DefaultRealm.LogoutSubject(0), f)
}

func (h *history) grantID() events.GrantID {
	var random [16]byte
	for i := range random {
		random[i] = byte(h.rnd.Uint32())
	}
	return events.NewGrantID(0, random)
}

func (h *history) open() {
	f := events.GrantOpened{
		Client: fmt.Sprintf("client-%d", h.rnd.IntN(3)), User: fmt.Sprintf("user-%d", h.rnd.IntN(5)),
		Expires: h.clock.Unix() + int64(h.rnd.IntN(3600)), Refreshable: true,
	}
	if n := len(h.sessions); n > 0 && h.rnd.IntN(2) == 0 {
		s := h.sessions[max(0, n-1-h.rnd.IntN(4))]
		f.Session, f.SessionExpires, f.User = s.Session, s.Until, s.User
	}
	if issued := h.issuance(1, f.Expires); h.rnd.IntN(2) == 0 {
		f.Issued = &issued
	} else {
		f.Code = &events.Code{MACKey: 1, Expires: h.clock.Unix() + 60, Challenge: "c"}
	}
	h.onGrant(fold.Grant{ID: h.grantID()}, f)
}

// change lets something happen to a recent grant, finished ones included, as
// late events come.
func (h *history) change() {
	if len(h.grants) == 0 {
		return
	}
	i := max(0, len(h.grants)-1-h.rnd.IntN(30))
	g := h.grants[i]
	var f events.Fact
	switch n := h.rnd.IntN(20); {
	case g.Revoked():
		return
	case n == 0:
		f = events.GrantRevoked{Reason: events.ReasonUserRequest}
		h.write(events.DefaultRealm.RevokedSubject(0), events.GrantRevocationMarked{Grant: g.ID, Until: h.clock.Unix() + 300})
	case !g.Redeemed():
		f = events.CodeRedeemed{Issuance: h.issuance(1, g.Expires)}
	case n < 4 && !g.Repeated && g.Current.Generation > 1:
		f = events.RefreshTokenRepeated{Generation: g.Current.Generation}
	default:
		f = events.RefreshTokenRotated{Issuance: h.issuance(g.Current.Generation+1, g.Expires)}
	}
	h.grants[i] = h.onGrant(g, f)
}

func (h *history) onGrant(g fold.Grant, f events.Fact) fold.Grant {
	r, err := h.write(events.DefaultRealm.GrantSubject(g.ID), f).Recorded()
	if err != nil {
		panic(err)
	}
	opening := !g.Exists()
	if g, err = g.Apply(r); err != nil {
		panic(err)
	}
	if opening {
		h.grants = append(h.grants, g)
	}
	return g
}

func (h *history) issuance(generation uint32, end int64) events.Issuance {
	return events.Issuance{
		Generation: generation, JTI: h.id(), KID: "k1", MACKey: 1,
		IssuedAt: h.clock.Unix(), Expires: min(h.clock.Unix()+300, end),
	}
}

func (h *history) id() string { return fmt.Sprintf("%016x", h.rnd.Uint64()) }

// write appends a fact. The server's clock wavers by seconds.
func (h *history) write(s events.Subject, f events.Fact) eventlog.Entry {
	m, err := events.Encode(events.Event{
		ID: h.id(), Source: "https://issuer", Time: h.clock, Subject: s, Fact: f,
		Meta: events.Meta{Request: fmt.Sprint("request-", len(h.entries)/2), Actor: fmt.Sprint("client:client-", len(h.entries)%3)},
	})
	if err != nil {
		panic(err)
	}
	waver := time.Duration(h.rnd.IntN(4000)-2000) * time.Millisecond
	e := eventlog.Entry{Seq: uint64(len(h.entries) + 1), Stored: h.clock.Add(waver), Message: m}
	h.entries = append(h.entries, e)
	return e
}

// openTest opens a partition's store that is closed with the test.
func openTest(t testing.TB, dir string) *store {
	t.Helper()
	return openTestAs(t, partitionModel(), dir)
}

func openTestAs(t testing.TB, m model, dir string) *store {
	t.Helper()
	s, err := openStore(t.Context(), filepath.Join(dir, "MAIN_EVENTS_0"+m.suffix+".db"), "MAIN_EVENTS_0", m, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	return s
}

// replayed is the state hash of a fresh replay in one batch.
func replayed(t testing.TB, entries []eventlog.Entry) events.Hash {
	t.Helper()
	return replayedAs(t, partitionModel(), entries)
}

func replayedAs(t testing.TB, m model, entries []eventlog.Entry) events.Hash {
	t.Helper()
	s := openTestAs(t, m, t.TempDir())
	if err := s.fold(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	return stateHash(t, s)
}

func stateHash(t testing.TB, s *store) events.Hash {
	t.Helper()
	h, seq, err := s.stateHash(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if seq != s.position().seq {
		t.Fatalf("the file is at %d, the store at %d", seq, s.position().seq)
	}
	return h
}
