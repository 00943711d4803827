package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// A partitionRow is a partition as the admin API tells it.
type partitionRow struct {
	Partition int       `json:"partition"`
	Stream    string    `json:"stream"`
	AddedAt   time.Time `json:"added_at"`
	InUse     bool      `json:"in_use"`
}

func partitionsIn(t testing.TB, a apitest.Answer) []partitionRow {
	t.Helper()
	var list struct{ Partitions []partitionRow }
	if err := json.Unmarshal(wantOK(t, a).Body, &list); err != nil {
		t.Fatal(err)
	}
	return list.Partitions
}

// addPartitions adds until there are that many, all of them in use at r.
func addPartitions(t testing.TB, r *apitest.Replica, total int) {
	t.Helper()
	a := apitest.Settled(t, func() apitest.Answer {
		return r.Admin(t, http.MethodPost, "/partitions", map[string]any{"total": total})
	})
	rows := partitionsIn(t, a)
	if len(rows) != total {
		t.Fatalf("there are %d partitions, want %d", len(rows), total)
	}
	waitInUse(t, r, total)
}

func waitInUse(t testing.TB, r *apitest.Replica, total int) {
	t.Helper()
	embeddedtest.Eventually(t, "the partitions to be in use", func() bool { return len(r.Server.Partitions()) == total })
}

// holding is a FeedGate that holds back streams while they are in its list.
type holding struct {
	mu      sync.Mutex
	streams []string
	moved   chan struct{}
}

func (h *holding) hold(streams ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams = streams; h.moved != nil {
		close(h.moved)
	}
	h.moved = make(chan struct{})
}

func (h *holding) pass(ctx context.Context, stream string) error {
	for {
		h.mu.Lock()
		held, moved := slices.Contains(h.streams, stream), h.moved
		h.mu.Unlock()
		if !held {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// inPartition repeats what opens a grant until it is in a partition. Text is what
// of the answer has the grant.
func inPartition(t testing.TB, p events.Partition, open func() (id events.GrantID, what string)) string {
	t.Helper()
	for range 1000 {
		if id, what := open(); id.Partition() == p {
			return what
		}
	}
	t.Fatalf("no grant is opened in partition %d", p)
	return ""
}

// newestGrant is the grant that was opened last at a client.
func newestGrant(t testing.TB, r *apitest.Replica, seen map[events.GrantID]bool) (found events.GrantID) {
	t.Helper()
	for id := range r.History(t) {
		if !seen[id] {
			seen[id], found = true, id
		}
	}
	return found
}

// TestTokensOfANewPartition brings to a replica what another one has issued in a
// partition that the first has not heard of: it opens the partition, or does not
// know. It never says that any of it is bad, and it never issues there itself.
func TestTokensOfANewPartition(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	lasting := func(s *config.Settings) { // no proof is too old, and no code
		s.FreshnessBound, s.CodeLifetime = 10*time.Minute, 10*time.Minute
	}
	ahead := apitest.Start(t, node.Conn(), apitest.Options{Settings: lasting})
	ahead.Seed(t)
	var held holding
	behind := apitest.Start(t, node.Conn(), apitest.Options{Settings: lasting, FeedGate: held.pass, RequestTimeout: 3 * time.Second})
	client := register(t, ahead, retryWindow(600))
	waitKnown(t, behind, client)
	wantOK(t, behind.Exchange(t, client, newCode(t, behind, client)))
	registry, added := ahead.Log.Realm().RegistryStream(), ahead.Log.Realm().PartitionStream(1)
	held.hold(registry, added)
	addPartitions(t, ahead, 2)

	seen := map[events.GrantID]bool{}
	newestGrant(t, ahead, seen)
	code := inPartition(t, 1, func() (events.GrantID, string) {
		code := newCode(t, ahead, client)
		return newestGrant(t, ahead, seen), code
	})
	tokens := func() apitest.Answer {
		for {
			a := newTokens(t, ahead, client)
			if apitest.Claims(t, a.Text("access_token"))["part"] == float64(1) {
				return a
			}
		}
	}
	kept, ended := tokens(), tokens()
	asks := []struct {
		name string
		send func() apitest.Answer
	}{
		{"code", func() apitest.Answer { return behind.Exchange(t, client, code) }},
		{"refresh", func() apitest.Answer { return behind.Refresh(t, client, kept.Text("refresh_token")) }},
		{"introspection", func() apitest.Answer { return introspect(t, behind, kept.Text("access_token")) }},
		{"introspection of a refresh token", func() apitest.Answer {
			return behind.Post(t, "/oauth2/introspect", client, "token", ended.Text("refresh_token"))
		}},
	}
	// Nothing of it can be proved yet.
	for i, a := range apitest.Race(len(asks), func(i int) apitest.Answer { return asks[i].send() }) {
		if !a.Unavailable() {
			t.Errorf("%s while its partition cannot be followed: %d %s", asks[i].name, a.Status, a.Body)
		}
	}
	if a := behind.Admin(t, http.MethodGet, "/partitions", nil); !a.Unavailable() {
		t.Errorf("it says which partitions there are: %d %s", a.Status, a.Body)
	}
	// The token alone proves the partition.
	held.hold(registry)
	for _, ask := range asks {
		if a := apitest.Settled(t, ask.send); a.Status != http.StatusOK || strings.Contains(string(a.Body), `"active":false`) {
			t.Errorf("%s: %d %s", ask.name, a.Status, a.Body)
		}
	}
	revoke(t, ahead, client, ended.Text("refresh_token"))
	embeddedtest.Eventually(t, "the revocation to be known", func() bool { return !active(t, behind, ended.Text("access_token")) })
	if got := behind.Server.Partitions(); len(got) != 1 {
		t.Errorf("it issues in %v and others may not know of all", got)
	}
	held.hold()
	waitInUse(t, behind, 2)
	inPartition(t, 1, func() (events.GrantID, string) {
		newCode(t, behind, client)
		return newestGrant(t, behind, seen), ""
	})
}

// TestAddPartitions asks an administrator's questions.
func TestAddPartitions(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	r := apitest.Start(t, node.Conn(), apitest.Options{})
	r.Seed(t)
	for _, total := range []int{-1, 0, 257} {
		wantError(t, r.Admin(t, http.MethodPost, "/partitions", map[string]any{"total": total}), http.StatusBadRequest, "invalid_request")
	}
	// Somebody made a stream and came no further: it is no partition yet.
	other, err := eventlog.Open(t.Context(), node.Conn(), eventlog.Config{Realm: events.DefaultRealm, Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	if rows := partitionsIn(t, r.Admin(t, http.MethodGet, "/partitions", nil)); len(rows) != 1 || !rows[0].InUse || !rows[0].AddedAt.IsZero() {
		t.Errorf("listed %+v", rows)
	}
	addPartitions(t, r, 2)
	addPartitions(t, r, 2)
	rows := partitionsIn(t, r.Admin(t, http.MethodGet, "/partitions", nil))
	if len(rows) != 2 || !rows[1].InUse || rows[1].Stream != "MAIN_EVENTS_1" || time.Since(rows[1].AddedAt).Abs() > time.Hour {
		t.Errorf("listed %+v", rows)
	}
	recorded, err := other.After(t.Context(), r.Log.Realm().PartitionSubject(1), 0)
	if err != nil || len(recorded) != 1 || recorded[0].Meta.Actor != "admin" {
		t.Errorf("the log has %+v, %v", recorded, err)
	}
	r.WaitFolded(t)
	if log := string(r.WholeEvents(t, "type", "partition.added.v1")); strings.Count(log, "\n") != 1 || !strings.Contains(log, "main.partition.1") {
		t.Errorf("the audit has %s", log)
	}
	if a := wantOK(t, r.Admin(t, http.MethodGet, "/status", nil)); a.JSON["partitions"] != float64(2) {
		t.Errorf("status %s", a.Body)
	}
	// A stream that loses events is not taken.
	js, err := jetstream.New(node.Conn())
	if err != nil {
		t.Fatal(err)
	}
	bad := jetstream.StreamConfig{Name: "MAIN_EVENTS_2", Subjects: r.Log.Realm().PartitionSubjects(2), MaxAge: time.Hour}
	if _, err := js.CreateStream(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	wantError(t, r.Admin(t, http.MethodPost, "/partitions", map[string]any{"total": 3}), http.StatusConflict, "conflict")
}

// TestNothingEscapesToANewPartition ends all that a user let a client have at a
// replica that has not heard of a partition where some of it is.
func TestNothingEscapesToANewPartition(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	ahead := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	ahead.Seed(t)
	var held holding
	behind := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient, FeedGate: held.pass, RequestTimeout: 3 * time.Second})
	v := ahead.NewVisitor(t)
	user := subject(t, allow(t, ahead, v, "read offline_access"))
	u := mustUser(t, behind, user)
	held.hold(ahead.Log.Realm().RegistryStream())
	addPartitions(t, ahead, 2)
	var escaped apitest.Answer
	for escaped = allow(t, ahead, v, "read offline_access"); !strings.HasPrefix(ahead.GrantOf(t, escaped.Text("access_token")), "01"); {
		escaped = allow(t, ahead, v, "read offline_access")
	}
	end := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		return behind.Server.Authority().RevokeApplication(ctx, u, apitest.DemoPartner.ID, authority.Caller{})
	}
	if err := end(); err == nil {
		t.Error("it says that all has ended and knows of one partition only")
	}
	held.hold()
	embeddedtest.Eventually(t, "all to end", func() bool { return end() == nil })
	a := apitest.Settled(t, func() apitest.Answer { return ahead.Refresh(t, apitest.DemoPartner, escaped.Text("refresh_token")) })
	wantError(t, a, http.StatusBadRequest, "invalid_grant")

	// In bulk, too, and it names where it looks.
	held.hold(ahead.Log.Realm().RegistryStream())
	addPartitions(t, ahead, 3)
	body := map[string]any{"client": apitest.DemoWeb.ID, "since": time.Now().Add(-time.Hour).Format(time.RFC3339)}
	var last apitest.Answer
	for last = newTokens(t, ahead, apitest.DemoWeb); !strings.HasPrefix(ahead.GrantOf(t, last.Text("access_token")), "02"); {
		last = newTokens(t, ahead, apitest.DemoWeb)
	}
	if a := behind.Admin(t, http.MethodPost, "/revocations", body); !a.Unavailable() {
		t.Errorf("a revocation began and knows of some partitions only: %d %s", a.Status, a.Body)
	}
	held.hold()
	job := revokeAll(t, behind, body)
	if _, ok := job.Heads["MAIN_EVENTS_2"]; !ok {
		t.Errorf("it looked at %v", job.Heads)
	}
	a = apitest.Settled(t, func() apitest.Answer { return ahead.Refresh(t, apitest.DemoWeb, last.Text("refresh_token")) })
	wantError(t, a, http.StatusBadRequest, "invalid_grant")
}

// TestAuditGoesOnInNewPartitions follows events while partitions are added, and
// goes on behind a page from before.
func TestAuditGoesOnInNewPartitions(t *testing.T) {
	t.Parallel()
	r := single(t)
	issue := func() apitest.Answer {
		return wantOK(t, r.Token(t, apitest.DemoService, "grant_type", "client_credentials"))
	}
	for range 3 {
		issue()
	}
	r.WaitFolded(t)
	const query = "/events?actor=client:demo-service&limit=2&order="
	before := map[string]string{}
	for _, order := range []string{"oldest", "newest"} {
		before[order] = wantOK(t, r.Admin(t, http.MethodGet, query+order, nil)).Text("next")
	}
	l := openTail(t, r, "")
	all := []events.Partition{0}
	for events.SpreadPartition(apitest.DemoService.ID, all) == 0 { // until its tokens go to a new one
		all = append(all, events.Partition(len(all)))
	}
	addPartitions(t, r, len(all))
	a := issue()
	if apitest.Claims(t, a.Text("access_token"))["part"] == float64(0) {
		t.Fatal("it is of the first partition")
	}
	last := a.Header.Get("X-Request-Id")
	l.wantRequest(t, last)
	l.close()
	r.WaitFolded(t)
	for order, next := range before {
		found := false
		for next != "" && !found {
			page := wantOK(t, r.Admin(t, http.MethodGet, query+order+"&cursor="+next, nil))
			next, found = page.Text("next"), strings.Contains(string(page.Body), last)
		}
		if found != (order == "oldest") { // what was stored since is no part of the newest first
			t.Errorf("%s first: an old cursor leads to the new partition: %v", order, found)
		}
	}
}
