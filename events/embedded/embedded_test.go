package embedded

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func begin(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(t, s) })
	return s
}

func end(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// A second server on a directory would overwrite what the first has promised.
func TestOneServerPerDirectory(t *testing.T) {
	dir := t.TempDir()
	first := begin(t, Options{Dir: dir})
	if _, err := Start(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("a second server: %v", err)
	}
	end(t, first)
	end(t, first) // again is no error
	begin(t, Options{Dir: dir})
}

func TestSyncsAndDoesNotListen(t *testing.T) {
	o, err := serverOptions(Options{Dir: "x"})
	if err != nil || !o.SyncAlways || !o.DontListen || !o.JetStream {
		t.Errorf("%+v %v", o, err)
	}
	o, err = serverOptions(Options{Dir: "x", Listen: "127.0.0.1:4222"})
	if err != nil || !o.SyncAlways || o.DontListen || o.Host != "127.0.0.1" || o.Port != 4222 {
		t.Errorf("%+v %v", o, err)
	}
	for _, listen := range []string{"127.0.0.1", "127.0.0.1:nats"} {
		if _, err := Start(Options{Dir: t.TempDir(), Listen: listen}); err == nil {
			t.Errorf("listens on %s", listen)
		}
	}
	if _, err := Start(Options{}); err == nil {
		t.Error("started without a directory")
	}
}

func TestConnections(t *testing.T) {
	var log strings.Builder
	s := begin(t, Options{
		Dir: t.TempDir(), Listen: "127.0.0.1:0", Name: "here",
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	inside, err := s.Connect(nats.Name("inside"))
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	outside, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	for _, nc := range []*nats.Conn{inside, outside} {
		if nc.ConnectedServerName() != "here" {
			t.Errorf("connected to %q", nc.ConnectedServerName())
		}
	}
	inside.Close()
	outside.Close()
	end(t, s)
	if !strings.Contains(log.String(), "Server is ready") {
		t.Error("the server's log is not passed on")
	}
}
