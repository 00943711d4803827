package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

const startTimeout = 30 * time.Second

// noKey asks without the admin key.
var noKey secret.Secret

// cheap is the least that argon2id takes: the tests are not about it.
func cheap() secret.PasswordConfig {
	return secret.PasswordConfig{Cost: secret.PasswordCost{Time: 1, Memory: 8, Threads: 1}}
}

// local is a process on ports of its own that keeps its data in dir.
func local(role Role, dir string) Config {
	c := defaults(role)
	c.Public.Listen, c.Admin.AdminListen = "127.0.0.1:0", "127.0.0.1:0"
	c.Data.Data = dir
	c.Passwords = cheap()
	return c
}

func start(t *testing.T, c Config) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	s := New(c)
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// get asks once and gives status and body.
func get(t *testing.T, url string, key secret.Secret) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !key.IsZero() {
		req.Header.Set("Authorization", "Bearer "+key.Reveal())
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

func TestServe(t *testing.T) {
	dir := t.TempDir()
	s := start(t, local(All, dir))
	for _, path := range []string{"/health/live", "/health/ready"} {
		if status, body := get(t, s.AdminURL()+path, noKey); status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	status, body := get(t, s.PublicURL()+"/.well-known/oauth-authorization-server", noKey)
	if want := `"issuer":"` + s.PublicURL() + `"`; status != http.StatusOK || !strings.Contains(body, want) {
		t.Errorf("metadata: %d %s, want %s", status, body, want)
	}
	if status, _ := get(t, s.AdminURL()+"/admin/v1/clients", noKey); status != http.StatusUnauthorized {
		t.Errorf("clients without the key: %d", status)
	}
	key, err := readSecret("the admin key", filepath.Join(dir, adminKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, s.AdminURL()+"/admin/v1/clients", key); status != http.StatusOK {
		t.Errorf("clients: %d %s", status, body)
	}
	for _, path := range []string{"/health/ready", "/admin/v1/clients"} {
		if status, _ := get(t, s.PublicURL()+path, key); status != http.StatusNotFound {
			t.Errorf("%s on the public listener: %d", path, status)
		}
	}
}

func TestStatus(t *testing.T) {
	dir := t.TempDir()
	s := start(t, local(All, dir))
	key, err := readSecret("the admin key", filepath.Join(dir, adminKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	_, body := get(t, s.AdminURL()+"/admin/v1/status", key)
	var status struct {
		Ready     bool
		Projector []ModelStatus
	}
	if err := json.Unmarshal([]byte(body), &status); err != nil {
		t.Fatal(err)
	}
	if !status.Ready || len(status.Projector) != 6 {
		t.Errorf("status: %s", body)
	}
}

func TestFilesAreKeptAndPrivate(t *testing.T) {
	dir := t.TempDir()
	read := func() (texts [2]string) {
		for i, name := range []string{adminKeyFile, keyRingFile} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", name, info.Mode())
			}
			text, _ := os.ReadFile(filepath.Join(dir, name))
			texts[i] = string(text)
		}
		return texts
	}
	s := start(t, local(All, dir))
	first := read()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, local(All, dir))
	if again := read(); again != first {
		t.Error("a restart made new keys")
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	start(t, local(All, dir))
	err := New(local(All, dir)).Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("got %v", err)
	}
}

func TestDevPrintsATour(t *testing.T) {
	c := local(All, t.TempDir())
	var out bytes.Buffer
	c.Dev, c.Out, c.Keys.AdminKey = true, &out, secret.New("the-admin-key")
	s := start(t, c)
	for _, want := range []string{"DEVELOPMENT MODE", s.PublicURL(), s.AdminURL(), "the-admin-key", "alice / wonderland"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	_, body := get(t, s.AdminURL()+"/admin/v1/clients", secret.New("the-admin-key"))
	for _, want := range []string{"demo-service", "demo-web", "demo-spa"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s among %s", want, body)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, c) // finds all of it there
}

// replicaOn is an API replica on the servers of a node.
func replicaOn(node *embeddedtest.Node) Config {
	c := local(API, "")
	c.Log.NATSURL, c.Log.AcceptDataLoss = node.URL(), true
	c.Keys.AdminKey = secret.New("the-admin-key")
	c.Keys.KeyEncryptionKeys = secret.NewRingLine("1")
	c.Settings.Issuer = "https://auth.example"
	return c
}

func projectorOn(node *embeddedtest.Node, dir string) Config {
	c := local(Projector, dir)
	c.Log.NATSURL, c.Log.AcceptDataLoss = node.URL(), true
	return c
}

func TestReplicaAndProjector(t *testing.T) {
	node := embeddedtest.Single(t)
	replica := start(t, replicaOn(node))
	if status, body := get(t, replica.AdminURL()+"/health/ready", noKey); status != http.StatusServiceUnavailable {
		t.Errorf("ready without a projector: %d %s", status, body)
	}
	folding := start(t, projectorOn(node, t.TempDir()))
	for _, s := range []*Server{folding, replica} {
		embeddedtest.Eventually(t, "ready with a projector", func() bool {
			status, _ := get(t, s.AdminURL()+"/health/ready", noKey)
			return status == http.StatusOK
		})
	}
	if status, _ := get(t, folding.AdminURL()+"/admin/v1/clients", noKey); status != http.StatusNotFound {
		t.Errorf("clients of a projector: %d", status)
	}
	key := replicaOn(node).Keys.AdminKey
	if status, body := get(t, folding.AdminURL()+"/admin/v1/projections", key); status != http.StatusNotFound {
		t.Errorf("read models of a projector that was given no key: %d %s", status, body)
	}
	if status, body := get(t, replica.AdminURL()+"/admin/v1/projections", key); status != http.StatusNotFound || !strings.Contains(body, "ask the admin address of a projector") {
		t.Errorf("read models of an API replica: %d %s", status, body)
	}
}

// TestProjectorWithAnAdminKey answers health to everybody, about read models to who
// has the key, and nothing else.
func TestProjectorWithAnAdminKey(t *testing.T) {
	c := projectorOn(embeddedtest.Single(t), t.TempDir())
	c.Keys.AdminKey = secret.New("the-admin-key")
	s := start(t, c)
	for path, test := range map[string]struct {
		key    secret.Secret
		status int
	}{
		"/health/live":           {noKey, http.StatusOK},
		"/admin/v1/projections":  {c.Keys.AdminKey, http.StatusOK},
		"/admin/v1/projections/": {noKey, http.StatusUnauthorized},
		"/admin/v1/clients":      {c.Keys.AdminKey, http.StatusNotFound},
		"/":                      {c.Keys.AdminKey, http.StatusNotFound},
	} {
		if status, body := get(t, s.AdminURL()+path, test.key); status != test.status {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

// TestProfileEndsWithAProjector early, and whole: its connection is not cut.
func TestProfileEndsWithAProjector(t *testing.T) {
	c := projectorOn(embeddedtest.Single(t), t.TempDir())
	c.Keys.AdminKey = secret.New("the-admin-key")
	s := start(t, c)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.AdminURL()+"/admin/v1/profiles/cpu?seconds=60", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.Keys.AdminKey.Reveal())
	profile := make(chan error, 1)
	go func() {
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			profile <- err
			return
		}
		defer answer.Body.Close()
		unzipped, err := gzip.NewReader(answer.Body)
		if err == nil {
			_, err = io.Copy(io.Discard, unzipped)
		}
		profile <- err
	}()
	embeddedtest.Eventually(t, "the profile to be recorded", func() bool {
		var stacks strings.Builder
		if err := pprof.Lookup("goroutine").WriteTo(&stacks, 1); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(stacks.String(), "recordCPU")
	})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-profile; err != nil {
		t.Errorf("the profile: %v", err)
	}
}

func TestUnknownDurabilityIsRefused(t *testing.T) {
	c := projectorOn(embeddedtest.Single(t), t.TempDir())
	c.Log.AcceptDataLoss = false
	err := New(c).Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "accept-data-loss") {
		t.Errorf("got %v", err)
	}
}

// TestDemoStaysOnLoopback serves the log of a demonstration to the public.
func TestDemoStaysOnLoopback(t *testing.T) {
	dir := t.TempDir()
	dev := local(All, dir)
	dev.Dev = true
	if err := start(t, dev).Close(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"listening":      func(c *Config) { c.Public.Listen = "0.0.0.0:0" },
		"behind a proxy": func(*Config) {},
	} {
		c := local(All, dir)
		c.Settings.Issuer = "https://auth.example"
		change(&c)
		err := New(c).Start(t.Context())
		if err == nil || !strings.Contains(err.Error(), "disable demo-service, demo-web, demo-partner, alice") {
			t.Errorf("%s: %v", name, err)
		}
	}
	start(t, local(All, dir)) // on loopback one can disable them
	public := local(All, t.TempDir())
	public.Settings.Issuer = "https://auth.example"
	start(t, public)
}
