package api_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api"
	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector"
)

// loadTime is how long the load lasts in which read models are rebuilt, in the
// environment. The suite keeps it short.
const loadTime = "CHANCERY_TEST_REBUILD_LOAD"

// A steadyLoad asks a replica for the same things over and over, at a steady pace that
// leaves the machine time for other things.
type steadyLoad struct {
	t       *testing.T
	mu      sync.Mutex
	took    []time.Duration
	failed  int
	running sync.WaitGroup
	stop    context.CancelFunc
}

const (
	loadWorkers = 4
	// loadPause is between two rounds of a worker: a login, an exchange, a refresh
	// and two introspections.
	loadPause = 40 * time.Millisecond
)

func startSteadyLoad(t *testing.T, replicas ...*apitest.Replica) *steadyLoad {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &steadyLoad{t: t, stop: stop}
	for i := range loadWorkers {
		r := replicas[i%len(replicas)]
		l.running.Go(func() {
			pace := time.NewTicker(loadPause)
			defer pace.Stop()
			for ctx.Err() == nil {
				l.round(r)
				<-pace.C
			}
		})
	}
	return l
}

func (l *steadyLoad) round(r *apitest.Replica) {
	const scope = "read offline_access"
	login := l.ask(func() apitest.Answer { return r.LoginAnswer(l.t, apitest.DemoWeb, scope) })
	if login.Status != http.StatusOK {
		return
	}
	code := apitest.CodeOf(l.t, login)
	tokens := l.ask(func() apitest.Answer { return r.Exchange(l.t, apitest.DemoWeb, code) })
	for range 3 {
		tokens = l.ask(func() apitest.Answer { return r.Refresh(l.t, apitest.DemoWeb, tokens.Text("refresh_token")) })
		seen := l.ask(func() apitest.Answer {
			return r.Post(l.t, introspectPath, apitest.DemoService, "token", tokens.Text("access_token"))
		})
		if active, _ := seen.JSON["active"].(bool); !active && seen.Status == http.StatusOK {
			l.t.Errorf("introspection: %s", seen.Body)
		}
		// A refresh token is looked up in the read model.
		l.ask(func() apitest.Answer {
			return r.Post(l.t, introspectPath, apitest.DemoWeb, "token", tokens.Text("refresh_token"))
		})
	}
}

func (l *steadyLoad) ask(send func() apitest.Answer) apitest.Answer {
	began := time.Now()
	a := send()
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = append(l.took, took)
	if a.Status != http.StatusOK {
		l.failed++
		l.t.Errorf("answer %d %s", a.Status, a.Body)
	}
	return a
}

// lap is how long the requests since the last lap took.
func (l *steadyLoad) lap() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	took := l.took
	l.took = nil
	return took
}

// tell says how requests went.
func (l *steadyLoad) tell(what string, took []time.Duration) {
	l.t.Helper()
	slices.Sort(took)
	n := len(took)
	if n == 0 {
		l.t.Errorf("%s: no requests", what)
		return
	}
	l.t.Logf("%s: %d requests, p50 %v, p99 %v, longest %v; %d failed in all", what, n, took[n/2].Round(10*time.Microsecond),
		took[n*99/100].Round(10*time.Microsecond), took[n-1].Round(10*time.Microsecond), l.failed)
}

func (l *steadyLoad) end() {
	l.stop()
	l.running.Wait()
}

// operate posts to a read model of a replica.
func operate(t *testing.T, r *apitest.Replica, model, what string, body any) apitest.Answer {
	t.Helper()
	return r.Admin(t, http.MethodPost, "/projections/"+model+"/"+what, body)
}

// projectionIs waits until a read model is as is says.
func projectionIs(t *testing.T, r *apitest.Replica, model, what string, is func(p any) bool) {
	t.Helper()
	again := time.NewTicker(50 * time.Millisecond) // as seldom as an operator would
	defer again.Stop()
	embeddedtest.Eventually(t, model+" is "+what, func() bool {
		<-again.C
		all, _ := wantOK(t, r.Admin(t, http.MethodGet, "/projections", nil)).JSON["projections"].([]any)
		return slices.ContainsFunc(all, func(p any) bool { return member(p, "model") == model && is(p) })
	})
}

func rebuildWhole(t *testing.T, r *apitest.Replica, model string) {
	t.Helper()
	wantStatus := func(a apitest.Answer, status int) {
		t.Helper()
		if a.Status != status {
			t.Fatalf("answer %d %s", a.Status, a.Body)
		}
	}
	wantStatus(operate(t, r, model, "rebuild", nil), http.StatusAccepted)
	projectionIs(t, r, model, "built", func(p any) bool { return member(p, "beside", "state") == "built" })
	wantStatus(operate(t, r, model, "diff", nil), http.StatusAccepted)
	projectionIs(t, r, model, "compared", func(p any) bool { return member(p, "diff", "same") == true })
	wantStatus(operate(t, r, model, "switch", nil), http.StatusOK)
	wantStatus(operate(t, r, model, "drop", nil), http.StatusOK)
}

// TestRebuildUnderLoad rebuilds, compares, switches and drops every read model by
// the admin API, while codes are exchanged and tokens refreshed and introspected.
// Not one request fails. In turn nothing is rebuilt for as long, to compare with.
func TestRebuildUnderLoad(t *testing.T) {
	t.Parallel()
	const turns = 3
	turn, grants := 100*time.Millisecond, 0
	if text := os.Getenv(loadTime); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		turn, grants = d/(2*turns), 30_000
	}
	r := apitest.Single(t, apitest.Options{Partitions: 2})
	openGrants(t, r, grants)
	l := startSteadyLoad(t, r)
	models := r.Local.Projections()
	var without, with []time.Duration
	rebuilds := 0
	for i := range turns {
		<-time.After(turn)
		without = append(without, l.lap()...)
		for ends := time.Now().Add(turn); rebuilds < (i+1)*len(models)/turns || time.Now().Before(ends); rebuilds++ {
			rebuildWhole(t, r, models[rebuilds%len(models)].Model)
		}
		with = append(with, l.lap()...)
	}
	l.end()
	l.tell("without a rebuild", without)
	l.tell(fmt.Sprintf("during %d rebuilds", rebuilds), with)
	r.WaitFolded(t)
	wantFreshReplay(t, r)
}

// openGrants appends the openings of grants to both partitions, so that a rebuild
// takes its time.
func openGrants(t *testing.T, r *apitest.Replica, n int) {
	t.Helper()
	const at = 200 // once, so that they are committed together
	var running sync.WaitGroup
	for w := range at {
		running.Go(func() {
			for i := w; i < n; i += at {
				id := events.NewGrantID(events.Partition(i%2), [16]byte{1, byte(i >> 16), byte(i >> 8), byte(i)})
				_, err := r.Log.Append(t.Context(), eventlog.Unit{Event: events.Event{
					ID: id.String(), Source: apitest.Issuer, Time: time.Now(), Subject: events.DefaultRealm.GrantSubject(id),
					Fact: events.GrantOpened{
						Client: "demo-web", User: fmt.Sprint("user-", i%1000), Scope: []string{"read"}, Expires: time.Now().Add(time.Hour).Unix(),
						Code: &events.Code{MACKey: 1},
					},
				}})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	r.WaitFolded(t)
}

// wantFreshReplay compares what was switched to with what a new projector folds.
func wantFreshReplay(t *testing.T, r *apitest.Replica) {
	t.Helper()
	fresh, err := projector.OpenLocal(t.Context(), r.Log, projector.LocalConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fresh.Close() })
	for _, p := range r.Local.Projections() {
		embeddedtest.Eventually(t, p.Model+" is that of a fresh replay", func() bool {
			hash, seq, err := r.Local.StateHash(t.Context(), p.Model)
			if err != nil {
				t.Fatal(err)
			}
			want, at, err := fresh.StateHash(t.Context(), p.Model)
			if err != nil {
				t.Fatal(err)
			}
			if at == seq && want != hash {
				t.Fatalf("%s has another hash at %d", p.Model, seq)
			}
			return at == seq
		})
	}
}

// TestRebuildBehindReplicas does the same in a projector that replicas read from
// over NATS.
func TestRebuildBehindReplicas(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	p := apitest.StartProjector(t, node.Conn(), 1)
	join := func() *apitest.Replica {
		return apitest.Start(t, node.Conn(), apitest.Options{Partitions: 2, Reader: projector.NewRemote(node.Conn(), events.DefaultRealm)})
	}
	replicas := []*apitest.Replica{join(), join()}
	replicas[0].Seed(t)
	l := startSteadyLoad(t, replicas...)
	for _, one := range p.Local.Projections() {
		model := one.Model
		is := func(state string, found func(projector.Projection) bool) {
			embeddedtest.Eventually(t, model+" is "+state, func() bool {
				v, err := p.Local.Projection(model)
				return err == nil && found(v)
			})
		}
		if err := p.Local.Rebuild(t.Context(), model, 0); err != nil {
			t.Fatal(err)
		}
		is("built", func(v projector.Projection) bool { return v.Beside.State == projector.SlotBuilt })
		if err := p.Local.Diff(model, 0); err != nil {
			t.Fatal(err)
		}
		is("compared", func(v projector.Projection) bool { return v.Diff.Same })
		if err := errors.Join(p.Local.Switch(t.Context(), model, false), p.Local.Drop(model)); err != nil {
			t.Fatal(err)
		}
	}
	l.end()
	l.tell("behind replicas", l.lap())
}

// TestProjectionsAreRefused has what is not there, not possible or not allowed.
func TestProjectionsAreRefused(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{})
	const model = "MAIN_REGISTRY"
	for what, test := range map[string]struct {
		got    apitest.Answer
		status int
		code   string
	}{
		"no such read model":  {operate(t, r, "MAIN_EVENTS_9", "rebuild", nil), http.StatusNotFound, "not_found"},
		"nothing to compare":  {operate(t, r, model, "diff", nil), http.StatusConflict, "conflict"},
		"nothing to switch":   {operate(t, r, model, "switch", nil), http.StatusConflict, "conflict"},
		"nothing to drop":     {operate(t, r, model, "drop", nil), http.StatusConflict, "conflict"},
		"a negative rate":     {operate(t, r, model, "rebuild", map[string]any{"rate": -1}), http.StatusBadRequest, "invalid_request"},
		"an unknown member":   {operate(t, r, model, "switch", map[string]any{"forced": true}), http.StatusBadRequest, "invalid_request"},
		"a body where no one": {operate(t, r, model, "drop", map[string]any{"force": true}), http.StatusBadRequest, "invalid_request"},
	} {
		if test.got.Status != test.status || test.got.Text("error") != test.code {
			t.Errorf("%s: %d %s", what, test.got.Status, test.got.Body)
		}
	}
	wantError(t, request{method: http.MethodGet, path: "/admin/v1/projections"}.send(t, r.AdminURL), http.StatusUnauthorized, "invalid_token")
	if a := (request{method: http.MethodGet, path: "/admin/v1/projections"}.send(t, r.URL)); a.Status != http.StatusNotFound {
		t.Errorf("on the public listener: %d %s", a.Status, a.Body)
	}
}

// TestProjectionsWithoutAnAPI is the handler of a projector.
func TestProjectionsWithoutAnAPI(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{})
	quiet := api.Parts{Local: r.Local, AdminKey: secret.New(apitest.AdminKey), Logger: slog.New(slog.DiscardHandler)}
	keyless := quiet
	keyless.AdminKey = secret.Secret{}
	nothing := quiet
	nothing.Local = nil
	key := []string{"Authorization", "Bearer " + apitest.AdminKey}
	for what, test := range map[string]struct {
		parts  api.Parts
		path   string
		header []string
		status int
	}{
		"with the key":       {quiet, "/admin/v1/projections", key, http.StatusOK},
		"without":            {quiet, "/admin/v1/projections", nil, http.StatusUnauthorized},
		"something else":     {quiet, "/admin/v1/clients", key, http.StatusNotFound},
		"without one at all": {keyless, "/admin/v1/projections", []string{"Authorization", "Bearer "}, http.StatusUnauthorized},
		"of an API replica":  {nothing, "/admin/v1/projections", key, http.StatusNotFound},
	} {
		server := httptest.NewServer(api.Projections(test.parts))
		t.Cleanup(server.Close)
		if a := (request{method: http.MethodGet, path: test.path, header: test.header}.send(t, server.URL)); a.Status != test.status {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
		}
	}
}

// modelRefusals are those about read models. TestProjectionsAreRefused, TestProjectionsWithoutAnAPI and
// the examples of openapi.yaml have the requests that need more than one.
func modelRefusals(t testing.TB, r *apitest.Replica) map[rules.Reason]told {
	t.Helper()
	operates := func(model, what string) func() apitest.Answer {
		return func() apitest.Answer { return r.Admin(t, http.MethodPost, "/projections/"+model+"/"+what, nil) }
	}
	return map[rules.Reason]told{
		"no_read_models":      {404, "not_found", 404, "003-061", "", nil, nil, ""},
		"no_such_read_model":  {404, "not_found", 404, "003-061", "", operates(planted, "rebuild"), nil, ""},
		"nothing_beside":      {409, "conflict", 422, "0", "", operates("MAIN_REGISTRY", "drop"), nil, ""},
		"beside_in_the_way":   {409, "conflict", 422, "0", "", nil, nil, ""},
		"beside_behind":       {409, "conflict", 422, "0", "", nil, nil, ""},
		"beside_not_compared": {409, "conflict", 422, "0", "", nil, nil, ""},
		"read_model_busy":     {409, "conflict", 422, "0", "", nil, nil, ""},
	}
}
