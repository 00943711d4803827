package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// TestBackupUnderLoad copies an authority that goes on, and makes another of the copy,
// which does not start before the loss of what came after is accepted.
func TestBackupUnderLoad(t *testing.T) {
	data, restored, dir := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "backup")
	serve := []string{"serve", "--dev", "--issuer", apitest.Issuer, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data"}
	process, a := launchReplica(t, append(serve, data))
	before := a.Tokens(t, apitest.DemoWeb, "read offline_access")
	var newest string
	var refreshed atomic.Int64
	var loading sync.WaitGroup
	stop := make(chan struct{})
	loading.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				a.Tokens(t, apitest.DemoWeb, "read offline_access")
			}
		}
	})
	loading.Go(func() {
		newest = before.Text("refresh_token")
		for {
			select {
			case <-stop:
				return
			default:
				refreshed.Add(1)
				newest = a.Refresh(t, apitest.DemoWeb, newest).Text("refresh_token")
			}
		}
	})
	embeddedtest.Eventually(t, "there is load", func() bool { return refreshed.Load() > 5 })
	stdout, stderr, status := chancery(t, "backup", dir, "--admin-url", a.AdminURL, "--data", data)
	close(stop)
	loading.Wait()
	if status != 0 {
		t.Fatalf("backup: %d\n%s%s", status, stdout, stderr)
	}
	after := a.Refresh(t, apitest.DemoWeb, newest)
	if after.Status != http.StatusOK {
		t.Fatalf("refresh: %d %s", after.Status, after.Body)
	}
	sameState(t, dir, a.AdminURL, data)
	end(t, process)

	key := filepath.Join(data, "checkpoint-key.pub")
	stdout, stderr, status = chancery(t, "restore", dir, "--data", restored, "--key", key)
	if status != 0 || !strings.Contains(stdout, "not to be served") {
		t.Fatalf("restore: %d\n%s%s", status, stdout, stderr)
	}
	if _, stderr, status := chancery(t, "restore", dir, "--data", restored, "--key", key); status == 0 || !strings.Contains(stderr, "not empty") {
		t.Errorf("restored again: %d %s", status, stderr)
	}
	for _, name := range []string{"admin-key", "key-encryption-keys", "checkpoint-key", "checkpoint-key.pub"} {
		text, err := os.ReadFile(filepath.Join(data, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(restored, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	refused, stderr, status := chancery(t, append(serve, restored)...)
	way := regexp.MustCompile(`--accept-loss (\S+)`).FindStringSubmatch(stderr)
	if status != 1 || way == nil {
		t.Fatalf("it starts: %d\n%s%s", status, refused, stderr)
	}
	_, b := launchReplica(t, append(serve, restored, "--accept-loss", way[1]))
	for what, token := range map[string]string{"of before": newest, "of after the backup": after.Text("refresh_token")} {
		if got := b.Refresh(t, apitest.DemoWeb, token); got.Status != http.StatusBadRequest || got.Text("error") != "invalid_grant" {
			t.Errorf("a refresh token %s: %d %s", what, got.Status, got.Body)
		}
	}
	if b.Active(t, before.Text("access_token")) || b.Active(t, after.Text("access_token")) {
		t.Error("an access token of before is active")
	}
	if stdout, stderr, status := chancery(t, "audit", "verify", "--checkpoint", checkpointOf(t, dir), "--admin-url", b.AdminURL, "--data", restored); status != 0 {
		t.Errorf("the log is not the one of the backup: %d %s%s", status, stdout, stderr)
	}
	fresh := b.Tokens(t, apitest.DemoWeb, "read offline_access") // she logs in, and all keys work
	if again := b.Refresh(t, apitest.DemoWeb, fresh.Text("refresh_token")); again.Status != http.StatusOK || !b.Active(t, again.Text("access_token")) {
		t.Errorf("a new grant: %d %s", again.Status, again.Body)
	}
}

// sameState folds the log of the backup, and that of the authority up to there.
func sameState(t *testing.T, dir, adminURL, data string) {
	t.Helper()
	copied, stderr, status := chancery(t, "replay", "--from", filepath.Join(dir, "log"), "--stream", "MAIN_EVENTS_0", "--json")
	position := regexp.MustCompile(`"position": (\d+)`).FindStringSubmatch(copied)
	if status != 0 || position == nil {
		t.Fatalf("replay of the backup: %d %s%s", status, copied, stderr)
	}
	original, stderr, status := chancery(t, "replay", "--stream", "MAIN_EVENTS_0", "--until", position[1], "--json", "--admin-url", adminURL, "--data", data)
	if status != 0 || stateOf(t, copied) != stateOf(t, original) {
		t.Errorf("up to %s the state is another: %d %s%s%s", position[1], status, copied, original, stderr)
	}
}

// checkpointOf is a file of the checkpoint that a backup has of the partition.
func checkpointOf(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "manifest"))
	if err != nil {
		t.Fatal(err)
	}
	signed := regexp.MustCompile(`"checkpoint": ("[^"]*/MAIN_EVENTS_0[^"]*")`).FindSubmatch(text)
	if signed == nil {
		t.Fatalf("no checkpoint in %s", text)
	}
	note, err := strconv.Unquote(string(signed[1]))
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "checkpoint", note)
}

// end stops a process in order.
func end(t *testing.T, process *exec.Cmd) {
	t.Helper()
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := process.Wait(); err != nil {
		t.Fatal(err)
	}
}

// TestMove restores what was copied from an authority that has issued nothing since:
// all that was issued goes on.
func TestMove(t *testing.T) {
	data, moved, dir := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "backup")
	serve := []string{"serve", "--dev", "--issuer", apitest.Issuer, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data"}
	process, a := launchReplica(t, append(serve, data))
	tokens := a.Tokens(t, apitest.DemoWeb, "read offline_access")
	stdout, stderr, status := chancery(t, "backup", dir, "--admin-url", a.AdminURL, "--data", data)
	if status != 0 {
		t.Fatalf("backup: %d\n%s%s", status, stdout, stderr)
	}
	end(t, process)
	if err := os.CopyFS(moved, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nats", "read-models"} {
		if err := os.RemoveAll(filepath.Join(moved, name)); err != nil {
			t.Fatal(err)
		}
	}
	if stdout, stderr, status = chancery(t, "restore", dir, "--data", moved, "--nothing-lost"); status != 0 {
		t.Fatalf("restore: %d\n%s%s", status, stdout, stderr)
	}
	_, b := launchReplica(t, append(serve, moved))
	if !b.Active(t, tokens.Text("access_token")) {
		t.Error("an access token is not active any more")
	}
	if got := b.Refresh(t, apitest.DemoWeb, tokens.Text("refresh_token")); got.Status != http.StatusOK {
		t.Errorf("refresh: %d %s", got.Status, got.Body)
	}
	embeddedtest.Eventually(t, "what it signs goes on", func() bool {
		_, _, status := chancery(t, "audit", "verify", "--admin-url", b.AdminURL, "--data", moved)
		return status == 0
	})
}
