package eventlog_test

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

const (
	realm = events.DefaultRealm
	// patience bounds what must succeed in the end.
	patience = embeddedtest.Patience
)

var partition = realm.PartitionStream(0)

// env is a log server for a suite that runs on one server and on a cluster.
type env struct {
	replicas int
	// addr is a server, host and port; dial connects to any.
	addr string
	dial func(t testing.TB) *nats.Conn
}

// onBoth runs a suite on one server and on a cluster of three.
func onBoth(t *testing.T, suite func(t *testing.T, e env)) {
	t.Helper()
	t.Run("R1", func(t *testing.T) {
		t.Parallel()
		n := embeddedtest.Single(t)
		suite(t, env{1, hostPort(n.URL()), func(t testing.TB) *nats.Conn { return connect(t, n.URL()) }})
	})
	t.Run("R3", func(t *testing.T) {
		t.Parallel()
		c := embeddedtest.NewCluster(t)
		suite(t, env{3, hostPort(c.URL(0)), func(t testing.TB) *nats.Conn { return c.Connect() }})
	})
}

func hostPort(url string) string { return url[len("nats://"):] }

func connect(t testing.TB, url string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, embeddedtest.Reconnecting()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// open opens the log on a connection of its own.
func (e env) open(t testing.TB) *eventlog.Log {
	t.Helper()
	return open(t, e.dial(t), eventlog.Config{Replicas: e.replicas})
}

// openProxied opens the log through a proxy.
func (e env) openProxied(t testing.TB) (*eventlog.Log, *embeddedtest.Proxy) {
	t.Helper()
	p := embeddedtest.NewProxy(t, e.addr)
	return open(t, connect(t, "nats://"+p.Addr()), eventlog.Config{Replicas: e.replicas}), p
}

func open(t testing.TB, nc *nats.Conn, cfg eventlog.Config) *eventlog.Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if cfg.Realm == "" {
		cfg.Realm = realm
	}
	l, err := eventlog.Open(ctx, nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// within is a context for what must be settled in the end.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func newGrant() events.Subject {
	var random [16]byte
	_, _ = rand.Read(random[:])
	return realm.GrantSubject(events.NewGrantID(0, random))
}

// event makes an event of its own id.
func event(s events.Subject, f events.Fact) events.Event {
	return events.Event{
		ID:      rand.Text(),
		Source:  "https://issuer.example",
		Time:    time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Subject: s,
		Fact:    f,
		Meta:    events.Meta{Actor: "system"},
	}
}

func opened(s events.Subject) events.Event {
	return event(s, events.GrantOpened{Client: "web", User: "u1", Scope: []string{"read"}, Expires: 1 << 31})
}

func rotated(s events.Subject, gen uint32) events.Event {
	return event(s, events.RefreshTokenRotated{Issuance: events.Issuance{Generation: gen, JTI: rand.Text(), KID: "k"}})
}

func revoked(s events.Subject) events.Event {
	return event(s, events.GrantRevoked{Reason: events.ReasonClientRequest})
}

func tick() events.Event { return event(realm.RevokedSubject(0), events.FeedTicked{}) }

func marker(s events.Subject) *events.Event {
	id, err := events.ParseGrantID(s.ID())
	if err != nil {
		panic(err)
	}
	e := event(realm.RevokedSubject(0), events.GrantRevocationMarked{Grant: id, Until: 1 << 31})
	return &e
}

// mustAppend appends, however long it takes.
func mustAppend(t testing.TB, l *eventlog.Log, u eventlog.Unit) uint64 {
	t.Helper()
	ctx := within(t, patience)
	for {
		r, err := l.Append(ctx, u)
		if err == nil {
			return r.Seq
		}
		if !errors.Is(err, eventlog.ErrUnsettled) || ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func after(t testing.TB, l *eventlog.Log, s events.Subject, seq uint64) []events.Recorded {
	t.Helper()
	rs, err := l.After(within(t, patience), s, seq)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func ids(rs []events.Recorded) []string {
	out := make([]string, len(rs))
	for i, r := range rs {
		out[i] = r.ID
	}
	return out
}

// replay reads a stream.
func replay(t testing.TB, l *eventlog.Log, stream string, from eventlog.From) []eventlog.Entry {
	t.Helper()
	var all []eventlog.Entry
	err := l.Replay(within(t, patience), stream, from, func(entries []eventlog.Entry) error {
		all = append(all, entries...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// result of an append that runs in the background.
type result struct {
	eventlog.Receipt
	err error
}

func appendAsync(ctx context.Context, l *eventlog.Log, u eventlog.Unit) <-chan result {
	done := make(chan result, 1)
	go func() {
		r, err := l.Append(ctx, u)
		done <- result{r, err}
	}()
	return done
}

func wait(t testing.TB, done <-chan result) result {
	t.Helper()
	select {
	case r := <-done:
		return r
	case <-time.After(patience):
		t.Fatal("an append did not return")
		return result{}
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	embeddedtest.Eventually(t, what, ok)
}
