package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/revocations"
)

// revoking answers as the admin API: with counts, then with a job that takes
// several looks.
type revoking struct {
	mu     sync.Mutex
	counts string
	jobs   []string
	bodies []map[string]any
}

func (f *revoking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var body map[string]any
	if json.NewDecoder(r.Body).Decode(&body) == nil {
		f.bodies = append(f.bodies, body)
	}
	switch {
	case body["dry_run"] == true:
		_, _ = w.Write([]byte(f.counts))
	case r.Method == http.MethodPost:
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte(f.jobs[0]))
	default:
		_, _ = w.Write([]byte(f.jobs[0]))
		f.jobs = f.jobs[min(1, len(f.jobs)-1):]
	}
}

func (f *revoking) ask(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	t.Setenv("CHANCERY_ADMIN_URL", server.URL)
	t.Setenv("CHANCERY_ADMIN_KEY_FILE", writeFile(t, "admin-key", adminKey+"\n"))
	return chancery(t, append([]string{"revoke"}, args...)...)
}

const (
	someCounts = `{"examined":5,"grants":3,"tokens":1,"derived":2,"already_ended":4,"users":2,"clients":1}`
	runningJob = `{"id":"J","state":"running","heads":{"MAIN_EVENTS_0":20,"MAIN_REGISTRY":9},"positions":{"MAIN_EVENTS_0":10},"grants_revoked":2}`
	doneJob    = `{"id":"J","state":"done","grants_revoked":3,"tokens_revoked":1}`
)

func TestRevoke(t *testing.T) {
	for name, test := range map[string]struct {
		args         []string
		counts       string
		jobs         []string
		status       int
		out, err     []string
		bodies       int
		neverPrinted string
	}{
		"a dry run": {
			args: []string{"--client", "web", "--since", "2026-11-22T14:00:00Z", "--dry-run"}, counts: someCounts,
			out: []string{"grants", "3", "made from those", "ended already"}, bodies: 1, neverPrinted: "revoked",
		},
		"nobody to ask": {
			args: []string{"--client", "web"}, counts: someCounts, status: exitFailure, err: []string{"--yes"}, bodies: 1,
		},
		"done": {
			args: []string{"--client", "web", "--yes"}, counts: someCounts, jobs: []string{runningJob, runningJob, doneJob},
			out: []string{"revocation J done: 3 grants and 1 tokens revoked"},
			err: []string{"position 10 of 20", "2 grants and 0 tokens revoked"}, bodies: 2,
		},
		"failed": {
			args: []string{"--client", "web", "--yes"}, counts: someCounts, jobs: []string{`{"id":"J","state":"failed","reason":"no\u001bgood"}`},
			status: exitFailure, err: []string{`no\x1bgood`}, bodies: 2,
		},
		"not waited for": {
			args: []string{"--user", "u", "--yes", "--no-wait"}, counts: `{"cut_off":"user"}`, jobs: []string{runningJob},
			out: []string{"one event, which cuts off the user", "chancery revoke --resume "}, bodies: 2,
		},
		"nothing to do": {
			args: []string{"--kid", "k", "--yes"}, counts: `{}`, out: []string{"nothing to revoke"}, bodies: 1,
		},
		"watched again": {args: []string{"--resume", "J"}, jobs: []string{doneJob}, out: []string{"revocation J done"}},
		"as JSON":       {args: []string{"--resume", "J", "--json"}, jobs: []string{doneJob}, out: []string{`"state": "done"`}},
		"of nothing":    {args: nil, status: exitFailure, err: []string{"say what to revoke"}},
		"of no time":    {args: []string{"--since", "yesterday"}, status: exitFailure, err: []string{"yesterday"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &revoking{counts: test.counts, jobs: test.jobs}
			out, errs, status := f.ask(t, test.args...)
			if status != test.status || len(f.bodies) != test.bodies {
				t.Errorf("status %d, sent %v\n%s%s", status, f.bodies, out, errs)
			}
			for _, want := range test.out {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
			for _, want := range test.err {
				if !strings.Contains(errs, want) {
					t.Errorf("no %q in\n%s", want, errs)
				}
			}
			if test.neverPrinted != "" && strings.Contains(out+errs, test.neverPrinted) {
				t.Errorf("%q in\n%s%s", test.neverPrinted, out, errs)
			}
		})
	}
}

// TestInterruptedRevoke says how to look at it again.
func TestInterruptedRevoke(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(runningJob))
		interrupt()
	}))
	t.Cleanup(server.Close)
	var out, errs bytes.Buffer
	args := []string{"revoke", "--resume", "J", "--admin-url", server.URL, "--admin-key", adminKey}
	status := run(ctx, args, strings.NewReader(""), &out, &errs)
	if status != exitFailure || !strings.Contains(errs.String(), "the revocation goes on; look at it again with: chancery revoke --resume J") {
		t.Errorf("status %d: %s%s", status, out.String(), errs.String())
	}
}

// TestRevokeSends what was asked for, counted and begun alike.
func TestRevokeSends(t *testing.T) {
	f := &revoking{counts: someCounts, jobs: []string{doneJob}}
	_, errs, status := f.ask(t, "--client", "web", "--grant", "00ff", "--jti", "j", "--address", "192.0.2.7", "--since", "2026-11-22T15:00:00+01:00", "-y")
	want := map[string]any{"client": "web", "grant": "00ff", "jti": "j", "address": "192.0.2.7", "since": "2026-11-22T14:00:00Z"}
	if status != exitOK || len(f.bodies) != 2 {
		t.Fatalf("status %d, sent %v: %s", status, f.bodies, errs)
	}
	if id, _ := f.bodies[1]["id"].(string); len(id) != 26 {
		t.Errorf("id %q", id)
	}
	delete(f.bodies[1], "id")
	delete(f.bodies[0], "dry_run")
	if !reflect.DeepEqual(f.bodies[0], want) || !reflect.DeepEqual(f.bodies[1], want) {
		t.Errorf("sent %v, want twice %v", f.bodies, want)
	}
}

// TestLineageTree prints a tree, with what is left out.
func TestLineageTree(t *testing.T) {
	f := &fakeAdmin{status: http.StatusOK, answer: `{"root":{"kind":"client","id":"web","cut":true,"children":[
		{"kind":"grant","id":"00ff","state":"revoked","reason":"code_reuse","children":[
			{"kind":"token","id":"j1","generation":1,"state":"expired","exp":1767323045,"children":[
				{"kind":"token","id":"j2","type":"token.exchanged.v1","state":"active","client":"a\u001bb"}]},
			{"kind":"token","id":"j3","generation":2}]}]},
		"nodes":4,"truncated":true,"left_out":7,"left_out_more":true}`}
	out, errs, status := f.ask(t, "audit", "lineage", "--client", "web", "-n", "4")
	want := `client web
├── grant 00ff  revoked (code_reuse)
│   ├── token j1  expired  generation 1  expires 2026-01-02T03:04:05Z
│   │   └── token j2  active  exchanged  client a\x1bb
│   └── token j3  generation 2
└── …
4 shown; left out are more than 7 events: narrow it, or give a larger --limit
`
	if status != exitOK || out != want {
		t.Errorf("status %d, %s\n%s\nwant\n%s", status, errs, out, want)
	}
	if len(f.calls) != 1 || f.calls[0].Request != "GET /admin/v1/lineage?client=web&limit=4" {
		t.Errorf("called %v", f.calls)
	}
}

// TestRevocationOutlivesAKill kills the process with SIGKILL while it revokes,
// and starts it again: it goes on by itself, and revokes everything once.
func TestRevocationOutlivesAKill(t *testing.T) {
	const grants, tokens = 20, 800
	args := []string{
		"serve", "--dev", "--issuer", apitest.Issuer, "--data", t.TempDir(), "--admin-key", apitest.AdminKey,
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
	}
	cmd, replica := launchReplica(t, args)
	for range grants {
		a := replica.JSON(t, "/api/oauth2/login/token?client_id=demo-spa", map[string]string{
			"username": authority.DemoUser, "password": authority.DemoPassword,
		})
		if a.Status != http.StatusOK {
			t.Fatalf("open a grant: %d %s", a.Status, a.Body)
		}
	}
	var issuing sync.WaitGroup
	for range 8 {
		issuing.Go(func() {
			for range tokens / 8 {
				if a := replica.Token(t, apitest.DemoService, "grant_type", "client_credentials"); a.Status != http.StatusOK {
					t.Errorf("issue a token: %d %s", a.Status, a.Body)
				}
			}
		})
	}
	issuing.Wait()
	t.Setenv("CHANCERY_ADMIN_KEY", apitest.AdminKey)
	t.Setenv("CHANCERY_ADMIN_URL", replica.AdminURL)
	out, errs, status := chancery(t, "revoke", "--since", "1h", "--yes", "--no-wait", "--json")
	var job revocations.Job
	if err := json.Unmarshal([]byte(out), &job); err != nil || status != exitOK {
		t.Fatalf("status %d, %v: %s%s", status, err, out, errs)
	}
	for job.GrantsRevoked == 0 {
		if err := json.Unmarshal(replica.Admin(t, http.MethodGet, "/revocations/"+job.ID, nil).Body, &job); err != nil {
			t.Fatal(err)
		}
	}
	if job.State != revocations.Running {
		t.Fatalf("it was over before it could be killed: %+v", job)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed; until it is gone it holds its directory

	_, replica = launchReplica(t, args)
	t.Setenv("CHANCERY_ADMIN_URL", replica.AdminURL)
	out, errs, status = chancery(t, "revoke", "--resume", job.ID)
	if status != exitOK || !strings.Contains(out, "done: 20 grants and 800 tokens revoked") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
	out, errs, status = chancery(t, "audit", "list", "--request", job.ID, "--type", "grant.revoked,access_token.revoked", "--json", "-n", "5000")
	seen := map[string]int{}
	for line := range strings.Lines(out) {
		var row struct{ Grant, JTI string }
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		seen[row.Grant+row.JTI]++
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was revoked %d times", id, n)
		}
	}
	if len(seen) != grants+tokens || status != exitOK {
		t.Errorf("status %d, %d revoked, want %d: %s", status, len(seen), grants+tokens, errs)
	}
}
