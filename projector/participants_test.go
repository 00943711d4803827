package projector

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// TestParticipants reads who took part in a session, and who was told of its
// end, in the process and over NATS.
func TestParticipants(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	log := openLog(t, node.Conn(), 1)
	l := openLocal(t, log, LocalConfig{})
	s := Serve(node.Conn(), l)
	t.Cleanup(s.Close)
	n := 0
	appendFact := func(subject events.Subject, f events.Fact) uint64 {
		t.Helper()
		n++
		receipt, err := log.Append(t.Context(), eventlog.Unit{Event: events.Event{ID: fmt.Sprint(n), Source: "test", Subject: subject, Fact: f}})
		if err != nil {
			t.Fatal(err)
		}
		return receipt.Seq
	}
	grants := 0
	take := func(session byte, user, client string) uint64 {
		t.Helper()
		grants++
		id := events.NewGrantID(0, [16]byte{14: byte(grants / 256), 15: byte(grants)})
		return appendFact(realm.GrantSubject(id), events.GrantOpened{
			Client: client, User: user, Expires: 1 << 40, Code: &events.Code{MACKey: 1},
			Session: events.NewGrantID(9, [16]byte{15: session}), SessionExpires: 1 << 40,
		})
	}
	one := events.NewGrantID(9, [16]byte{15: 1})
	take(1, "alice", "web")
	app := take(1, "alice", "app")
	take(2, "alice", "web")
	take(3, "bob", "web")
	web := take(1, "alice", "web")
	head := appendFact(realm.LogoutSubject(0), events.LogoutDelivered{LogoutOutcome: events.LogoutOutcome{
		Session: one, Client: "app", User: "alice", Attempts: 2, Status: 204, Until: 1 << 40,
	}})
	waitPosition(t, l, head)
	for _, r := range []Reader{l, NewRemote(node.Conn(), realm)} {
		var got Participants
		embeddedtest.Eventually(t, "the partition is read", func() (read bool) {
			var err error
			got, err = r.Participants(t.Context(), 0, one, 0)
			return err == nil && got.Position >= head
		})
		if p := got.Participants; len(p) != 2 || p[0].Client != "app" || p[0].Seq != app || p[1].Client != "web" || p[1].Seq != web ||
			p[1].Subject != "alice" || p[1].Session != one || p[1].Expires != 1<<40 {
			t.Errorf("participants %+v", got.Participants)
		}
		if o := got.Logouts; len(o) != 1 || !o[0].Delivered || o[0].Seq != head || o[0].Client != "app" || o[0].Session != one || o[0].Status != 204 {
			t.Errorf("told %+v", got.Logouts)
		}
		if rest, err := r.Participants(t.Context(), 0, one, app); err != nil || len(rest.Participants) != 1 || rest.Participants[0].Client != "web" {
			t.Errorf("from behind the first %+v, %v", rest.Participants, err)
		}
		all, err := r.UserParticipants(t.Context(), 0, "alice", 0)
		if err != nil || len(all.Participants) != 3 || len(all.Logouts) != 1 {
			t.Errorf("a user's %+v, %v", all, err)
		}
		if none, err := r.UserParticipants(t.Context(), 0, "a.b", 0); err != nil || !reflect.DeepEqual(none, Participants{}) {
			t.Errorf("nobody's %+v, %v", none, err)
		}
	}
	for range MaxParticipants {
		head = take(4, "carol", fmt.Sprintf("client-%d", grants))
	}
	last := take(4, "carol", "last")
	waitPosition(t, l, last)
	many, err := l.UserParticipants(t.Context(), 0, "carol", 0)
	if err != nil || len(many.Participants) != MaxParticipants || many.Participants[MaxParticipants-1].Seq != head {
		t.Errorf("%d participants, %v", len(many.Participants), err)
	}
	rest, err := l.UserParticipants(t.Context(), 0, "carol", head)
	if err != nil || len(rest.Participants) != 1 || rest.Participants[0].Client != "last" {
		t.Errorf("the rest is %+v, %v", rest.Participants, err)
	}
}
