package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector"
)

// TestGrow serves a store that was made, refreshes every token of the sample, and holds log and read models against
// what was signed and against a fresh replay.
func TestGrow(t *testing.T) {
	dir := t.TempDir()
	data, tokensFile, secretFile := filepath.Join(dir, "data"), filepath.Join(dir, "tokens"), filepath.Join(dir, "secret")
	grow := []string{
		"grow", "--data-dir", data, "--grants", "130", "--partitions", "2", "--tokens", tokensFile, "--sample", "50", "--secret", secretFile,
	}
	if _, stderr, status := chancery(t, grow...); status != 0 {
		t.Fatalf("grow: %d %s", status, stderr)
	}
	if _, stderr, status := chancery(t, grow...); status == 0 || !strings.Contains(stderr, "has a log already") {
		t.Errorf("grow into what is there: %d %s", status, stderr)
	}
	for _, path := range []string{tokensFile, secretFile} {
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	client := apitest.Client{ID: "grow", Secret: strings.TrimSpace(read(t, secretFile))}
	tokens := strings.Fields(read(t, tokensFile))
	if len(tokens) != 50 {
		t.Fatalf("%d tokens", len(tokens))
	}

	cmd, replica := launchReplica(t, []string{
		"serve", "--data", data, "--issuer", apitest.Issuer, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
	})
	for _, token := range tokens {
		a := replica.Refresh(t, client, token)
		if a.Status != http.StatusOK || a.Text("refresh_token") == "" || a.Text("scope") != "read offline_access" {
			t.Fatalf("refresh: %d %s", a.Status, a.Body)
		}
	}
	flags := []string{"--admin-url", replica.AdminURL, "--data", data}
	embeddedtest.Eventually(t, "all of it is verified", func() bool {
		stdout, _, status := chancery(t, append([]string{"audit", "verify"}, flags...)...)
		return status == 0 && strings.Count(stdout, "signed up to") == 3
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	checkGrown(t, data, 130, 50)
}

// TestGrowFew samples all grants by default if they are fewer than that.
func TestGrowFew(t *testing.T) {
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens")
	_, stderr, status := chancery(t, "grow", "--data-dir", filepath.Join(dir, "data"), "--grants", "3", "--tokens", tokens, "--secret", filepath.Join(dir, "secret"))
	if status != exitOK || strings.Count(read(t, tokens), "\n") != 3 {
		t.Errorf("status %d: %s", status, stderr)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// checkGrown expects so many grants and refreshes in the log, and in the read models what a fresh replay gives.
func checkGrown(t *testing.T, data string, grants, refreshed int) {
	t.Helper()
	ns, err := embedded.Start(embedded.Options{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Shutdown(t.Context())
	nc, err := ns.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	log, err := eventlog.Open(t.Context(), nc, eventlog.Config{Realm: events.DefaultRealm})
	if err != nil {
		t.Fatal(err)
	}
	left, err := projector.OpenLocal(t.Context(), log, projector.LocalConfig{Dir: filepath.Join(data, "read-models"), Logger: slog.New(slog.DiscardHandler), NoAudit: true})
	if err != nil {
		t.Fatal(err)
	}
	defer left.Close()
	if err := left.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows, types, fresh := 0, map[string]int{}, t.TempDir()
	for _, stream := range log.Streams() {
		replayed, err := projector.Replay(t.Context(), fresh, events.DefaultRealm, stream, projector.Until{}, func(each func([]eventlog.Entry) error) error {
			return log.Replay(t.Context(), stream, eventlog.From{Seq: 1}, func(batch []eventlog.Entry) error {
				for _, e := range batch {
					types[e.Message.Header.Get("ce-type")]++
				}
				return each(batch)
			})
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		rows += replayed.Rows["grants"]
		hash, seq, err := left.StateHash(t.Context(), stream)
		if err != nil || seq != replayed.Position || hash != replayed.State {
			t.Errorf("%s at %d: %x, a fresh replay to %d: %x, %v", stream, seq, hash, replayed.Position, replayed.State, err)
		}
	}
	got := fmt.Sprint(rows, types["grant.opened.v1"], types["code.redeemed.v1"], types["refresh_token.rotated.v1"], types["user.registered.v1"])
	if want := fmt.Sprint(grants, grants, grants, refreshed, grants/10); got != want {
		t.Errorf("rows, events opened, redeemed, rotated, users: %s, want %s", got, want)
	}
}
