package api_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	bulk "github.com/chancery-authority/chancery/api/revocations"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// begin begins a revocation.
func begin(t testing.TB, r *apitest.Replica, body map[string]any) bulk.Job {
	t.Helper()
	a := apitest.Settled(t, func() apitest.Answer { return r.Admin(t, http.MethodPost, "/revocations", body) })
	if a.Status != http.StatusAccepted && a.Status != http.StatusOK {
		t.Fatalf("begin %v: %d %s", body, a.Status, a.Body)
	}
	return jobOf(t, a)
}

func jobOf(t testing.TB, a apitest.Answer) (job bulk.Job) {
	t.Helper()
	if err := json.Unmarshal(a.Body, &job); err != nil {
		t.Fatal(err)
	}
	return job
}

func showJob(t testing.TB, r *apitest.Replica, id string) bulk.Job {
	t.Helper()
	return jobOf(t, wantOK(t, apitest.Settled(t, func() apitest.Answer { return r.Admin(t, http.MethodGet, "/revocations/"+id, nil) })))
}

// finished waits until a job is done.
func finished(t testing.TB, r *apitest.Replica, id string) (job bulk.Job) {
	t.Helper()
	embeddedtest.Eventually(t, "the revocation is over", func() bool {
		job = showJob(t, r, id)
		return job.State != bulk.Running
	})
	if job.State != bulk.Done {
		t.Fatalf("job %+v", job)
	}
	return job
}

func revokeAll(t testing.TB, r *apitest.Replica, body map[string]any) bulk.Job {
	t.Helper()
	return finished(t, r, begin(t, r, body).ID)
}

func dryRun(t testing.TB, r *apitest.Replica, body map[string]any) (counts bulk.Counts) {
	t.Helper()
	body = maps.Clone(body)
	body["dry_run"] = true
	if err := json.Unmarshal(wantOK(t, r.Admin(t, http.MethodPost, "/revocations", body)).Body, &counts); err != nil {
		t.Fatal(err)
	}
	return counts
}

// changes is how many events there are, but for those that prove feeds fresh.
func changes(t testing.TB, r *apitest.Replica) int { t.Helper(); return len(exported(t, r)) }

// logTime is a time by the log that is after all that is in it and before what
// comes.
func logTime(t testing.TB, r *apitest.Replica) string {
	t.Helper()
	own(t, r, apitest.DemoService)
	rows := exported(t, r)
	return rows[len(rows)-1].Time.Add(time.Nanosecond).Format(time.RFC3339Nano)
}

// TestRevokeWhatWasIssuedBetween revokes everything that was issued to a client
// between two times, and that alone.
func TestRevokeWhatWasIssuedBetween(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Partitions: 2})
	c, other := exchanger(t, r, nil, nil), exchanger(t, r, nil, nil)
	web := register(t, r, retryWindow(600))
	var lives, dies []string
	// issue issues a token of every kind to two clients.
	issue := func(mine *[]string) (grant apitest.Answer) {
		grant = newTokens(t, r, web)
		*mine = append(*mine, grant.Text("access_token"))
		lives = append(lives, r.Tokens(t, apitest.DemoWeb, "read").Text("access_token"))
		return grant
	}
	before := issue(&lives)
	rotatedLater := newTokens(t, r, web)
	since := logTime(t, r)
	issue(&dies)
	exchanged := wantOK(t, swap(t, r, other, dies[0])).Text("access_token") // of what is revoked
	dies = append(dies, exchanged, wantOK(t, refreshed(t, r, web, rotatedLater.Text("refresh_token"))).Text("access_token"))
	opened := newCode(t, r, web)
	until := logTime(t, r)
	issue(&lives)
	lives = append(lives, own(t, r, c))

	selection := map[string]any{"client": web.ID, "since": since, "until": until}
	counts := dryRun(t, r, selection)
	if counts.Grants != 3 || counts.Tokens != 0 || counts.Derived != 1 || counts.Users != 1 || counts.Clients != 1 || counts.Estimated {
		t.Errorf("dry run: %+v", counts)
	}
	for _, token := range append(slices.Clone(lives), dies...) {
		if !active(t, r, token) {
			t.Fatal("a dry run ended something")
		}
	}
	job := revokeAll(t, r, selection)
	if job.GrantsRevoked != 3 || job.TokensRevoked != 0 || job.Examined != counts.Examined {
		t.Errorf("job: %+v", job)
	}
	for i, token := range dies {
		if active(t, r, token) {
			t.Errorf("token %d outlived the revocation", i)
		}
	}
	for i, token := range lives {
		if !active(t, r, token) {
			t.Errorf("token %d was not selected and is dead", i)
		}
	}
	wantError(t, r.Exchange(t, web, opened), http.StatusBadRequest, "invalid_grant")
	wantOK(t, refreshed(t, r, web, before.Text("refresh_token")))
	found := exported(t, r, "request", job.ID)
	if len(found) != 6 { // each with its marker
		t.Errorf("%d events of the job", len(found))
	}
	for _, row := range found {
		if row.Actor != "admin" || row.Type == "grant.revoked.v1" && row.Reason != "admin_request" {
			t.Errorf("event %+v", row)
		}
	}
	if again := dryRun(t, r, selection); again.Grants != 0 || again.AlreadyEnded != 3 {
		t.Errorf("dry run afterwards: %+v", again)
	}
}

// TestRevokeBy takes each kind of selection.
func TestRevokeBy(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{})
	c := exchanger(t, r, nil, nil)
	web := register(t, r, retryWindow(600))
	since := logTime(t, r)
	// selected are tokens that a selection finds, and others that it does not.
	for name, test := range map[string]struct {
		issue  func() (selection map[string]any, dies, lives []string)
		grants int64
		tokens int64
	}{
		"client": {func() (map[string]any, []string, []string) {
			token := newTokens(t, r, web).Text("access_token")
			return map[string]any{"client": web.ID},
				[]string{token, wantOK(t, swap(t, r, c, token)).Text("access_token")}, []string{own(t, r, c)}
		}, 0, 0},
		"client, since": {func() (map[string]any, []string, []string) {
			mine := own(t, r, c)
			return map[string]any{"client": c.ID, "since": since},
				[]string{mine, wantOK(t, swap(t, r, exchanger(t, r, nil, nil), mine)).Text("access_token")}, []string{own(t, r, apitest.DemoService)}
		}, 0, 1},
		"grant": {func() (map[string]any, []string, []string) {
			token, another := newTokens(t, r, web).Text("access_token"), newTokens(t, r, web).Text("access_token")
			return map[string]any{"grant": r.GrantOf(t, token)}, []string{token}, []string{another}
		}, 1, 0},
		"jti": {func() (map[string]any, []string, []string) {
			token := newTokens(t, r, web).Text("access_token")
			mine := wantOK(t, swap(t, r, c, token)).Text("access_token")
			return map[string]any{"jti": apitest.Claims(t, mine)["jti"]}, []string{mine}, []string{token}
		}, 0, 1},
	} {
		selection, dies, lives := test.issue()
		job := revokeAll(t, r, selection)
		if job.GrantsRevoked != test.grants || name != "client, since" && job.TokensRevoked != test.tokens {
			t.Errorf("%s: %+v", name, job)
		}
		for i, token := range dies {
			if active(t, r, token) {
				t.Errorf("%s: token %d lives", name, i)
			}
		}
		for i, token := range lives {
			if !active(t, r, token) {
				t.Errorf("%s: token %d was not selected and is dead", name, i)
			}
		}
		if !active(t, r, newTokens(t, r, web).Text("access_token")) || !active(t, r, own(t, r, c)) {
			t.Errorf("%s: what is issued afterwards is dead", name)
		}
	}
}

// TestRevokeByUser is one cut-off, and the user signs in again.
func TestRevokeByUser(t *testing.T) {
	t.Parallel()
	r := single(t)
	token := r.Tokens(t, apitest.DemoSPA, "read").Text("access_token")
	mine := own(t, r, apitest.DemoService)
	user := apitest.Claims(t, token)["sub"]
	if counts := dryRun(t, r, map[string]any{"user": user}); counts.Grants == 0 || counts.CutOff != "user" {
		t.Errorf("dry run: %+v", counts)
	}
	job := revokeAll(t, r, map[string]any{"user": user})
	if found := exported(t, r, "request", job.ID); len(found) != 1 || found[0].Type != "user.cut_off.v1" || found[0].Actor != "admin" {
		t.Errorf("events of the job: %+v", found)
	}
	wantInactive(t, r, apitest.DemoService, token)
	if !r.Active(t, mine) || !r.Active(t, r.Tokens(t, apitest.DemoSPA, "read").Text("access_token")) {
		t.Error("too much was ended")
	}
}

// TestRevokeByKeyAndAddress ends what a key signed, and what was issued to an
// address.
func TestRevokeByKeyAndAddress(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{})
	web := register(t, r, retryWindow(600))
	token, mine := newTokens(t, r, web).Text("access_token"), own(t, r, apitest.DemoService)
	if job := revokeAll(t, r, map[string]any{"address": "192.0.2.1", "client": web.ID}); job.Examined != 0 || !active(t, r, token) {
		t.Errorf("of another address: %+v", job)
	}
	if job := revokeAll(t, r, map[string]any{"address": "127.0.0.1", "client": web.ID}); job.GrantsRevoked != 1 || !active(t, r, mine) {
		t.Errorf("of the address: %+v", job)
	}
	wantInactive(t, r, apitest.DemoService, token)
	token = newTokens(t, r, web).Text("access_token")
	rows := exported(t, r, "jti", apitest.Claims(t, token)["jti"].(string))
	if job := revokeAll(t, r, map[string]any{"kid": "another"}); job.Examined != 0 || !active(t, r, token) {
		t.Errorf("of another key: %+v", job)
	}
	revokeAll(t, r, map[string]any{"kid": rows[0].KID})
	for _, dead := range []string{token, mine} {
		if active(t, r, dead) {
			t.Error("what the key signed lives")
		}
	}
}

// TestDryRunChangesNothing has the log and the jobs be as before.
func TestDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	r := auditedReplica(t)
	before := changes(t, r)
	for _, selection := range []map[string]any{
		{"client": "demo-web"}, {"client": "nobody"}, {"since": "2020-01-01T00:00:00Z"}, {"client": "demo-web", "address": "127.0.0.1"},
	} {
		dryRun(t, r, selection)
	}
	if after := changes(t, r); after != before {
		t.Errorf("%d events before, %d after", before, after)
	}
	if a := wantOK(t, r.Admin(t, http.MethodGet, "/revocations", nil)); strings.TrimSpace(string(a.Body)) != `{"revocations":[]}` {
		t.Errorf("jobs: %s", a.Body)
	}
}

// TestRevocationPostedTwice is one job; of another selection it is a conflict.
func TestRevocationPostedTwice(t *testing.T) {
	t.Parallel()
	r := single(t)
	token := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	body := map[string]any{"id": "leak-of-tuesday", "grant": r.GrantOf(t, token)}
	if a := r.Admin(t, http.MethodPost, "/revocations", body); a.Status != http.StatusAccepted {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	first := finished(t, r, "leak-of-tuesday")
	again := jobOf(t, wantOK(t, r.Admin(t, http.MethodPost, "/revocations", body)))
	if again.RequestedBy != first.RequestedBy || again.State != bulk.Done || again.GrantsRevoked != 1 {
		t.Errorf("first %+v, again %+v", first, again)
	}
	wantError(t, r.Admin(t, http.MethodPost, "/revocations", map[string]any{"id": "leak-of-tuesday", "client": "demo-web"}), http.StatusConflict, "conflict")
	var list struct{ Revocations []bulk.Job }
	if err := json.Unmarshal(wantOK(t, r.Admin(t, http.MethodGet, "/revocations", nil)).Body, &list); err != nil || len(list.Revocations) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestRevocationsThatMakeNoSense are refused.
func TestRevocationsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	r := single(t)
	for body, want := range map[string]string{
		`{}`: "selection", `{"client":"a.b"}`: "client", `{"user":"*"}`: "user", `{"grant":"00"}`: "grant", `{"kid":"."}`: "kid",
		`{"address":"127.0.0.1"}`: "address", `{"address":"localhost","client":"a"}`: "address", `{"since":"yesterday"}`: "since",
		`{"since":"2026-01-02T00:00:00Z","until":"2026-01-01T00:00:00Z"}`: "until", `{"id":"a b","client":"demo-web"}`: "id",
	} {
		a := r.Admin(t, http.MethodPost, "/revocations", json.RawMessage(body))
		wantError(t, a, http.StatusBadRequest, "invalid_request")
		if !strings.HasPrefix(a.Text("error_description"), want+":") {
			t.Errorf("%s: %s", body, a.Body)
		}
	}
	wantError(t, r.Admin(t, http.MethodPost, "/revocations", map[string]any{"clients": "demo-web"}), http.StatusBadRequest, "invalid_request")
	for _, body := range []map[string]any{{"client": "nobody"}, {"user": "nobody"}} {
		wantError(t, r.Admin(t, http.MethodPost, "/revocations", body), http.StatusNotFound, "not_found")
	}
	wantError(t, r.Admin(t, http.MethodGet, "/revocations/none", nil), http.StatusNotFound, "not_found")
}

// manyGrants opens grants of a client and gives their ids.
func manyGrants(t testing.TB, r *apitest.Replica, n int) (grants []string) {
	t.Helper()
	for range n {
		a := r.JSON(t, passwordPath+"?client_id=demo-spa", alice)
		grants = append(grants, apitest.Claims(t, wantOK(t, a).Text("access_token"))["grant"].(string))
	}
	return grants
}

// manyTokens issues tokens of the demonstration service.
func manyTokens(t testing.TB, r *apitest.Replica, n int) {
	t.Helper()
	var issuing sync.WaitGroup
	for range 8 {
		issuing.Go(func() {
			for range n / 8 {
				if a := r.Token(t, apitest.DemoService, "grant_type", "client_credentials"); a.Status != http.StatusOK {
					t.Errorf("%d %s", a.Status, a.Body)
				}
			}
		})
	}
	issuing.Wait()
}

// TestRevocationOutlivesItsReplica stops the replica that works on a job in the
// middle: another one finishes it, and everything is revoked once.
func TestRevocationOutlivesItsReplica(t *testing.T) {
	t.Parallel()
	const grants, tokens = 60, 800
	node := embeddedtest.Single(t)
	replicas := []*apitest.Replica{apitest.Start(t, node.Conn(), apitest.Options{Settings: patient}), apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})}
	replicas[0].Seed(t)
	waitKnown(t, replicas[1], apitest.DemoSPA)
	opened := manyGrants(t, replicas[0], grants)
	manyTokens(t, replicas[0], tokens)
	job := begin(t, replicas[0], map[string]any{"since": "2020-01-01T00:00:00Z"})
	embeddedtest.Eventually(t, "some of it is done", func() bool {
		job = showJob(t, replicas[1], job.ID)
		return job.GrantsRevoked > 0
	})
	if job.State != bulk.Running || job.Worker == "" {
		t.Fatalf("it was over before anything could stop it: %+v", job)
	}
	replicas[0].Server.Close()
	job = finished(t, replicas[1], job.ID)
	if job.GrantsRevoked != grants || job.TokensRevoked != tokens || job.Positions[replicas[1].Log.Realm().PartitionStream(0)] == 0 {
		t.Errorf("job %+v", job)
	}
	for _, id := range opened {
		if types := replicas[1].Events(t, id); len(types) != 2 || types[1] != "grant.revoked.v1" {
			t.Errorf("grant %s has %v", id, types)
		}
	}
	once := map[string]int{}
	for _, row := range exported(t, replicas[1], "request", job.ID, "type", "grant.revoked,access_token.revoked") {
		once[row.Grant+row.JTI]++
	}
	for id, n := range once {
		if n != 1 {
			t.Errorf("%s was revoked %d times", id, n)
		}
	}
	if len(once) != grants+tokens {
		t.Errorf("%d revoked, want %d", len(once), grants+tokens)
	}
}

// TestOneReplicaWorksOnARevocation has three replicas and few jobs: the events of
// each come from one of them, since nobody's lease ended.
func TestOneReplicaWorksOnARevocation(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	var replicas []*apitest.Replica
	for range 3 {
		replicas = append(replicas, apitest.Start(t, node.Conn(), apitest.Options{Settings: patient}))
	}
	replicas[0].Seed(t)
	waitKnown(t, replicas[1], apitest.DemoSPA)
	waitKnown(t, replicas[2], apitest.DemoSPA)
	manyGrants(t, replicas[0], 80)
	job := begin(t, replicas[2], map[string]any{"client": "demo-spa", "since": "2020-01-01T00:00:00Z"})
	workers := map[string]bool{}
	embeddedtest.Eventually(t, "the revocation is over", func() bool {
		job = showJob(t, replicas[0], job.ID)
		if job.Worker != "" {
			workers[job.Worker] = true
		}
		return job.State != bulk.Running
	})
	if len(workers) > 1 || job.GrantsRevoked != 80 || job.AlreadyEnded != job.Examined-80 {
		t.Errorf("%d workers, job %+v", len(workers), job)
	}
}
