package projector

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

var stream = realm.PartitionStream(0)

// logBuffer keeps what is logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// A dialer dials where the node listens, which changes when it is restarted.
type dialer struct{ address atomic.Pointer[string] }

func (d *dialer) Dial(network, _ string) (net.Conn, error) {
	return net.Dial(network, *d.address.Load())
}

func (d *dialer) to(node *embeddedtest.Node) {
	address := strings.TrimPrefix(node.URL(), "nats://")
	d.address.Store(&address)
}

// connect makes a connection that goes where the dialer says.
func (d *dialer) connect(t testing.TB) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("nats://node", append(embeddedtest.Reconnecting(), nats.SetCustomDialer(d))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// copyDir replaces to by from.
func copyDir(t testing.TB, to, from string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// opened appends the openings of grants from up to to.
func openGrants(t testing.TB, log *eventlog.Log, from, to byte) uint64 {
	t.Helper()
	var seq uint64
	for n := from; n < to; n++ {
		seq = openGrant(t, log, grantID(n))
	}
	return seq
}

func waitPosition(t testing.TB, l *Local, seq uint64) {
	t.Helper()
	embeddedtest.Eventually(t, fmt.Sprintf("position %d", seq), func() bool { return l.Status()[0].Position >= seq })
}

// wantFailedClosed waits until the partition is failed and then expects that
// nothing is read of it or appended to it any more.
func wantFailedClosed(t *testing.T, log *eventlog.Log, l *Local, reason error) {
	t.Helper()
	embeddedtest.Eventually(t, "partition is failed", func() bool { return log.Failed(stream) != nil })
	embeddedtest.Eventually(t, "status says why", func() bool { return errors.Is(l.Status()[0].Err, reason) })
	if s := l.Status()[0]; s.Serving {
		t.Errorf("status %+v", s)
	}
	if _, err := l.Grant(t.Context(), grantID(1)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("read: got %v, want ErrUnavailable", err)
	}
	_, err := log.Append(t.Context(), eventlog.Unit{Event: events.Event{
		ID: "x", Source: "test", Subject: realm.RevokedSubject(0), Fact: events.FeedTicked{},
	}})
	if !errors.Is(err, eventlog.ErrPartitionFailed) {
		t.Errorf("append: got %v, want ErrPartitionFailed", err)
	}
}

// TestAnotherLogUnderAStoppedProjector exchanges the log while nothing runs.
func TestAnotherLogUnderAStoppedProjector(t *testing.T) {
	t.Parallel()
	for name, exchange := range map[string]func(t *testing.T, node *embeddedtest.Node, half string){
		"cut short": func(t *testing.T, node *embeddedtest.Node, half string) {
			copyDir(t, node.Dir, half)
		},
		"went another way": func(t *testing.T, node *embeddedtest.Node, half string) {
			copyDir(t, node.Dir, half)
			node.Start()
			openGrants(t, openLog(t, node.Conn(), 1), 100, 180)
			node.Stop()
		},
		"created again": func(t *testing.T, node *embeddedtest.Node, _ string) {
			node.Start()
			js, err := jetstream.New(node.Conn())
			if err != nil {
				t.Fatal(err)
			}
			if err := js.DeleteStream(t.Context(), stream); err != nil {
				t.Fatal(err)
			}
			openGrants(t, openLog(t, node.Conn(), 1), 0, 100)
			node.Stop()
		},
		"a flipped bit": func(t *testing.T, node *embeddedtest.Node, _ string) {
			embeddedtest.FlipBit(t, node.Dir, stream, 0.5, dropIndex)
		},
		"a flipped bit in the last message": func(t *testing.T, node *embeddedtest.Node, _ string) {
			embeddedtest.FlipBit(t, node.Dir, stream, 0.995, dropIndex)
		},
	} {
		t.Run(name, func(t *testing.T) {
			node := embeddedtest.Single(t)
			half, dir := filepath.Join(t.TempDir(), "half"), t.TempDir()
			log := openLog(t, node.Conn(), 1)
			openGrants(t, log, 0, 50)
			node.Stop()
			copyDir(t, half, node.Dir)
			node.Start()
			log = openLog(t, node.Conn(), 1)
			last := openGrants(t, log, 50, 100)
			l := openLocal(t, log, LocalConfig{Dir: dir})
			waitPosition(t, l, last)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			node.Stop()

			exchange(t, node, half)

			node.Start()
			log = openLog(t, node.Conn(), 1)
			var logged logBuffer
			l = openLocal(t, log, LocalConfig{Dir: dir, Logger: logged.logger()})
			wantFailedClosed(t, log, l, errDiverged)
			if !strings.Contains(logged.String(), "level=ERROR") {
				t.Errorf("no error was logged: %s", logged.String())
			}
		})
	}
}

// TestUnreadableMessage flips a bit that the server does not notice, because
// it trusts its index: the message is there and never comes. Nothing is served
// on top of it, and with the next message the partition fails.
func TestUnreadableMessage(t *testing.T) {
	t.Parallel()
	node, dir := embeddedtest.Single(t), t.TempDir()
	log := openLog(t, node.Conn(), 1)
	last := openGrants(t, log, 0, 100)
	l := openLocal(t, log, LocalConfig{Dir: dir})
	waitPosition(t, l, last)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	node.Stop()
	embeddedtest.FlipBit(t, node.Dir, stream, 0.995, keepIndex)
	node.Start()
	log = openLog(t, node.Conn(), 1)
	head, err := log.Head(t.Context(), stream)
	if err != nil || head.Seq != last {
		t.Fatalf("the server noticed: %+v, %v", head, err)
	}
	was, fresh := openLocal(t, log, LocalConfig{Dir: dir}), openLocal(t, log, LocalConfig{})
	waitPosition(t, fresh, last-1)
	for _, l := range []*Local{was, fresh} {
		if _, err := l.Grant(t.Context(), grantID(1)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
	}
	openGrant(t, log, grantID(200))
	wantFailedClosed(t, log, was, eventlog.ErrGap)
	wantFailedClosed(t, log, fresh, eventlog.ErrGap)
}

// What happens to the index beside a block. A crash leaves an older one, which
// the server replaces.
const (
	keepIndex = true
	dropIndex = false
)

// TestLogCutShortUnderARunningProjector restarts the server on an older store
// while the projector is connected.
func TestLogCutShortUnderARunningProjector(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	half := filepath.Join(t.TempDir(), "half")
	openGrants(t, openLog(t, node.Conn(), 1), 0, 50)
	node.Stop()
	copyDir(t, half, node.Dir)
	node.Start()
	var where dialer
	where.to(node)
	log := openLog(t, where.connect(t), 1)
	last := openGrants(t, log, 50, 100)
	l := openLocal(t, log, LocalConfig{})
	waitPosition(t, l, last)
	node.Stop()
	copyDir(t, node.Dir, half)
	node.Start()
	where.to(node)
	wantFailedClosed(t, log, l, errDiverged)
}

// TestShorterReplicatedLogIsGivenTime: of several servers, one that is cut off
// answers from the past, and that is no loss.
func TestShorterReplicatedLogIsGivenTime(t *testing.T) {
	w := &worker{stream: stream, logger: quiet()}
	head := eventlog.Head{Seq: 50, Replicas: 3}
	if err := w.checkLength(head, 100); err != nil {
		t.Errorf("at first: got %v", err)
	}
	w.shorter = time.Now().Add(-isolation)
	if err := w.checkLength(head, 100); !errors.Is(err, errDiverged) {
		t.Errorf("in the end: got %v, want errDiverged", err)
	}
	if err := w.checkLength(eventlog.Head{Seq: 100, Replicas: 3}, 100); err != nil || !w.shorter.IsZero() {
		t.Errorf("when it is back: got %v, shorter since %v", err, w.shorter)
	}
}

// publish stores something that is no event.
func publish(t testing.TB, nc *nats.Conn, s events.Subject, data string) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), string(s), []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func TestPoisonStopsThePartitionOnly(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	log := openLog(t, node.Conn(), 1)
	seq := openGrants(t, log, 0, 10)
	var logged logBuffer
	dir := t.TempDir()
	l := openLocal(t, log, LocalConfig{Dir: dir, Logger: logged.logger()})
	waitServing(t, l)
	waitPosition(t, l, seq)

	publish(t, node.Conn(), realm.GrantSubject(grantID(1)), "{}")
	openGrant(t, log, grantID(200))
	poisoned := func(l *Local) {
		t.Helper()
		embeddedtest.Eventually(t, "partition stops", func() bool { return l.Status()[0].Err != nil })
		if s := l.Status()[0]; s.Serving || s.Position != seq || !strings.Contains(s.Err.Error(), fmt.Sprint(seq+1)) {
			t.Errorf("status %+v", s)
		}
		if _, err := l.Grant(t.Context(), grantID(1)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("read: got %v, want ErrUnavailable", err)
		}
		if err := l.Wait(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Wait: got %v, want ErrUnavailable", err)
		}
	}
	poisoned(l)
	if text := logged.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, fmt.Sprintf("sequence %d", seq+1)) {
		t.Errorf("logged: %s", text)
	}
	if log.Failed(stream) != nil {
		t.Error("the log is fine: it must not be failed")
	}
	registry := realm.RegistryStream()
	changed := put(t, log, realm.ClientSubject("web"), 0, events.ClientRegistered{})
	embeddedtest.Eventually(t, "the registry goes on", func() bool {
		s := l.Status()[1]
		return s.Stream == registry && s.Serving && s.Position >= changed
	})
	// Starting again does not get over it.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	poisoned(openLocal(t, log, LocalConfig{Dir: dir}))
}
