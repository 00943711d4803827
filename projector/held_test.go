package projector

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// ids are of what a list of a user has.
func (h Held) ids() (sessions, grants []events.GrantID) {
	for _, s := range h.Sessions {
		sessions = append(sessions, s.ID)
	}
	for _, g := range h.Grants {
		grants = append(grants, g.ID)
	}
	return sessions, grants
}

// TestWhatAUserHolds reads the same in the process and over NATS.
func TestWhatAUserHolds(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	log := openLog(t, node.Conn(), 1)
	l := openLocal(t, log, LocalConfig{})
	s := Serve(node.Conn(), l)
	t.Cleanup(s.Close)
	n := 0
	appendFact := func(subject events.Subject, f events.Fact, expect uint64) uint64 {
		t.Helper()
		n++
		e := events.Event{ID: fmt.Sprint(n), Source: "test", Subject: subject, Fact: f}
		receipt, err := log.Append(t.Context(), eventlog.Unit{Event: e, Expect: expect})
		if err != nil {
			t.Fatal(err)
		}
		return receipt.Seq
	}
	open := func(id byte, user, client string) uint64 {
		t.Helper()
		return appendFact(realm.GrantSubject(grantID(id)), events.GrantOpened{Client: client, User: user, Expires: 1 << 40, Code: &events.Code{MACKey: 1}}, 0)
	}
	signIn := func(id byte, user string) {
		t.Helper()
		appendFact(realm.SessionSubject(grantID(id)), events.SessionOpened{User: user, Expires: 1 << 40, MACKey: 1}, 0)
	}
	signIn(1, "alice")
	signIn(2, "alice")
	signIn(3, "bob")
	signIn(4, "alice")
	appendFact(realm.RevokedSubject(0), events.SessionEnded{Session: grantID(2), User: "alice", Until: 1 << 40}, 0)
	open(11, "alice", "web")
	revoked := open(12, "alice", "web")
	open(13, "alice", "app")
	open(14, "bob", "web")
	open(15, "alice", "web")
	head := appendFact(realm.GrantSubject(grantID(12)), events.GrantRevoked{Reason: events.ReasonUserRequest}, revoked)
	first := appendFact(realm.ConsentSubject("alice", "web"), events.ConsentGiven{Scope: []string{"read"}}, 0)
	appendFact(realm.ConsentSubject("alice-2", "web"), events.ConsentGiven{Scope: []string{"read"}}, 0)
	appendFact(realm.ConsentSubject("alice", "app"), events.ConsentGiven{Scope: []string{"write"}}, 0)
	last := appendFact(realm.ConsentSubject("alice", "web"), events.ConsentWithdrawn{}, first)
	waitServing(t, l)
	for _, r := range []Reader{l, NewRemote(node.Conn(), realm)} {
		var held Held
		embeddedtest.Eventually(t, "the partition is read", func() (read bool) {
			var err error
			held, err = r.Held(t.Context(), 0, "alice", "")
			return err == nil && held.Position >= head
		})
		sessions, grants := held.ids()
		if want := []events.GrantID{grantID(4), grantID(1)}; !reflect.DeepEqual(sessions, want) {
			t.Errorf("sessions %v, want %v", sessions, want)
		}
		if want := []events.GrantID{grantID(15), grantID(13), grantID(11)}; !reflect.DeepEqual(grants, want) {
			t.Errorf("grants %v, want %v", grants, want)
		}
		held, err := r.Held(t.Context(), 0, "alice", "web")
		if _, grants := held.ids(); err != nil || !reflect.DeepEqual(grants, []events.GrantID{grantID(15), grantID(11)}) {
			t.Errorf("grants at one client %v, %v", grants, err)
		}
		if held, err := r.Held(t.Context(), 0, "nobody", ""); err != nil || held.Position < head || len(held.Grants)+len(held.Sessions) != 0 {
			t.Errorf("nobody holds %+v, %v", held, err)
		}
		if held, err := r.Held(t.Context(), 0, "a.b", ""); err != nil || !reflect.DeepEqual(held, Held{}) {
			t.Errorf("no id holds %+v, %v", held, err)
		}
		embeddedtest.Eventually(t, "the registry is read", func() bool {
			consents, err := r.Consents(t.Context(), "alice")
			if err != nil || consents.Position < last {
				return false
			}
			if c := consents.Consents; len(c) != 2 || c[0].Client != "app" || c[0].Scope[0] != "write" || c[1].Client != "web" || !c[1].Withdrawn {
				t.Fatalf("consents %+v", c)
			}
			return true
		})
	}
	for what, key := range map[string]string{readHeld: "a.b.c", readConsents: "a.b"} {
		at := map[string]place{readHeld: "0", readConsents: registryPlace}[what]
		reply, err := node.Conn().RequestWithContext(t.Context(), readSubject(realm, at, what), []byte(key))
		if err != nil || reply.Header.Get("Nats-Service-Error-Code") != codeBadRequest {
			t.Errorf("%s of %q: got %v, %v", what, key, reply, err)
		}
	}
}

// TestHeldIsBounded by number, and by size, or it would not fit into a message.
func TestHeldIsBounded(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	log := openLog(t, node.Conn(), 1)
	l := openLocal(t, log, LocalConfig{})
	waitServing(t, l)
	var head uint64
	for n := range MaxHeld + 20 {
		for user, scope := range map[string]int{"alice": 1, "large": 10_000} {
			id := events.NewGrantID(0, [16]byte{1: user[0], 14: byte(n / 256), 15: byte(n)})
			receipt, err := log.Append(t.Context(), eventlog.Unit{Event: events.Event{
				ID: id.String(), Source: "test", Subject: realm.GrantSubject(id),
				Fact: events.GrantOpened{Client: "web", User: user, Scope: []string{strings.Repeat("s", scope)}, Expires: 1 << 40, Code: &events.Code{MACKey: 1}},
			}})
			if err != nil {
				t.Fatal(err)
			}
			head = receipt.Seq
		}
	}
	waitPosition(t, l, head)
	alice, err := l.Held(t.Context(), 0, "alice", "")
	if err != nil || len(alice.Grants) != MaxHeld || alice.Grants[0].ID[15] != MaxHeld+19 {
		_, grants := alice.ids()
		t.Errorf("%d grants, %v, %v", len(grants), err, grants[:1])
	}
	large, err := l.Held(t.Context(), 0, "large", "")
	if n := len(large.Grants); err != nil || n < 20 || n > 26 {
		t.Errorf("%d large grants, %v", n, err)
	}
}
