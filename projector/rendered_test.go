package projector

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// TestRendered counts what ends with a MAC key, the same in the process and over
// NATS, and page by page.
func TestRendered(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	log := openLog(t, node.Conn(), 1)
	l := openLocal(t, log, LocalConfig{})
	s := Serve(node.Conn(), l)
	t.Cleanup(s.Close)
	var units []eventlog.Unit
	id := func(n int) events.GrantID {
		return events.NewGrantID(0, [16]byte{1: 7, 14: byte(n / 256), 15: byte(n)})
	}
	add := func(subject events.Subject, f events.Fact, expect uint64) {
		e := events.Event{ID: fmt.Sprint("e", len(units)), Source: "test", Subject: subject, Fact: f}
		units = append(units, eventlog.Unit{Event: e, Expect: expect})
	}
	opened := func(mac uint8) events.GrantOpened {
		return events.GrantOpened{Client: "web", User: "alice", Expires: 1 << 40, Code: &events.Code{MACKey: mac, Expires: 1 << 40}}
	}
	const many = 350
	for n := range many {
		add(realm.GrantSubject(id(n)), opened(uint8(1+n%2)), 0)
	}
	add(realm.SessionSubject(id(many+1)), events.SessionOpened{User: "alice", Expires: 1 << 40, MACKey: 1}, 0)
	add(realm.SessionSubject(id(many+2)), events.SessionOpened{User: "alice", Expires: 1 << 40, MACKey: 1}, 0)
	add(realm.SessionSubject(id(many+3)), events.SessionOpened{User: "alice", Expires: 1 << 40, MACKey: 2}, 0)
	for i, err := range log.AppendAll(t.Context(), units) {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	// One code under key 1 is redeemed for a refresh token under key 2, another for
	// none, and one grant is revoked.
	units = nil
	redeemed := func(mac uint8) events.CodeRedeemed {
		return events.CodeRedeemed{Issuance: events.Issuance{Generation: 1, JTI: fmt.Sprint("j", len(units)), MACKey: mac, KID: "k", IssuedAt: 1, Expires: 2}}
	}
	add(realm.GrantSubject(id(0)), redeemed(2), 1)
	add(realm.GrantSubject(id(2)), redeemed(0), 3)
	add(realm.RevokedSubject(0), events.SessionEnded{Session: id(many + 2), User: "alice", Until: 1 << 40}, 0)
	add(realm.GrantSubject(id(4)), events.GrantRevoked{Reason: events.ReasonUserRequest}, 5)
	for i, u := range units {
		u.Event.ID = fmt.Sprint("f", i)
		if _, err := log.Append(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	head, err := log.Head(t.Context(), realm.PartitionStream(0))
	if err != nil {
		t.Fatal(err)
	}
	embeddedtest.Eventually(t, "all is folded", func() bool {
		i := slices.IndexFunc(l.Status(), func(s Status) bool { return s.Stream == realm.PartitionStream(0) })
		return l.Status()[i].Position >= head.Seq
	})
	for _, r := range []Reader{l, NewRemote(node.Conn(), realm)} {
		for mac, want := range map[uint8]Rendered{1: {Grants: many/2 - 3, Sessions: 1}, 2: {Grants: many/2 + 1, Sessions: 1}, 3: {}} {
			var got Rendered
			pages := 0
			for !got.Done {
				page, err := r.Rendered(t.Context(), 0, mac, got.Next)
				if errors.Is(err, ErrUnavailable) && t.Context().Err() == nil {
					continue // of a busy machine: a read over NATS has an eighth of a second
				}
				if err != nil {
					t.Fatal(err)
				}
				got.Grants, got.Sessions, got.Next, got.Done = got.Grants+page.Grants, got.Sessions+page.Sessions, page.Next, page.Done
				pages++
			}
			if got.Grants != want.Grants || got.Sessions != want.Sessions || pages < 3 {
				t.Errorf("MAC key %d: got %+v in %d pages, want %+v", mac, got, pages, want)
			}
		}
	}
}
