package projector

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

const realm = events.DefaultRealm

func openLog(t testing.TB, nc *nats.Conn, replicas int) *eventlog.Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	defer cancel()
	l, err := eventlog.Open(ctx, nc, eventlog.Config{Realm: realm, Replicas: replicas})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func openLocal(t testing.TB, log *eventlog.Log, cfg LocalConfig) *Local {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	l, err := OpenLocal(t.Context(), log, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func waitServing(t testing.TB, l *Local) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	defer cancel()
	if err := l.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// appendAll appends the events of a history to the log.
func appendAll(t testing.TB, log *eventlog.Log, entries []eventlog.Entry) {
	t.Helper()
	last := map[events.Subject]uint64{}
	for _, e := range entries {
		r, err := e.Recorded()
		if err != nil {
			t.Fatal(err)
		}
		u := eventlog.Unit{Event: r.Event}
		if r.Subject.Guarded() {
			u.Expect = last[r.Subject]
		}
		receipt, err := log.Append(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		last[r.Subject] = receipt.Seq
	}
}

func openGrant(t testing.TB, log *eventlog.Log, id events.GrantID) uint64 {
	t.Helper()
	r, err := log.Append(t.Context(), eventlog.Unit{Event: events.Event{
		ID: "open-" + id.String(), Source: "test", Subject: realm.GrantSubject(id),
		Fact: events.GrantOpened{Client: "web", User: "alice", Expires: 1 << 40, Code: &events.Code{MACKey: 1}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return r.Seq
}

func grantID(n byte) events.GrantID { return events.NewGrantID(0, [16]byte{15: n}) }

func waitGrant(t testing.TB, r Reader, id events.GrantID, seq uint64) fold.Grant {
	t.Helper()
	var g fold.Grant
	embeddedtest.Eventually(t, "grant is folded", func() bool {
		var err error
		g, err = r.Grant(t.Context(), id)
		return err == nil && g.Seq >= seq
	})
	return g
}

func TestLocalReadsWhatWasAppended(t *testing.T) {
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	l := openLocal(t, log, LocalConfig{})
	waitServing(t, l)

	if g, err := l.Grant(t.Context(), grantID(1)); err != nil || g.Exists() {
		t.Fatalf("before it was opened: %+v, %v", g, err)
	}
	seq := openGrant(t, log, grantID(1))
	if g := waitGrant(t, l, grantID(1), seq); g.Client != "web" || g.ID != grantID(1) {
		t.Errorf("got %+v", g)
	}
	if _, err := l.Grant(t.Context(), events.NewGrantID(9, [16]byte{})); !errors.Is(err, ErrUnavailable) {
		t.Errorf("another partition: got %v, want ErrUnavailable", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Grant(ended, grantID(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: got %v", err)
	}
}
