package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// TestEvidenceAtTheCommandLine exports the log of a running authority, verifies
// and replays it without, and damages it.
func TestEvidenceAtTheCommandLine(t *testing.T) {
	data := t.TempDir()
	_, replica := launchReplica(t, []string{
		"serve", "--dev", "--issuer", apitest.Issuer, "--data", data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
	})
	flags := []string{"--admin-url", replica.AdminURL, "--data", data}
	ask := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		stdout, stderr, status := chancery(t, append(args, flags...)...)
		if status != want {
			t.Fatalf("%v: status %d\n%s%s", args, status, stdout, stderr)
		}
		return stdout, stderr
	}
	tokens := replica.Tokens(t, apitest.DemoWeb, "read offline_access")
	replica.Refresh(t, apitest.DemoWeb, tokens.Text("refresh_token"))
	embeddedtest.Eventually(t, "all of it is signed", func() bool {
		stdout, _, _ := chancery(t, append([]string{"audit", "checkpoint", "MAIN_EVENTS_0"}, flags...)...)
		return strings.Contains(stdout, "/MAIN_EVENTS_0\n") && !strings.Contains(stdout, "\n1\n") && !strings.Contains(stdout, "\n2\n")
	})

	export := filepath.Join(t.TempDir(), "export")
	ask(0, "audit", "export-log", "-o", export)
	kept := filepath.Join(data, "checkpoints", "MAIN_EVENTS_0")
	for _, args := range [][]string{{"audit", "verify"}, {"audit", "verify", export}} {
		if stdout, _ := ask(0, args...); !strings.Contains(stdout, "MAIN_EVENTS_0: ") || !strings.Contains(stdout, "MAIN_REGISTRY: ") {
			t.Errorf("%v says %s", args, stdout)
		}
	}
	if _, stderr := ask(1, "audit", "verify", export, "--key", "auth.example+9ff5ed69+AeSQ3DUsL9BZzlv/77v2Rf+003dceUyiGVwxc8VEYGZ2"); stderr == "" {
		t.Error("with another key it says nothing")
	}
	proof := filepath.Join(t.TempDir(), "proof.ndjson")
	ask(0, "audit", "prove", "MAIN_EVENTS_0", "2", "-o", proof)
	if stdout, _ := ask(0, "audit", "verify", proof); !strings.Contains(stdout, "1 messages, 2 to 2") {
		t.Errorf("the proof: %s", stdout)
	}
	ask(1, "audit", "prove", "MAIN_EVENTS_0", "9999")

	past := filepath.Join(t.TempDir(), "past")
	replayed, _ := ask(0, "replay", "--from", export, "-o", past, "--json")
	again, _ := ask(0, "replay", "--from", export, "--json")
	if stateOf(t, replayed) != stateOf(t, again) {
		t.Errorf("two replays are not the same: %s %s", replayed, again)
	}
	if _, err := os.Stat(filepath.Join(past, "MAIN_EVENTS_0.db")); err != nil {
		t.Error(err)
	}
	first, _ := ask(0, "replay", "--stream", "MAIN_EVENTS_0", "--until", "1", "--json")
	if !strings.Contains(first, `"position": 1,`) {
		t.Errorf("replayed until 1: %s", first)
	}
	ask(1, "replay", "--until", "1")
	ask(1, "replay", "--from", export, "-o", past)
	if none, _ := ask(0, "replay", "--from", export, "--until", "2001-01-01T00:00:00Z"); !strings.Contains(none, "none") {
		t.Errorf("before there was anything: %s", none)
	}

	segments, err := filepath.Glob(filepath.Join(export, "MAIN_EVENTS_0", "*.zst"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	damageLine(t, segments[0], 3, "demo-web", "demo-wep")
	if _, stderr := ask(1, "audit", "verify", export, "--checkpoint", kept); !strings.Contains(stderr, "MAIN_EVENTS_0 sequence 3: ") {
		t.Errorf("damaged at 3, it says %s", stderr)
	}
	if err := os.Remove(segments[0]); err != nil {
		t.Fatal(err)
	}
	ask(1, "audit", "verify", export)
}

// stateOf is the hash of a partition's state.
func stateOf(t *testing.T, text string) string {
	t.Helper()
	var all []struct{ Stream, State string }
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Stream == "MAIN_EVENTS_0" {
			return s.State
		}
	}
	t.Fatalf("no state in %s", text)
	return ""
}

// damageLine changes the line of a sequence in a segment.
func damageLine(t *testing.T, path string, seq int, from, to string) {
	t.Helper()
	packed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := zstd.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(d); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(text.String(), "\n")
	changed := strings.Replace(lines[seq], from, to, 1)
	if changed == lines[seq] {
		t.Fatalf("%s is not in %s", from, lines[seq])
	}
	lines[seq] = changed
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, e.EncodeAll([]byte(strings.Join(lines, "")), nil), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestKeygen makes a key, once.
func TestKeygen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	stdout, stderr, status := chancery(t, "audit", "keygen", "auth.example/log", "-o", path)
	public, _ := os.ReadFile(path + ".pub")
	private, _ := os.ReadFile(path)
	if status != 0 || stdout != string(public) || !strings.HasPrefix(stdout, "auth.example/log+") || !strings.HasPrefix(string(private), "PRIVATE+KEY+auth.example/log+") {
		t.Errorf("%d %s%s", status, stdout, stderr)
	}
	if _, _, status := chancery(t, "audit", "keygen", "auth.example/log", "-o", path); status == 0 {
		t.Error("a key was overwritten")
	}
	if _, _, status := chancery(t, "audit", "keygen", "auth example", "-o", path+"2"); status == 0 {
		t.Error("that is no name")
	}
}
