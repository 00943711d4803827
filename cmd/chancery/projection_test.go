package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// TestProjectionCommands goes all the way with every read model of a replica.
func TestProjectionCommands(t *testing.T) {
	r := apitest.Single(t, apitest.Options{})
	r.Tokens(t, apitest.DemoWeb, "read offline_access")
	r.WaitFolded(t)
	t.Setenv("CHANCERY_ADMIN_URL", r.AdminURL)
	t.Setenv("CHANCERY_ADMIN_KEY", apitest.AdminKey)
	for _, step := range []struct {
		args   string
		status int
		prints []string
	}{
		{"status", exitOK, []string{"READ MODEL", "MAIN_EVENTS_0.audit  1     live"}},
		{"diff --all", exitFailure, []string{"rebuild first"}},
		{"drop --model MAIN_EVENTS_0", exitFailure, []string{"nothing is built", "conflict"}},
		{"rebuild --model MAIN_EVENTS_9", exitFailure, []string{"there is no such read model"}},
		{"rebuild --all --rate 0", exitOK, []string{"MAIN_REGISTRY.audit built"}},
		{"switch --all", exitFailure, []string{"no comparison"}},
		{"diff --all --rate 0", exitOK, []string{"MAIN_EVENTS_0: same at position", "MAIN_REGISTRY.audit: same"}},
		{"status", exitOK, []string{"2     built", "same at"}},
		{"switch --all", exitOK, []string{"MAIN_EVENTS_0.audit: file 2 is live"}},
		{"rebuild --model MAIN_EVENTS_0", exitFailure, []string{"drop it first"}},
		{"drop --model MAIN_EVENTS_0 --model MAIN_REGISTRY", exitOK, []string{"MAIN_REGISTRY: dropped"}},
		{"drop --all --json", exitOK, []string{`"model": "MAIN_EVENTS_0.audit"`, `"state": "live"`}},
	} {
		stdout, stderr, status := chancery(t, append([]string{"projection"}, strings.Fields(step.args)...)...)
		if status != step.status {
			t.Fatalf("%s: status %d\n%s%s", step.args, status, stdout, stderr)
		}
		for _, want := range step.prints {
			if !strings.Contains(stdout+stderr, want) {
				t.Errorf("%s: no %q in\n%s%s", step.args, want, stdout, stderr)
			}
		}
	}
}

func TestDifferencesArePrinted(t *testing.T) {
	f := &fakeAdmin{status: http.StatusOK, answer: `{"projections":[{"model":"M","live":{"slot":1},"beside":{"slot":2,"state":"built"},
		"diff":{"running":false,"same":false,"position":7,"rows":3,"live_hash":"aaaa","beside_hash":"bbbb",
		"differences":[{"table":"grants","id":"g1","in":"both"}]}}]}`}
	stdout, stderr, status := f.ask(t, "projection", "diff", "--model", "M", "--rate", "5")
	if status != exitFailure || !strings.Contains(stdout, "grants  g1  both") || !strings.Contains(stderr, "different at position 7") {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
	if c := f.calls[0]; c.Request != "POST /admin/v1/projections/M/diff" || c.Body["rate"] != 5.0 {
		t.Errorf("called %v", c)
	}
}

// TestProgress has a bar that moves on a terminal, and lines elsewhere.
func TestProgress(t *testing.T) {
	var to bytes.Buffer
	half := projectionSlot{State: "building", Position: 50, Head: 100, Speed: 25, Left: 2}
	built := projectionSlot{State: "built", Position: 100, Head: 100}
	moving := progress{to: &to, terminal: true}
	moving.tell(buildState("M", half))
	moving.tell(buildState("M", built))
	moving.end()
	moving.end()
	if got := strings.Split(to.String(), "\r\x1b[K"); len(got) != 3 ||
		got[1] != "[===============               ] M building 50/100, 25 events/s, 2s left" ||
		got[2] != "[==============================] M built 100/100\n" {
		t.Errorf("%q", got)
	}
	to.Reset()
	lines := progress{to: &to}
	lines.tell(buildState("M", half))
	lines.tell(buildState("M", half))
	lines.tell(buildState("M", built))
	lines.end()
	if want := "[===============               ] M building 50/100, 25 events/s, 2s left\n" +
		"[==============================] M built 100/100\n"; to.String() != want {
		t.Errorf("%q", to.String())
	}
}

// TestRebuildAndKill kills the process with SIGKILL while it builds, and when it
// has switched. It starts on what is live, and what was built is gone.
func TestRebuildAndKill(t *testing.T) {
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "admin-key"), []byte(apitest.AdminKey), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"serve", "--dev", "--issuer", apitest.Issuer, "--data", data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
	}
	const model = "MAIN_EVENTS_0"
	show := func(r *apitest.Replica) (p projection) {
		var list projectionList
		if err := json.Unmarshal(r.Admin(t, http.MethodGet, "/projections", nil).Body, &list); err != nil || len(list.Projections) == 0 {
			t.Fatalf("%+v, %v", list, err)
		}
		return list.Projections[0]
	}
	built := func(r *apitest.Replica) {
		if a := r.Admin(t, http.MethodPost, "/projections/"+model+"/rebuild", map[string]any{"rate": 0}); a.Status != http.StatusAccepted {
			t.Fatalf("rebuild: %d %s", a.Status, a.Body)
		}
		embeddedtest.Eventually(t, "it is built", func() bool { return show(r).Beside.State == "built" })
	}
	cmd, replica := launchReplica(t, args)
	token := replica.Tokens(t, apitest.DemoWeb, "read offline_access").Text("refresh_token")
	for range 20 {
		token = replica.Refresh(t, apitest.DemoWeb, token).Text("refresh_token")
	}
	for live, before := range []func(*apitest.Replica){
		1: func(r *apitest.Replica) {
			r.Admin(t, http.MethodPost, "/projections/"+model+"/rebuild", map[string]any{"rate": 1})
			embeddedtest.Eventually(t, "it is being built", func() bool { return show(r).Beside.Position > 0 })
		},
		2: func(r *apitest.Replica) {
			built(r)
			if a := r.Admin(t, http.MethodPost, "/projections/"+model+"/switch", map[string]any{"force": true}); a.Status != http.StatusOK {
				t.Fatalf("switch: %d %s", a.Status, a.Body)
			}
		},
	} {
		if before == nil {
			continue
		}
		before(replica)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed; until it is gone it holds its directory
		cmd, replica = launchReplica(t, args)
		if p := show(replica); p.Live.Slot != live || p.Live.State != "live" || p.Beside != nil {
			t.Errorf("it is %+v", p)
		}
		a := replica.Refresh(t, apitest.DemoWeb, token)
		if token = a.Text("refresh_token"); a.Status != http.StatusOK {
			t.Fatalf("refresh: %d %s", a.Status, a.Body)
		}
	}
}
