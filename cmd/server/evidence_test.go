package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
)

const partition = "MAIN_EVENTS_0"

// issue appends events and waits until all of them are signed.
func issue(t *testing.T, s *Server, n int) {
	t.Helper()
	var last uint64
	for range n {
		r, err := s.eventLog.Append(t.Context(), eventlog.Unit{Event: events.Event{
			ID: rand.Text(), Source: "test", Subject: s.eventLog.Realm().RevokedSubject(0), Fact: events.FeedTicked{},
		}})
		if err != nil {
			t.Fatal(err)
		}
		last = r.Seq
	}
	embeddedtest.Eventually(t, "all of it is signed", func() bool {
		c, _ := s.keeper.Newest(partition)
		return c.Size >= last
	})
}

// ownToken asks for a token of a demonstration client.
func ownToken(t *testing.T, s *Server) int {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"demo-service"}, "client_secret": {"demo-service-secret"}}
	resp, err := http.PostForm(s.PublicURL()+"/oauth2/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// TestDamagedLogIsNotServed damages the log of a stopped authority. Without its
// read models all that tells is the checkpoint outside of the engine: without that,
// the authority would go on as if nothing had been.
func TestDamagedLogIsNotServed(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir, older string){
		"a flipped bit": func(t *testing.T, dir, _ string) { embeddedtest.FlipBit(t, dir, partition, 0.5, false) },
		"an older store, as a power cut leaves one that does not sync": func(t *testing.T, dir, older string) {
			replaceDir(t, filepath.Join(dir, "nats"), older)
		},
	} {
		for _, removed := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", read models removed: ", removed), func(t *testing.T) {
				t.Parallel()
				testDamaged(t, damage, removed)
			})
		}
	}
}

func testDamaged(t *testing.T, damage func(t *testing.T, dir, older string), removed bool) {
	t.Helper()
	dir, older := t.TempDir(), filepath.Join(t.TempDir(), "older")
	c := local(All, dir)
	c.Dev = true
	s := start(t, c)
	issue(t, s, 20)
	closeServer(t, s)
	replaceDir(t, older, filepath.Join(dir, "nats"))
	s = start(t, c)
	issue(t, s, 20)
	if status := ownToken(t, s); status != http.StatusOK {
		t.Fatalf("a token before the damage: %d", status)
	}
	closeServer(t, s)

	damage(t, dir, older)
	if removed {
		if err := os.RemoveAll(filepath.Join(dir, modelsDir)); err != nil {
			t.Fatal(err)
		}
	}
	c.Evidence.AcceptLoss = acceptedBy(t, c)
	s = start(t, c)
	issue(t, s, 1)
	if status := ownToken(t, s); status != http.StatusOK {
		t.Errorf("a token once the loss is accepted: %d", status)
	}
}

func replaceDir(t *testing.T, dir, by string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(by)); err != nil {
		t.Fatal(err)
	}
}

func closeServer(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestEvidenceSettings are those that cannot be.
func TestEvidenceSettings(t *testing.T) {
	_, public, err := tree.NewKey(rand.Reader, "auth.example")
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"":                      func(c *Config) { c.Evidence.CheckpointKnownKeys = []string{public} },
		"scrub-rate":            func(c *Config) { c.Evidence.ScrubRate = -1 },
		"checkpoint-known-keys": func(c *Config) { c.Evidence.CheckpointKnownKeys = []string{"auth.example+1+A"} },
		"accept-loss":           func(c *Config) { c.Evidence.AcceptLoss = []string{"OTHER_EVENTS_0:1"} },
		"forget-after: needs":   func(c *Config) { c.Archive.ForgetAfter = 100 * 24 * 3600e9 },
		"is less than":          func(c *Config) { c.Archive.Archive, c.Archive.ForgetAfter = "x", 3600e9 },
		"accept-loss-keep":      func(c *Config) { c.Evidence.AcceptLossKeepClient = []string{"web"} },
		"not of the registry": func(c *Config) {
			c.Evidence.AcceptLoss, c.Evidence.AcceptLossKeepClient = []string{"MAIN_REGISTRY:1"}, []string{"web"}
		},
	} {
		c := local(All, t.TempDir())
		change(&c)
		err := c.Check()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	// What cannot be read does not show what it is.
	c := local(All, t.TempDir())
	c.Evidence.CheckpointKeyFile = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(c.Evidence.CheckpointKeyFile, []byte("PRIVATE+KEY+auth.example+secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := New(c)
	if err := s.Start(context.WithoutCancel(t.Context())); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("it starts, or shows the key: %v", err)
	}
}
