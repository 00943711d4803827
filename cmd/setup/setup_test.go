package setup

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/chancery-authority/chancery/events"
)

func secrets(t *testing.T, dir string, change func(*Secrets)) []string {
	t.Helper()
	s := Secrets{Dir: dir, Realm: events.DefaultRealm, Room: 2, Routes: []string{"n1:6222"}}
	if change != nil {
		change(&s)
	}
	made, err := s.Make()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// files are all below a directory, with what is in them.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir+"/")] = string(text)
		if info, _ := d.Info(); info.Mode().Perm()&0o077 != 0 && filepath.Ext(path) != ".pub" {
			t.Errorf("%s: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSecretsAreMadeOnce(t *testing.T) {
	dir := t.TempDir()
	if made := secrets(t, dir, nil); len(made) != 9 {
		t.Errorf("made %q", made)
	}
	first := files(t, dir)
	if made := secrets(t, dir, nil); len(made) != 0 {
		t.Errorf("made again: %q", made)
	}
	if again := files(t, dir); !maps.Equal(first, again) {
		t.Error("a file has changed")
	}
	// A part that was lost is made again, and what follows from it.
	if err := os.Remove(filepath.Join(dir, "projector", "nats.nk")); err != nil {
		t.Fatal(err)
	}
	made := secrets(t, dir, nil)
	again := files(t, dir)
	if !slices.Equal(made, []string{"projector/nats.nk"}) || again["nats/accounts.conf"] == first["nats/accounts.conf"] {
		t.Errorf("made %q", made)
	}
	// Whoever has one directory knows nothing of another's.
	for _, only := range []string{"api/key-encryption-keys", "api/nats.nk", "projector/nats.nk", "projector/checkpoint-key", "operator/nats.nk", "nats/route-password"} {
		for name, text := range again {
			if name != only && filepath.Dir(name) != filepath.Dir(only) && strings.Contains(text, strings.TrimSpace(again[only])) {
				t.Errorf("%s is in %s, too", only, name)
			}
		}
	}
}

func TestSecretsRefuse(t *testing.T) {
	for name, change := range map[string]func(*Secrets){
		"realm":     func(s *Secrets) { s.Realm = "a.b" },
		"no room":   func(s *Secrets) { s.Room = 0 },
		"much room": func(s *Secrets) { s.Room = 257 },
		"route":     func(s *Secrets) { s.Routes = []string{"n1"} },
		"injection": func(s *Secrets) { s.Routes = []string{"x\"\n@n1:6222"} },
	} {
		s := Secrets{Dir: t.TempDir(), Realm: events.DefaultRealm, Room: 1}
		change(&s)
		if _, err := s.Make(); err == nil {
			t.Errorf("%s: made", name)
		}
	}
}

// What was written is read by a NATS server as it was meant.
func TestAccounts(t *testing.T) {
	dir := t.TempDir()
	secrets(t, dir, func(s *Secrets) { s.Routes = nil })
	if _, err := server.ProcessConfigFile(filepath.Join(dir, "nats", "accounts.conf")); err != nil {
		t.Errorf("for a server on its own: %v", err)
	}
	secrets(t, dir, func(s *Secrets) { s.Forget = true })
	config := filepath.Join(dir, "nats", "nats.conf")
	text := "include accounts.conf\ncluster { authorization { user: route, password: $route_password }, routes: $routes }\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if opts.SystemAccount != "SYSTEM" || len(opts.Nkeys) != 4 || len(opts.Routes) != 1 || opts.Cluster.Password == "" {
		t.Errorf("system account %q, %d users, routes %v", opts.SystemAccount, len(opts.Nkeys), opts.Routes)
	}
	if password, _ := opts.Routes[0].User.Password(); password != opts.Cluster.Password {
		t.Error("the route does not know the password")
	}
	purges := 0
	for _, u := range opts.Nkeys {
		if slices.Contains(u.Permissions.Publish.Allow, "$JS.API.STREAM.PURGE.MAIN_EVENTS_1") {
			purges++
		}
		if slices.Contains(u.Permissions.Publish.Allow, "$JS.API.STREAM.PURGE.MAIN_REGISTRY") {
			t.Error("somebody may purge the registry")
		}
	}
	if purges != 1 {
		t.Errorf("%d users may purge partitions", purges)
	}
}
