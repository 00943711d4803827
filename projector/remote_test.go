package projector

import (
	"context"
	"errors"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// A gate holds back what passes through it while it is shut.
type gate struct {
	shut    atomic.Bool
	changed signal
}

func (g *gate) pass(ctx context.Context, _ string) error {
	for {
		changed := g.changed.next()
		if !g.shut.Load() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *gate) set(shut bool) {
	g.shut.Store(shut)
	g.changed.notify()
}

func waitAnswered(t testing.TB, r Reader, id events.GrantID) {
	t.Helper()
	embeddedtest.Eventually(t, "reads are answered", func() bool {
		_, err := r.Grant(t.Context(), id)
		return err == nil
	})
}

func TestRemoteReadsWhatLocalReads(t *testing.T) {
	node := embeddedtest.Single(t)
	log := openLog(t, node.Conn(), 1)
	l := openLocal(t, log, LocalConfig{})
	s := Serve(node.Conn(), l)
	t.Cleanup(s.Close)
	seq := openGrant(t, log, grantID(1))
	want := waitGrant(t, l, grantID(1), seq)

	r := NewRemote(node.Conn(), realm)
	waitAnswered(t, r, grantID(1))
	got, err := r.Grant(t.Context(), grantID(1))
	if err != nil || got.Seq != want.Seq || got.Client != want.Client || !got.OpenedAt.Equal(want.OpenedAt) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	if g, err := r.Grant(t.Context(), grantID(2)); err != nil || g.Exists() {
		t.Errorf("no row: got %+v, %v", g, err)
	}
	reply, err := node.Conn().RequestWithContext(t.Context(), readSubject(realm, "0", readGrant), []byte("garbage"))
	if err != nil || reply.Header.Get("Nats-Service-Error-Code") != codeBadRequest {
		t.Errorf("garbage: got %v, %v", reply, err)
	}
}

// TestSessionsAreReadWithTheirEnd reads the same in the process and over NATS.
func TestSessionsAreReadWithTheirEnd(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	log := openLog(t, node.Conn(), 1)
	l := openLocal(t, log, LocalConfig{})
	s := Serve(node.Conn(), l)
	t.Cleanup(s.Close)
	id := grantID(1)
	fact := events.SessionOpened{User: "alice", UserEpoch: 1, AuthTime: 5, AMR: []string{"pwd"}, Expires: 1 << 31, MACKey: 1}
	appendFact := func(subject events.Subject, f events.Fact) {
		t.Helper()
		if _, err := log.Append(t.Context(), eventlog.Unit{Event: events.Event{ID: f.Type(), Source: "test", Subject: subject, Fact: f}}); err != nil {
			t.Fatal(err)
		}
	}
	appendFact(realm.SessionSubject(id), fact)
	waitServing(t, l)
	remote := NewRemote(node.Conn(), realm)
	waitAnswered(t, remote, id)
	for _, r := range []Reader{l, remote} {
		embeddedtest.Eventually(t, "the session is read", func() bool {
			got, err := r.Session(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if got.Exists() && (!reflect.DeepEqual(got.SessionOpened, fact) || got.Ended) {
				t.Fatalf("read %+v", got)
			}
			return got.Exists()
		})
		if got, err := r.Session(t.Context(), grantID(2)); err != nil || got.Exists() {
			t.Errorf("no row: got %+v, %v", got, err)
		}
	}
	appendFact(realm.RevokedSubject(0), events.SessionEnded{Session: id, User: "alice", Reason: events.ReasonUserRequest, Until: fact.Expires})
	for _, r := range []Reader{l, remote} {
		embeddedtest.Eventually(t, "the session has ended", func() bool {
			got, err := r.Session(t.Context(), id)
			return err == nil && got.Exists() && got.Ended
		})
	}
}

func TestRemoteWithoutProjectorIsUnavailable(t *testing.T) {
	t.Parallel()
	r := NewRemote(embeddedtest.Single(t).Conn(), realm)
	if _, err := r.Grant(t.Context(), grantID(1)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := r.Grant(ctx, grantID(1)); !errors.Is(err, ErrUnavailable) || time.Since(began) > attemptTimeout {
		t.Errorf("got %v after %v, want ErrUnavailable at the deadline", err, time.Since(began))
	}
}

// TestProjectorServesOnlyWhenCaughtUp has two projectors. The one that is
// still building never answers; when the other one goes nobody does, until it
// has caught up.
func TestProjectorServesOnlyWhenCaughtUp(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	log := openLog(t, node.Conn(), 1)
	seq := openGrant(t, log, grantID(1))

	built := openLocal(t, log, LocalConfig{})
	serving := Serve(node.Conn(), built)
	defer serving.Close()
	var held gate
	held.set(true)
	building := openLocal(t, log, LocalConfig{Gate: held.pass})
	later := Serve(node.Conn(), building)
	defer later.Close()

	r := NewRemote(node.Conn(), realm)
	waitGrant(t, r, grantID(1), seq)
	for range 50 {
		if g, err := r.Grant(t.Context(), grantID(1)); err != nil || g.Seq != seq {
			t.Fatalf("got %+v, %v", g, err)
		}
	}
	if _, err := building.Grant(t.Context(), grantID(1)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("while building: got %v, want ErrUnavailable", err)
	}
	serving.Close()
	embeddedtest.Eventually(t, "nobody answers", func() bool {
		_, err := r.Grant(t.Context(), grantID(1))
		return errors.Is(err, ErrUnavailable)
	})
	held.set(false)
	waitGrant(t, r, grantID(1), seq)
}

// TestAnotherProjectorAnswers stops one of two projectors in every way there
// is, under load: no read fails.
func TestAnotherProjectorAnswers(t *testing.T) {
	t.Parallel()
	stops := map[string]func(*Local, *Service, *embeddedtest.Proxy){
		"closed": func(l *Local, s *Service, _ *embeddedtest.Proxy) { s.Close(); _ = l.Close() },
		"poisoned": func(l *Local, _ *Service, _ *embeddedtest.Proxy) {
			l.models.Load().places["0"].live.Load().stop(errors.New("poison"))
		},
		"file gone bad": func(l *Local, _ *Service, _ *embeddedtest.Proxy) {
			_ = l.models.Load().places["0"].live.Load().store.Load().reader.Close()
		},
		"cut off": func(_ *Local, _ *Service, p *embeddedtest.Proxy) { p.Cut() },
	}
	for name, stop := range stops {
		t.Run(name, func(t *testing.T) {
			node := embeddedtest.Single(t)
			log := openLog(t, node.Conn(), 1)
			seq := openGrant(t, log, grantID(1))
			first, second := openLocal(t, log, LocalConfig{}), openLocal(t, log, LocalConfig{})
			waitServing(t, first)
			waitServing(t, second)
			nc, proxy := proxied(t, node)
			s1, s2 := Serve(nc, first), Serve(node.Conn(), second)
			t.Cleanup(s1.Close)
			t.Cleanup(s2.Close)
			r := NewRemote(node.Conn(), realm)
			waitAnswered(t, r, grantID(1))
			for i := range 200 {
				if i == 50 {
					stop(first, s1, proxy)
				}
				if g, err := r.Grant(t.Context(), grantID(1)); err != nil || g.Seq != seq {
					t.Fatalf("read %d: got %+v, %v", i, g, err)
				}
			}
		})
	}
}

// A projector that does not answer costs an attempt, not the read.
func TestRemoteAsksAgain(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	log := openLog(t, node.Conn(), 1)
	seq := openGrant(t, log, grantID(1))
	l := openLocal(t, log, LocalConfig{})
	s := Serve(node.Conn(), l)
	t.Cleanup(s.Close)
	r := NewRemote(node.Conn(), realm)
	waitGrant(t, r, grantID(1), seq)

	mute := node.Conn()
	if _, err := mute.QueueSubscribeSync(readSubject(realm, "0", readGrant), "q"); err != nil {
		t.Fatal(err)
	}
	if err := mute.Flush(); err != nil {
		t.Fatal(err)
	}
	answered := 0
	for range 6 {
		g, err := r.Grant(t.Context(), grantID(1))
		if err == nil && g.Seq == seq {
			answered++
		} else if !errors.Is(err, ErrUnavailable) {
			t.Fatalf("got %+v, %v", g, err)
		}
	}
	// Each attempt meets the mute one with a chance of a half.
	if answered == 0 {
		t.Error("no read was answered by the other projector")
	}
}
