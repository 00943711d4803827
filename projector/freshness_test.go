package projector

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// through is a log over a proxy, so that it can be cut off.
func through(t testing.TB, node *embeddedtest.Node) (*eventlog.Log, *embeddedtest.Proxy) {
	t.Helper()
	nc, proxy := proxied(t, node)
	return openLog(t, nc, 1), proxy
}

func proxied(t testing.TB, node *embeddedtest.Node) (*nats.Conn, *embeddedtest.Proxy) {
	t.Helper()
	u, err := url.Parse(node.URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy := embeddedtest.NewProxy(t, u.Host)
	nc, err := nats.Connect("nats://"+proxy.Addr(), embeddedtest.Reconnecting()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, proxy
}

// TestStaleWithinTheBound cuts the log off in every way there is.
func TestStaleWithinTheBound(t *testing.T) {
	t.Parallel()
	const bound = 300 * time.Millisecond
	for name, cut := range map[string]func(*embeddedtest.Proxy){
		"no connection": (*embeddedtest.Proxy).Cut,
		"nothing sent":  (*embeddedtest.Proxy).StallRequests,
		"nothing heard": (*embeddedtest.Proxy).StallReplies,
	} {
		t.Run(name, func(t *testing.T) {
			node := embeddedtest.Single(t)
			log, proxy := through(t, node)
			f := openFeed(t, log, FeedConfig{Bound: bound})
			bothFresh := func() bool {
				return f.PartitionFresh(t.Context(), 0) == nil && f.RegistryFresh(t.Context()) == nil
			}
			embeddedtest.Eventually(t, "fresh", bothFresh)
			cut(proxy)
			wait(t.Context(), bound)
			for name, fresh := range map[string]func() error{
				"partition": func() error { return f.PartitionFresh(t.Context(), 0) },
				"registry":  func() error { return f.RegistryFresh(t.Context()) },
			} {
				asked := time.Now()
				if err := fresh(); !errors.Is(err, ErrStale) {
					t.Errorf("%s: got %v, want ErrStale", name, err)
				}
				if took := time.Since(asked); took > bound+2*time.Second {
					t.Errorf("%s: it took %v to say so", name, took)
				}
			}
			proxy.Heal()
			proxy.Drop()
			embeddedtest.Eventually(t, "fresh again", bothFresh)
		})
	}
}

// TestNeverFalselyFresh revokes tokens while the feed's connection comes and
// goes. Whenever the feed calls itself fresh it knows everything that was
// acknowledged a bound before it was asked.
func TestNeverFalselyFresh(t *testing.T) {
	t.Parallel()
	const bound = 100 * time.Millisecond
	node := embeddedtest.Single(t)
	direct := openLog(t, node.Conn(), 1)
	log, proxy := through(t, node)
	f := openFeed(t, log, FeedConfig{Bound: bound})

	ctx, stop := context.WithTimeout(t.Context(), 4*time.Second)
	defer stop()
	var revoked acknowledged
	var running sync.WaitGroup
	running.Go(func() { revoked.write(ctx, t, direct) })
	running.Go(func() { disturb(ctx, proxy) })
	fresh, stale := 0, 0
	for ctx.Err() == nil {
		asked := time.Now()
		if f.PartitionFresh(ctx, 0) != nil {
			stale++
			continue
		}
		fresh++
		for _, jti := range revoked.before(asked.Add(-bound)) {
			if !f.TokenRevoked(jti) {
				t.Errorf("fresh, but does not know %s", jti)
			}
		}
	}
	stop()
	running.Wait()
	if fresh == 0 || stale == 0 {
		t.Errorf("fresh %d times, stale %d times: the test saw only half of it", fresh, stale)
	}
}

// acknowledged is what was revoked, and when that was acknowledged.
type acknowledged struct {
	mu  sync.Mutex
	jti []string
	at  []time.Time
}

func (a *acknowledged) write(ctx context.Context, t *testing.T, log *eventlog.Log) {
	for n := 0; ctx.Err() == nil; n++ {
		jti := fmt.Sprint("token-", n)
		_, err := log.Append(ctx, eventlog.Unit{Event: events.Event{
			ID: jti, Source: "test", Subject: realm.RevokedSubject(0),
			Fact: events.AccessTokenRevoked{JTI: jti, Until: 1 << 40},
		}})
		if err == nil {
			a.mu.Lock()
			a.jti, a.at = append(a.jti, jti), append(a.at, time.Now())
			a.mu.Unlock()
		} else if ctx.Err() == nil {
			t.Error(err)
		}
		wait(ctx, 2*time.Millisecond)
	}
}

// before is what was acknowledged before at: the newest hundred of it.
func (a *acknowledged) before(at time.Time) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := len(a.at)
	for n > 0 && !a.at[n-1].Before(at) {
		n--
	}
	return a.jti[max(0, n-100):n]
}

// disturb breaks a connection and lets it heal, in turns.
func disturb(ctx context.Context, p *embeddedtest.Proxy) {
	breaks := []func(*embeddedtest.Proxy){
		(*embeddedtest.Proxy).Cut, (*embeddedtest.Proxy).StallRequests, (*embeddedtest.Proxy).StallReplies, (*embeddedtest.Proxy).Drop,
	}
	for n := 0; wait(ctx, rand.N(400*time.Millisecond)); n++ {
		breaks[n%len(breaks)](p)
		wait(ctx, rand.N(400*time.Millisecond))
		p.Heal()
	}
}

// TestIsolatedServerIsNeverFresh has a feed on the leader of a cluster that is
// cut off from the others. To the feed all looks well; the others revoke.
func TestIsolatedServerIsNeverFresh(t *testing.T) {
	t.Parallel()
	c := embeddedtest.NewCluster(t)
	openLog(t, c.Connect(), 3)
	leader := c.WaitLeader(stream)
	log := openLog(t, c.Connect(leader), 3)
	others := openLog(t, c.Connect((leader+1)%3, (leader+2)%3), 3)
	f := openFeed(t, log, FeedConfig{})
	c.Isolate(leader)
	cutOff := time.Now()
	for f.PartitionFresh(t.Context(), 0) == nil {
		if time.Since(cutOff) > 3*time.Second {
			t.Fatal("still fresh")
		}
	}
	embeddedtest.Eventually(t, "the others accept a revocation", func() bool {
		_, err := others.Append(t.Context(), eventlog.Unit{Event: events.Event{
			ID: "r", Source: "test", Subject: realm.RevokedSubject(0),
			Fact: events.AccessTokenRevoked{JTI: "j", Until: 1 << 40},
		}})
		return err == nil
	})
	for range 3 {
		if err := f.PartitionFresh(t.Context(), 0); !errors.Is(err, ErrStale) {
			t.Fatalf("got %v, want ErrStale", err)
		}
	}
	c.Heal(leader)
	embeddedtest.Eventually(t, "fresh again", func() bool { return f.PartitionFresh(t.Context(), 0) == nil })
	if !f.TokenRevoked("j") {
		t.Error("fresh, but does not know what was revoked meanwhile")
	}
}

// TestHeldBackFeedIsStale has a feed whose ticks are acknowledged and do not
// come back in time.
func TestHeldBackFeedIsStale(t *testing.T) {
	t.Parallel()
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	var held gate
	f := openFeed(t, log, FeedConfig{Bound: 200 * time.Millisecond, Gate: held.pass})
	held.set(true)
	embeddedtest.Eventually(t, "stale", func() bool { return errors.Is(f.PartitionFresh(t.Context(), 0), ErrStale) })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := f.Wait(ctx, stream, 1<<40); !errors.Is(err, ErrStale) {
		t.Errorf("Wait: got %v, want ErrStale", err)
	}
	held.set(false)
	embeddedtest.Eventually(t, "fresh again", func() bool { return f.PartitionFresh(t.Context(), 0) == nil })
}

// TestFreshIsBothAtOnce has one of the two proofs grow too old while the other
// one is waited for.
func TestFreshIsBothAtOnce(t *testing.T) {
	t.Parallel()
	const bound = 2 * time.Second
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	for _, waited := range []string{stream, realm.RegistryStream()} {
		t.Run(waited, func(t *testing.T) {
			t.Parallel()
			var held, other gate
			f := openFeed(t, log, FeedConfig{Bound: bound, Gate: func(ctx context.Context, stream string) error {
				if stream == waited {
					return held.pass(ctx, stream)
				}
				return other.pass(ctx, stream)
			}})
			held.set(true)
			other.set(true)
			for name, fed := range f.followed.Load().followers {
				fed.mu.Lock()
				fed.proved = moment{time.Now().Add(-bound * 9 / 10), time.Now().Add(-bound * 9 / 10)}
				if name == waited {
					fed.proved = moment{}
				}
				fed.mu.Unlock()
			}
			told := make(chan error, 1)
			go func() { told <- f.Fresh(t.Context(), 0) }()
			for name, fed := range f.followed.Load().followers {
				embeddedtest.Eventually(t, "the other proof to be too old", func() bool {
					age, err := fed.age()
					return name == waited || err == nil && age > bound
				})
			}
			held.set(false)
			if err := <-told; !errors.Is(err, ErrStale) {
				t.Errorf("got %v, want ErrStale", err)
			}
			other.set(false)
			embeddedtest.Eventually(t, "fresh", func() bool { return f.Fresh(t.Context(), 0) == nil })
		})
	}
}

func TestPoisonedFeedStaysStale(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	log := openLog(t, node.Conn(), 1)
	var logged logBuffer
	f := openFeed(t, log, FeedConfig{Bound: 200 * time.Millisecond, Logger: logged.logger()})
	publish(t, node.Conn(), realm.RevokedSubject(0), "{}")
	embeddedtest.Eventually(t, "feed stops", func() bool { return f.Err() != nil })
	if err := f.PartitionFresh(t.Context(), 0); !errors.Is(err, ErrStale) {
		t.Errorf("got %v, want ErrStale", err)
	}
	embeddedtest.Eventually(t, "the registry has nothing to do with it", func() bool {
		return f.RegistryFresh(t.Context()) == nil
	})
	if logged.String() == "" {
		t.Error("nothing was logged")
	}
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	defer cancel()
	again, err := OpenFeed(ctx, log, FeedConfig{Source: "test", NewID: ids()})
	if !errors.Is(err, ErrStale) {
		t.Errorf("opened on poison: %v, %v", again, err)
	}
}

func TestFailedPartitionIsStale(t *testing.T) {
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	f := openFeed(t, log, FeedConfig{})
	log.FailPartition(stream, errDiverged)
	if err := f.PartitionFresh(t.Context(), 0); !errors.Is(err, ErrStale) {
		t.Errorf("got %v, want ErrStale", err)
	}
}

// Under load one tick serves all, and an idle feed sends none.
func TestTicksAreShared(t *testing.T) {
	const bound = 200 * time.Millisecond
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	f := openFeed(t, log, FeedConfig{Bound: bound})
	head := func() uint64 {
		t.Helper()
		h, err := log.Head(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		return h.Seq
	}
	before, began := head(), time.Now()
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			for time.Since(began) < 3*bound {
				_ = f.PartitionFresh(t.Context(), 0) // it may be late on a busy machine
				wait(t.Context(), time.Millisecond)
			}
		})
	}
	asking.Wait()
	sent := head() - before
	if most := uint64(2*time.Since(began)/bound) + 2; sent == 0 || sent > most {
		t.Errorf("%d ticks in %v with a bound of %v, want at most %d", sent, time.Since(began), bound, most)
	}
}

func TestSkew(t *testing.T) {
	sent := time.Now()
	acked := sent.Add(10 * time.Millisecond)
	for _, tt := range []struct {
		stored time.Time
		want   time.Duration
	}{
		{sent, 0},
		{sent.Add(5 * time.Millisecond), 0},
		{acked, 0},
		{acked.Add(2 * time.Second), 2 * time.Second},
		{sent.Add(-3 * time.Second), -3 * time.Second},
	} {
		if got := skew(tt.stored.Round(0), sent, acked); got != tt.want {
			t.Errorf("stored %v after it was sent: got %v, want %v", tt.stored.Sub(sent), got, tt.want)
		}
	}
}

func TestNowNeverGoesBehindTheLog(t *testing.T) {
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	f := openFeed(t, log, FeedConfig{})
	if d := time.Since(f.Now(0)).Abs(); d > time.Second || f.ClockSkew() != 0 {
		t.Errorf("clock is %v off, skew %v", d, f.ClockSkew())
	}
	ahead := time.Now().Add(time.Hour)
	f.followed.Load().partitions[0].advance(ahead)
	if now := f.Now(0); !now.Equal(ahead) {
		t.Errorf("got %v, the log is at %v", now, ahead)
	}
	if now := f.Now(9); time.Since(now).Abs() > time.Second {
		t.Errorf("unknown partition: got %v", now)
	}
	ahead = ahead.Add(time.Hour)
	f.registryFed.advance(ahead)
	for p := range events.Partition(2) {
		if now := f.Now(p); !now.Equal(ahead) {
			t.Errorf("partition %d: got %v, the registry is at %v", p, now, ahead)
		}
	}
}

// TestSkewedClockIsNotFresh has a replica that knows its clock to be wrong.
func TestSkewedClockIsNotFresh(t *testing.T) {
	f := openFeed(t, openLog(t, embeddedtest.Single(t).Conn(), 1), FeedConfig{Bound: time.Minute})
	for _, tt := range []struct {
		skew time.Duration
		want error
	}{{MaxClockSkew, nil}, {-MaxClockSkew, nil}, {MaxClockSkew + 1, ErrStale}, {-MaxClockSkew - 1, ErrStale}} {
		f.registryFed.mu.Lock()
		f.registryFed.skew = tt.skew
		f.registryFed.mu.Unlock()
		if err := f.RegistryFresh(t.Context()); !errors.Is(err, tt.want) {
			t.Errorf("%v off: got %v, want %v", tt.skew, err, tt.want)
		}
	}
}
