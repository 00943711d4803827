package eventlog_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

const realm = events.DefaultRealm

func open(t testing.TB, nc *nats.Conn, replicas int) *eventlog.Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	defer cancel()
	l, err := eventlog.Open(ctx, nc, eventlog.Config{Realm: realm, Replicas: replicas})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var stream = realm.PartitionStream(0)

func event(s events.Subject, id string, f events.Fact) events.Event {
	return events.Event{
		ID: id, Source: "https://issuer.example", Subject: s, Fact: f,
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Meta: events.Meta{Actor: "system"},
	}
}

func TestBasics(t *testing.T) {
	t.Run("R1", func(t *testing.T) { testBasics(t, embeddedtest.Single(t).Conn(), 1) })
	t.Run("R3", func(t *testing.T) { testBasics(t, embeddedtest.NewCluster(t).Connect(), 3) })
}

func testBasics(t *testing.T, nc *nats.Conn, replicas int) {
	l := open(t, nc, replicas)
	ctx := t.Context()
	g := realm.GrantSubject(events.NewGrantID(0, [16]byte{15: 7}))
	r1, err := l.Append(ctx, eventlog.Unit{Event: event(g, "a", events.GrantOpened{Client: "c"})})
	if err != nil || r1.Seq != 1 {
		t.Fatal(r1, err)
	}
	if _, err := l.Append(ctx, eventlog.Unit{Event: event(g, "b", events.GrantRevoked{Reason: "x"})}); !errors.Is(err, eventlog.ErrConflict) {
		t.Fatal(err)
	}
	marker := event(realm.RevokedSubject(0), "m", events.GrantRevocationMarked{Until: 1})
	r2, err := l.Append(ctx, eventlog.Unit{Event: event(g, "c", events.GrantRevoked{Reason: "x"}), Expect: r1.Seq, Marker: &marker})
	if err != nil || r2.Seq != 2 {
		t.Fatal(r2, err)
	}
	r3, err := l.Append(ctx, eventlog.Unit{Event: event(realm.RevokedSubject(0), "tick", events.FeedTicked{})})
	if err != nil || r3.Seq != 4 {
		t.Fatal(r3, err)
	}
	got, err := l.After(ctx, g, 0)
	if err != nil || len(got) != 2 || got[1].Seq != 2 {
		t.Fatal(got, err)
	}
	last, ok, err := l.Last(ctx, g)
	if err != nil || !ok || last.ID != "c" {
		t.Fatal(last, ok, err)
	}
	if h, err := l.Head(ctx, stream); err != nil || h.Seq != 4 || h.First != 1 {
		t.Fatal(h, err)
	}
	var seqs []uint64
	if err := l.Replay(ctx, stream, eventlog.From{}, func(es []eventlog.Entry) error {
		for _, e := range es {
			if _, err := e.Recorded(); err != nil {
				return err
			}
			seqs = append(seqs, e.Seq)
		}
		return nil
	}); err != nil || len(seqs) != 4 {
		t.Fatal(seqs, err)
	}
	seqs = nil
	if err := l.Replay(ctx, stream, eventlog.From{Subjects: []string{string(realm.RevokedSubject(0))}}, func(es []eventlog.Entry) error {
		for _, e := range es {
			seqs = append(seqs, e.Seq)
		}
		return nil
	}); err != nil || len(seqs) != 2 {
		t.Fatal(seqs, err)
	}
	fctx, cancel := context.WithCancel(ctx)
	n := 0
	if err := l.Follow(fctx, stream, eventlog.From{Seq: 3}, func(es []eventlog.Entry) error {
		if n += len(es); n == 2 {
			cancel()
		}
		return nil
	}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	kv, err := l.Bucket(ctx, "keys")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Create(ctx, "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	if e, err := kv.Get(ctx, "k"); err != nil || string(e.Value()) != "v" {
		t.Fatal(e, err)
	}
	open(t, nc, replicas)
}
