package projector

import (
	"slices"
	"testing"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// lossOf is an accepted loss of what the history has so far.
func lossOf(h *history, keep ...string) events.LogRestored {
	return events.LogRestored{Streams: []events.RestoredStream{{Stream: "MAIN_EVENTS_0", Signed: 999, Size: uint64(len(h.entries))}}, Keep: keep}
}

// TestLossEndsRows has more grants than are changed at a time, of which the loss ends
// those that are not kept, in whatever batches it comes.
func TestLossEndsRows(t *testing.T) {
	t.Parallel()
	h := newHistory(1)
	open := func(n int, client string) {
		for range n {
			code := events.Code{MACKey: 1, Expires: start.Unix() + 60}
			h.onGrant(fold.Grant{ID: h.grantID()}, events.GrantOpened{Client: client, User: "alice", Expires: start.Unix() + 3600, Code: &code})
		}
	}
	open(restoredRows+7, "web")
	open(3, "kept")
	h.write(events.DefaultRealm.SessionSubject(events.NewGrantID(0, [16]byte{0, 1})), events.SessionOpened{User: "alice", Expires: start.Unix() + 3600})
	h.write(events.DefaultRealm.RevokedSubject(0), lossOf(h, "kept"))
	open(2, "web")
	// A replica that has not heard of the loss goes on with a grant.
	lost := h.grants[0]
	h.onGrant(lost, events.CodeRedeemed{Issuance: h.issuance(1, lost.Expires)})

	s := openTest(t, t.TempDir())
	for batch := range slices.Chunk(h.entries, 600) {
		if err := s.fold(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	if stateHash(t, s) != replayed(t, h.entries) {
		t.Error("another state than that of a replay in one batch")
	}
	for query, want := range map[string]int{
		`SELECT count(*) FROM grants WHERE revoked_reason = 'log_restored'`:               restoredRows + 7,
		`SELECT count(*) FROM grants WHERE revoked_reason IS NULL AND client = 'kept'`:    3,
		`SELECT count(*) FROM grants WHERE revoked_reason IS NULL AND client = 'web'`:     2,
		`SELECT count(*) FROM grants WHERE revoked_reason IS NOT NULL AND generation > 0`: 0,
		`SELECT count(*) FROM revocations WHERE kind = 'session'`:                         1,
	} {
		var got int
		if err := s.reader.QueryRowContext(t.Context(), query).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", query, got, err, want)
		}
	}
}

// TestFeedKnowsLosses has a replica that is told of a loss by the registry alone.
func TestFeedKnowsLosses(t *testing.T) {
	t.Parallel()
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	put(t, log, realm.KeySubject("mac-1"), 0, events.KeyAnnounced{Use: events.KeyUseMAC, MACKey: 1})
	put(t, log, realm.KeySubject("sig"), 0, events.KeyAnnounced{Use: events.KeyUseSignature, Alg: "ES256"})
	f := openFeed(t, log, FeedConfig{})
	if len(f.Restorations(0)) > 0 || !f.LastRestored().IsZero() {
		t.Fatal("a loss before there is one")
	}
	changed := f.KeysChanged()
	seq := put(t, log, realm.RestoredSubject(), 0, events.LogRestored{
		Streams: []events.RestoredStream{{Stream: realm.PartitionStream(0), Signed: 9, Size: 5}}, Keep: []string{"kept"},
	})
	waitFed(t, f, realm.RegistryStream(), seq)
	<-changed
	for _, k := range f.Keys() {
		if k.Closed != (k.Use == events.KeyUseMAC) {
			t.Errorf("key %s is closed: %v", k.ID, k.Closed)
		}
	}
	losses := f.Restorations(0)
	if len(losses) != 1 || losses[0].Seq != seq || losses[0].Size != 5 || f.LastRestored() != losses[0].At {
		t.Fatalf("losses: %+v at %v", losses, f.LastRestored())
	}
	x := losses[0]
	ended, _ := f.Endings(nil)
	told := func(e Ending) bool { return e.Lost == "0" && e.Epoch == uint64(x.At.Unix()+1) }
	if !slices.ContainsFunc(ended, told) {
		t.Errorf("resource servers are told %+v", ended)
	}
	for name, c := range map[string]struct {
		grant fold.Grant
		ends  bool
	}{
		"of before":            {fold.Grant{Seq: 7, OpenedSeq: 5, Client: "web"}, true},
		"opened after":         {fold.Grant{Seq: 7, OpenedSeq: 6, Client: "web"}, false},
		"of a kept client":     {fold.Grant{Seq: 3, OpenedSeq: 2, Client: "kept"}, false},
		"that is none":         {fold.Grant{}, false},
		"that ended by itself": {fold.Grant{Seq: 3, OpenedSeq: 2, Client: "web", RevokedReason: events.ReasonUserRequest}, false},
	} {
		if got := x.Grant(c.grant).RevokedReason == events.ReasonLogRestored; got != c.ends {
			t.Errorf("a grant %s ends: %v", name, got)
		}
	}
	if at := x.At.Unix(); !x.EndsIssuedAt(at) || x.EndsIssuedAt(at+1) || !x.Ends(5) || x.Ends(6) {
		t.Error("access tokens or sessions end that should not, or the other way round")
	}
}

// TestLossAfterALoss has a stream lose more than was left after the first loss, so that
// sequences that this ended are given again.
func TestLossAfterALoss(t *testing.T) {
	t.Parallel()
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	f := openFeed(t, log, FeedConfig{})
	for _, size := range []uint64{100, 40, 60} {
		seq := put(t, log, realm.RestoredSubject(), 0, events.LogRestored{
			Streams: []events.RestoredStream{{Stream: realm.PartitionStream(0), Signed: size + 9, Size: size}},
		})
		waitFed(t, f, realm.RegistryStream(), seq)
	}
	for seq, ends := range map[uint64]bool{40: true, 60: true, 61: false, 100: false} {
		got := slices.ContainsFunc(f.Restorations(0), func(x fold.Restoration) bool {
			return x.Ends(seq) || x.Grant(fold.Grant{Seq: seq, OpenedSeq: seq}).Revoked()
		})
		if got != ends {
			t.Errorf("what is at %d has ended: %v", seq, got)
		}
	}
}

// TestLossOfAPartitionThatIsGone makes a partition again, of which nothing was left when
// the loss of the registry was accepted.
func TestLossOfAPartitionThatIsGone(t *testing.T) {
	t.Parallel()
	nc := embeddedtest.Single(t).Conn()
	seq := put(t, openLog(t, nc, 1), realm.RestoredSubject(), 0, events.LogRestored{
		Streams: []events.RestoredStream{{Stream: realm.RegistryStream(), Signed: 9, Size: 5}, {Stream: realm.PartitionStream(0), Size: 7}},
	})
	log, err := eventlog.Open(t.Context(), nc, eventlog.Config{Realm: realm, Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	f := openFeed(t, log, FeedConfig{})
	waitFed(t, f, realm.RegistryStream(), seq)
	at := f.LastRestored().Unix()
	if all := f.Restorations(1); len(all) != 1 || !all[0].EndsIssuedAt(at) || all[0].EndsIssuedAt(at+1) || all[0].Ends(1) {
		t.Errorf("losses: %+v", all)
	}
	ended, _ := f.Endings(nil)
	if !slices.ContainsFunc(ended, func(e Ending) bool { return e.Lost == "1" && e.Epoch == uint64(at+1) }) {
		t.Errorf("resource servers hear of %+v", ended)
	}
}
