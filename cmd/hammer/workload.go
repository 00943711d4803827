package hammer

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	webClient = "hammer-web"
	// codeLifetime of the clients is that of the longest codes, and retryWindow
	// the longest there is, so that no request is refused for being slow.
	codeLifetime = 10 * time.Minute
	retryWindow  = 10 * time.Minute
	// patience is how long a client goes on to ask for the same: longer than any
	// fault.
	patience = 90 * time.Second
	// retryPause is how long it waits in between.
	retryPause = 100 * time.Millisecond
	// maxGrants bounds what a worker holds on to until the end.
	maxGrants = 40
)

// clients are those of the workload.
type clients struct{ web, other, service *client }

// A worker is one person at a browser and the application behind it. It does one thing
// after the other, some of them at several replicas at once.
type worker struct {
	name     string
	rng      *rand.Rand
	balancer *balancer
	recorder *recorder
	clients  *clients
	username string
	password string
	cookie   *http.Cookie
	think    time.Duration
	// patience is how long it goes on to ask for the same.
	patience time.Duration
	// kept are grants that must work to the end.
	kept []*grant
	// planted are the secrets that it was given.
	planted []string
	mu      sync.Mutex
}

// A grant is what the application knows of one.
type grant struct {
	number     int
	code       string
	opened     time.Time
	access     string
	generation int
	// refresh are the refresh tokens, by their generations from 1.
	refresh []string
}

func (g *grant) current() string { return g.refresh[len(g.refresh)-1] }

// seeded is a source of its own for each name, the same for the same seed.
func seeded(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64())) //nolint:gosec // it must come again, it is no secret
}

// setUp registers the users of workers and the clients. The one for client
// credentials comes last: who knows it knows all.
func setUp(ctx context.Context, b *balancer, workers []*worker) (*clients, error) {
	var all clients
	code := []string{"authorization_code", "refresh_token"}
	window := int64(retryWindow / time.Second)
	for _, w := range workers {
		w.clients = &all
		w.plant(w.password)
		if _, err := b.admin(ctx, "/users", map[string]any{"username": w.username, "email": w.username + "@example.com", "password": w.password}); err != nil {
			return nil, fmt.Errorf("register a user: %w", err)
		}
	}
	for _, c := range []struct {
		to   **client
		body map[string]any
	}{
		{&all.web, map[string]any{
			"client_id": webClient, "grant_types": code, "redirect_uris": []string{redirect}, "scope": "read", "first_party": true,
			"refresh_token_retry_window": window, "code_lifetime": int64(codeLifetime / time.Second),
		}},
		{&all.other, map[string]any{"client_id": "hammer-other", "grant_types": code, "redirect_uris": []string{redirect}, "scope": "read"}},
		{&all.service, map[string]any{
			"client_id": "hammer-service", "grant_types": []string{"client_credentials"}, "scope": "read", "introspect_any": true,
		}},
	} {
		made, err := b.admin(ctx, "/clients", c.body)
		if err != nil {
			return nil, fmt.Errorf("register a client: %w", err)
		}
		id, _ := made["client_id"].(string)
		text, _ := made["client_secret"].(string)
		*c.to = &client{id, text}
	}
	workers[0].plant(all.web.secret, all.other.secret, all.service.secret)
	return &all, nil
}

func newWorker(seed uint64, i int, b *balancer, r *recorder, think time.Duration) *worker {
	name := fmt.Sprintf("person-%d", i)
	rng := seeded(seed, name)
	return &worker{
		name: name, rng: rng, balancer: b, recorder: r, username: name, think: think, patience: patience,
		password: fmt.Sprintf("planted-password-%016x", rng.Uint64()),
	}
}

func (w *worker) plant(secrets ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.planted = append(w.planted, secrets...)
}

// run opens grants and uses them until ctx ends. What is under way then goes on to
// its end, with what there is of patience.
func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		w.once(context.WithoutCancel(ctx), ctx.Done())
	}
}

// once opens a grant, refreshes it some times, and ends or keeps it.
func (w *worker) once(ctx context.Context, over <-chan struct{}) {
	// All is drawn first, so that it is the same whatever is answered.
	steps, end := 1+w.rng.IntN(6), w.rng.IntN(10)
	plan := make([]step, steps)
	opening := w.draw()
	for i := range plan {
		plan[i] = w.draw()
	}
	ending := w.draw()
	g := w.open(ctx, opening, over)
	if g == nil || !w.redeem(ctx, g, opening, over) {
		return
	}
	for _, s := range plan {
		if done(over) || !w.pause(over) {
			break
		}
		if !w.refresh(ctx, g, s, over) {
			return
		}
	}
	switch {
	case done(over):
		w.keep(g)
	case end < 4:
		w.revoke(ctx, g, ending, over)
	case end == 4:
		w.reuse(ctx, g, ending, over)
	case end == 5:
		w.replayCode(ctx, g, ending)
	default:
		w.introspect(ctx, g, ending.replica)
		w.keep(g)
	}
}

// A step is what chance decides of one.
type step struct {
	how     int
	replica int
	drop    time.Duration
}

// Of a hundred, so many steps are: raced at all replicas, dropped by the client
// before the answer, and tried wrongly first. The others are plain.
const (
	raced   = 25
	dropped = raced + 20
	wrongly = dropped + 15
)

func (w *worker) draw() step {
	return step{
		how: w.rng.IntN(100), replica: w.rng.IntN(len(w.balancer.ready)),
		drop: time.Duration(w.rng.Int64N(int64(12 * time.Millisecond))),
	}
}

func done(over <-chan struct{}) bool {
	select {
	case <-over:
		return true
	default:
		return false
	}
}

// pause is for thinking; false means that it is over.
func (w *worker) pause(over <-chan struct{}) bool { return sleep(over, w.think) }

func sleep(over <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-over:
		return false
	}
}

// settled repeats an operation, at one replica after another, while it is not known what came
// of it. Once it is over for all, a few more tries are made.
func (w *worker) settled(over <-chan struct{}, try func(i int) Op) Op {
	for i, deadline := 0, time.Now().Add(w.patience); ; i++ {
		o := try(i)
		if o.Outcome == OK || o.Outcome == Refused || time.Now().After(deadline) {
			return o
		}
		if !sleep(over, retryPause) && i >= 3 {
			return o
		}
	}
}

// open signs in, by the session if there is one, and gets a code.
func (w *worker) open(ctx context.Context, s step, over <-chan struct{}) *grant {
	var g *grant
	w.settled(over, func(i int) Op {
		// Every code is another grant's.
		g = &grant{number: w.recorder.newGrant(), opened: time.Now()}
		r := request{method: http.MethodGet, path: "/api/oauth2/sso?" + codeQuery(), cookie: w.cookie, preferred: s.replica + i}
		if w.cookie == nil || s.how%8 == 0 {
			r = request{
				method: http.MethodPost, path: "/api/oauth2/login?" + codeQuery(), preferred: s.replica + i,
				json: fmt.Sprintf(`{"username":%q,"password":%q}`, w.username, w.password),
			}
		}
		o, a := w.do(ctx, Op{Kind: Login, Grant: g.number}, r)
		if o.Outcome != OK {
			return o
		}
		for _, c := range a.cookies {
			if c.Value != "" {
				w.cookie = &http.Cookie{Name: c.Name, Value: c.Value} //nolint:gosec // it is sent, not set
				w.plant(c.Value)
			}
		}
		if to, err := url.Parse(a.text("login_url")); err == nil {
			g.code = to.Query().Get("code")
			w.plant(g.code)
		}
		return o
	})
	if g.code == "" {
		w.cookie = nil
		return nil
	}
	return g
}

// redeem exchanges the code; false means that there are no tokens.
func (w *worker) redeem(ctx context.Context, g *grant, s step, over <-chan struct{}) bool {
	one := func(ctx context.Context, o Op, r request) Op {
		o.Kind, o.Grant, o.Presented = Redeem, g.number, fingerprint(g.code)
		o.Late = time.Since(g.opened) > codeLifetime-requestTimeout
		o, a := w.do(ctx, o, r)
		if o.Outcome == OK {
			w.received(g, 1, a)
		}
		return o
	}
	plain := w.redeemRequest(w.clients.web, s.replica, g.code, verifier)
	switch {
	case s.how < raced:
		w.race(func(i int) {
			one(ctx, Op{}, w.redeemRequest(w.clients.web, i, g.code, verifier))
		})
	case s.how < dropped:
		short, cancel := context.WithTimeout(ctx, s.drop)
		one(short, Op{Dropped: true}, plain)
		cancel()
	case s.how < wrongly:
		one(ctx, Op{Wrong: true}, w.redeemRequest(w.clients.web, s.replica, g.code, wrongVerifier))
		one(ctx, Op{Wrong: true}, w.redeemRequest(w.clients.other, s.replica, g.code, verifier))
	}
	if len(g.refresh) == 0 {
		w.settled(over, func(i int) Op {
			r := plain
			r.preferred += i
			return one(ctx, Op{}, r)
		})
	}
	return len(g.refresh) > 0
}

// received notes the tokens of a generation, unless they are known.
func (w *worker) received(g *grant, generation int, a answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	token := a.text("refresh_token")
	w.planted = append(w.planted, token, a.text("access_token"))
	if generation == len(g.refresh)+1 {
		g.refresh = append(g.refresh, token)
		g.access, g.generation = a.text("access_token"), generation
	}
}

// race does something at all replicas at once.
func (w *worker) race(at func(i int)) {
	var racing sync.WaitGroup
	for i := range w.balancer.ready {
		racing.Go(func() { at(i) })
	}
	racing.Wait()
}

// present presents the refresh token of a generation once.
func (w *worker) present(ctx context.Context, g *grant, generation int, o Op, c *client, replica int) Op {
	w.mu.Lock() // racers append to it
	token := g.refresh[generation-1]
	w.mu.Unlock()
	o.Kind, o.Grant, o.Generation, o.Presented = Refresh, g.number, generation, fingerprint(token)
	o, a := w.do(ctx, o, w.refreshRequest(c, replica, token))
	if o.Outcome == OK {
		w.received(g, generation+1, a)
	}
	return o
}

// refresh goes on to the next generation; false means that the grant has ended.
func (w *worker) refresh(ctx context.Context, g *grant, s step, over <-chan struct{}) bool {
	n := len(g.refresh)
	switch {
	case s.how < raced:
		w.race(func(i int) { w.present(ctx, g, n, Op{}, w.clients.web, i) })
	case s.how < dropped:
		short, cancel := context.WithTimeout(ctx, s.drop)
		w.present(short, g, n, Op{Dropped: true}, w.clients.web, s.replica)
		cancel()
	case s.how < wrongly:
		w.present(ctx, g, n, Op{Wrong: true}, w.clients.other, s.replica)
	}
	if len(g.refresh) > n {
		return true
	}
	w.settled(over, func(i int) Op { return w.present(ctx, g, n, Op{}, w.clients.web, s.replica+i) })
	return len(g.refresh) > n
}
