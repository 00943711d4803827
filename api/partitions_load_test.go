package api_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/time/rate"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/checkpoint"
)

// A clientRun is a client that logs in, refreshes, has its tokens introspected
// and revokes them, at whichever replica.
type clientRun struct {
	*testing.T
	replicas []*apitest.Replica
	client   apitest.Client
	ledger   *apitest.Ledger
	// asked counts requests, and busy those that were told to come again.
	asked, busy *atomic.Int64
}

// at is a replica, another one each time.
func (r clientRun) at() *apitest.Replica {
	return r.replicas[int(r.asked.Add(1))%len(r.replicas)]
}

// ok fails the test for a refusal.
func (r clientRun) ok(what string, a apitest.Answer) bool {
	switch {
	case a.Unavailable():
		r.busy.Add(1)
		r.Logf("%s: %d %s", what, a.Status, a.Body)
	case a.Status != http.StatusOK:
		r.Errorf("%s: %d %s", what, a.Status, a.Body)
	}
	return a.Status == http.StatusOK
}

// once goes through the life of one grant.
func (r clientRun) once() {
	login := r.at().LoginAnswer(r.T, r.client, "read offline_access")
	if !r.ok("login", login) {
		return
	}
	code := apitest.CodeOf(r.T, login)
	a := r.at().Exchange(r.T, r.client, code)
	if !r.ok("exchange", a) {
		return
	}
	r.ledger.Redeemed(r.T, code, a)
	for range 2 {
		spent := a.Text("refresh_token")
		if a = r.at().Refresh(r.T, r.client, spent); !r.ok("refresh", a) {
			return
		}
		r.ledger.Refreshed(r.T, spent, a)
		if seen := introspect(r.T, r.at(), a.Text("access_token")); r.ok("introspect", seen) && !isActive(seen) {
			r.Errorf("a token is not active: %s", seen.Body)
		}
	}
	if r.ok("revoke", r.at().Post(r.T, revokePath, r.client, "token", a.Text("refresh_token"))) {
		// Whoever is asked: of a grant that has ended it is decided on the log.
		again := r.at().Refresh(r.T, r.client, a.Text("refresh_token"))
		if again.Unavailable() {
			r.busy.Add(1)
		} else if again.Status != http.StatusBadRequest {
			r.Errorf("refresh after the end: %d %s", again.Status, again.Body)
		}
	}
}

// steadyCluster has bounds that a loaded machine does not easily break. Errors has
// why somebody was told to come again.
func steadyCluster(t *testing.T) (c *apitest.Cluster, replicas []*apitest.Replica, errors *lockedBuffer) {
	t.Helper()
	c, errors = apitest.NewCluster(t, 1), &lockedBuffer{}
	logger := slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), errors), &slog.HandlerOptions{Level: slog.LevelError}))
	for i := range 2 {
		nc := c.Prefer(t, i)
		replicas = append(replicas, apitest.Start(t, nc, apitest.Options{
			Replicas: embeddedtest.Nodes, Settings: patient, RequestTimeout: embeddedtest.Patience,
			Reader: projector.NewRemote(nc, events.DefaultRealm),
			Logger: logger,
		}))
	}
	return c, replicas, errors
}

// TestPartitionsAreAddedUnderLoad adds partitions to three servers, two projectors
// and two replicas while clients go on: none of them is refused anything, or told
// to come again because of a partition; all partitions get grants, and everything
// that is told of them is whole. A machine that is too slow for one read in a
// second has no other reason to give.
func TestPartitionsAreAddedUnderLoad(t *testing.T) {
	t.Parallel()
	const clients = 3
	c, replicas, errors := steadyCluster(t)
	had := len(replicas[0].Server.Partitions())
	ctx, end := context.WithCancel(t.Context())
	defer end()
	run := clientRun{T: t, replicas: replicas, ledger: &apitest.Ledger{}, asked: &atomic.Int64{}, busy: &atomic.Int64{}}
	var running sync.WaitGroup
	for range clients {
		one := run
		one.client = register(t, replicas[0], retryWindow(600))
		waitKnown(t, replicas[1], one.client)
		running.Go(func() {
			for ctx.Err() == nil {
				one.once()
			}
		})
	}
	for i, r := range replicas { // each adds one
		addPartitions(t, r, had+1+i)
	}
	for _, r := range replicas {
		waitInUse(t, r, had+len(replicas))
	}
	var opened map[events.Partition]int
	embeddedtest.Eventually(t, "all partitions to get grants", func() bool {
		opened = map[events.Partition]int{}
		for id := range replicas[0].History(t) {
			opened[id.Partition()]++
		}
		return opened[2] >= 3 && opened[3] >= 3 || t.Failed()
	})
	end()
	running.Wait()
	t.Logf("%d requests, %d of them told to come again; grants of partitions %v", run.asked.Load(), run.busy.Load(), opened)
	for line := range strings.Lines(string(errors.copy())) {
		if strings.Contains(line, "partition") || strings.Contains(line, "no stream") || strings.Contains(line, "no responders") {
			t.Errorf("because of a partition: %s", line)
		}
	}
	history := replicas[1].History(t)
	issued := apitest.Issued(t, history)
	for _, token := range run.ledger.AccessTokens() {
		if !issued[jti(t, token)] {
			t.Error("a token that was answered is not in the log")
		}
	}
	c.Replicas = replicas
	wantAudited(t, c, history)
	wantSameRows(t, c)
	wantScrubbed(t, c)
}

// wantAudited finds every grant at a replica that did not add its partition, and
// its line.
func wantAudited(t *testing.T, c *apitest.Cluster, history map[events.GrantID][]events.Recorded) {
	t.Helper()
	byPartition := map[events.Partition]events.GrantID{}
	for id := range history {
		byPartition[id.Partition()] = id
	}
	for p, id := range byPartition {
		var n int
		embeddedtest.Eventually(t, "the grant to be found", func() bool {
			a := c.Replicas[0].Admin(t, http.MethodGet, "/events?grant="+id.String(), nil)
			found, _ := a.JSON["events"].([]any)
			n = len(found)
			return a.Status == http.StatusOK
		})
		if n < len(history[id]) { // and its marker
			t.Errorf("the audit has %d of %d events of a grant of partition %d", n, len(history[id]), p)
		}
		embeddedtest.Eventually(t, "its line to be told", func() bool {
			a := c.Replicas[1].Admin(t, http.MethodGet, "/lineage?grant="+id.String(), nil)
			return a.Status == http.StatusOK && len(a.Body) > 0
		})
	}
}

// wantSameRows compares the rows of both projectors with a replay from the first
// message, of every stream.
func wantSameRows(t *testing.T, c *apitest.Cluster) {
	t.Helper()
	log := c.Replicas[0].Log
	for _, stream := range log.Streams() {
		same := func() bool {
			var hashes []events.Hash
			var at []uint64
			for _, p := range c.Projectors {
				h, seq, err := p.Local.StateHash(t.Context(), stream)
				if err != nil {
					t.Fatal(err)
				}
				hashes, at = append(hashes, h), append(at, seq)
			}
			if at[0] != at[1] { // replicas tick
				return false
			}
			r, err := projector.Replay(t.Context(), t.TempDir(), log.Realm(), stream, projector.Until{Seq: at[0]},
				func(each func([]eventlog.Entry) error) error {
					return log.Replay(t.Context(), stream, eventlog.From{Last: at[0]}, each)
				}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Position != at[0] || r.State != hashes[0] || r.State != hashes[1] {
				t.Errorf("%s at %d: the rows are %x and %x, of a replay %x", stream, at[0], hashes[0], hashes[1], r.State)
			}
			return true
		}
		embeddedtest.Eventually(t, "both projectors to be at one position", same)
	}
}

// wantScrubbed holds every message against its leaf, and every stream against a
// checkpoint.
func wantScrubbed(t *testing.T, c *apitest.Cluster) {
	t.Helper()
	r := c.Replicas[0]
	for _, stream := range r.Log.Streams() {
		embeddedtest.Eventually(t, "a checkpoint of "+stream, func() bool {
			a := r.Admin(t, http.MethodGet, "/checkpoints/"+stream, nil)
			if a.Status != http.StatusOK {
				return false
			}
			signed, err := tree.Unverified(a.Body)
			return err == nil && signed.Stream() == stream
		})
		reader := projector.NewRemote(c.Connect(), events.DefaultRealm)
		embeddedtest.Eventually(t, stream+" to be scrubbed", func() bool {
			return checkpoint.Scrub(t.Context(), r.Log, reader, stream, rate.NewLimiter(rate.Inf, 500)) == nil
		})
	}
}
