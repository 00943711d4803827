package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// A tripwire passes on what a process and its log server say to each other, up
// to where the process sends a text. From there on, all that it sends is lost, or
// all that it would be answered.
type tripwire struct {
	listener net.Listener
	text     string
	// lets the text itself through.
	lets bool

	mu      sync.Mutex
	armed   bool
	tripped bool
	hit     chan struct{}
}

func newTripwire(t *testing.T, target, text string, lets bool) *tripwire {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	w := &tripwire{listener: l, text: text, lets: lets, hit: make(chan struct{})}
	go func() {
		for {
			process, err := l.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", target)
			if err != nil {
				_ = process.Close()
				return
			}
			go w.pump(server, process, w.asked)
			go w.pump(process, server, w.answered)
		}
	}()
	return w
}

// pump passes on what may pass, until one of the two ends.
func (w *tripwire) pump(to, from net.Conn, pass func(said []byte) bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	var said []byte // the end of what came before, too, as a text may come in parts
	for buf := make([]byte, 32<<10); ; {
		n, err := from.Read(buf)
		said = append(said[max(0, len(said)-len(w.text)):], buf[:n]...)
		if pass(said) {
			_, _ = to.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

func (w *tripwire) asked(said []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tripped {
		return false
	}
	if w.armed && bytes.Contains(said, []byte(w.text)) {
		w.tripped = true
		close(w.hit)
		return w.lets
	}
	return true
}

func (w *tripwire) answered([]byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.tripped
}

func (w *tripwire) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = true
}

// TestKilledWhileErasing kills the process with SIGKILL at each step of an
// erasure. The one that is started next finishes it.
func TestKilledWhileErasing(t *testing.T) {
	node := embeddedtest.Single(t)
	log, err := eventlog.Open(t.Context(), node.Conn(), eventlog.Config{Realm: events.DefaultRealm})
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := log.ErasableBucket(t.Context(), "RECORDS")
	if err != nil {
		t.Fatal(err)
	}
	types := func(user string) (types []string) {
		all, err := log.After(t.Context(), log.Realm().UserSubject(user), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			types = append(types, r.Fact.Type())
		}
		return types
	}
	start := func(url string) (*exec.Cmd, *apitest.Replica) {
		return launchReplica(t, []string{
			"serve", "--issuer", apitest.Issuer, "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
			"--nats-url", url, "--accept-data-loss", "--no-audit", "--admin-key", apitest.AdminKey, "--key-encryption-keys", apitest.KeyRing,
		})
	}
	deleted := []string{"user.registered.v1", "user.deleted.v1"}
	erased := append(slices.Clone(deleted), "user.erased.v1")
	unfinished := ""
	wantFinished := func(t *testing.T) {
		t.Helper()
		embeddedtest.Eventually(t, "the erasure to be finished", func() bool { return slices.Equal(types(unfinished), erased) })
		if hasRecord(t, bucket, unfinished) {
			t.Error("the record is there")
		}
	}
	for name, at := range map[string]struct {
		text string
		lets bool
		// What there is when the process is dead.
		record bool
		types  []string
	}{
		"before the record is gone":           {"STREAM.MSG.DELETE.KV_MAIN_RECORDS", false, true, deleted},
		"before the event":                    {"user.erased.v1", false, false, deleted},
		"before it is known to be in the log": {"user.erased.v1", true, false, erased},
	} {
		t.Run(name, func(t *testing.T) {
			wire := newTripwire(t, strings.TrimPrefix(node.URL(), "nats://"), at.text, at.lets)
			cmd, replica := start("nats://" + wire.listener.Addr().String())
			if unfinished != "" {
				wantFinished(t)
			}
			a := replica.Admin(t, http.MethodPost, "/users", map[string]string{"username": "alice"})
			unfinished = a.Text("user_id")
			wire.arm()
			answered := make(chan error, 1)
			go func() { answered <- erase(t.Context(), replica, unfinished) }()
			<-wire.hit
			embeddedtest.Eventually(t, "what was sent to be in the log", func() bool { return slices.Equal(types(unfinished), at.types) })
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if err := <-answered; err == nil {
				t.Error("it was answered")
			}
			if hasRecord(t, bucket, unfinished) != at.record || !slices.Equal(types(unfinished), at.types) {
				t.Errorf("it was not killed where it should have been: record %v, %v", !at.record, types(unfinished))
			}
		})
	}
	cmd, _ := start(node.URL())
	wantFinished(t)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func hasRecord(t testing.TB, bucket *eventlog.ErasableBucket, user string) bool {
	t.Helper()
	_, err := bucket.Get(t.Context(), "person."+user)
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// erase asks a process that will not live to answer.
func erase(ctx context.Context, replica *apitest.Replica, user string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodDelete, replica.AdminURL+"/admin/v1/users/"+user, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+apitest.AdminKey)
	response, err := http.DefaultClient.Do(request)
	if err == nil {
		err = response.Body.Close()
	}
	return err
}
