package bench

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/chancery-authority/chancery/cmd/process"
)

const (
	// prepareTimeout is how long 503 is taken for an answer before anything is measured.
	prepareTimeout = 30 * time.Second
	// progressEvery is how often it is told how far a measurement has come.
	progressEvery = time.Second
	// endTimeout bounds the counting of events and the taking back in the end.
	endTimeout = 10 * time.Minute
	// preparing are how many workers get what they need at the same time.
	preparing = 8
)

// run is one run.
type run struct {
	cfg       Config
	authority *authority
	admin     AdminCall
	made      registered
	client    Client
	// endpoints are those of each replica.
	endpoints []Endpoints
	verifier  *verifier
	tally     *tally
	processes []observed
	// before is how far the client's events went before.
	before  mark
	workers []*worker
	lines   []*held
	report  Report
}

// Run measures what cfg says. A report is given also with an error, with what there
// is; that answers were wrong is in the report and no error. The end of ctx ends what
// is measured, and what was measured so far is reported.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if err := cfg.check(); err != nil {
		return Report{}, fmt.Errorf("bench: %w", err)
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	r := &run{cfg: cfg, tally: newTally(), report: newReport(cfg)}
	if err := r.run(ctx); err != nil {
		return r.report, fmt.Errorf("bench: %w", err)
	}
	return r.report, nil
}

func (r *run) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, r.close(ctx)) }()
	if err := r.open(ctx); err != nil {
		return err
	}
	if err := r.hire(ctx); err != nil {
		return err
	}
	for _, o := range r.cfg.Operations {
		if ctx.Err() != nil {
			r.report.Interrupted = true
			break
		}
		if err = r.measure(ctx, o); err != nil {
			break
		}
	}
	return errors.Join(err, r.countEvents(ctx))
}

// open finds, or starts, what is measured.
func (r *run) open(ctx context.Context) (err error) {
	if _, err := observe(r.cfg.Processes); err != nil { // before anything is started
		return err
	}
	r.admin = r.cfg.Target.Admin
	if r.cfg.isOwn() {
		r.cfg.Progress("starting an authority")
		if r.authority, err = startAuthority(ctx, r.cfg.Own); err != nil {
			return err
		}
		if r.admin, err = r.authority.admin(); err != nil {
			return err
		}
		r.cfg.Target.Issuer, r.cfg.Target.Admin = r.authority.issuer, r.admin
		r.report.Authority = &Layout{
			APIs: r.cfg.Own.APIs, Projectors: r.cfg.Own.Projectors, Partitions: r.cfg.Own.Partitions, NATSServers: r.cfg.Own.servers(),
		}
	}
	pids := maps.Clone(r.cfg.Processes)
	if r.authority != nil {
		pids = r.authority.addPIDs(pids)
	}
	if r.processes, err = observe(pids); err != nil {
		return err
	}
	r.report.Issuer = r.cfg.Target.Issuer
	if err := r.findEndpoints(ctx); err != nil {
		return err
	}
	return r.openClient(ctx)
}

func (r *run) findEndpoints(ctx context.Context) error {
	h := newMetadataClient(r.cfg.Target.TLS)
	found := r.cfg.Target.Endpoints
	if r.cfg.Target.Issuer != "" {
		told, err := discover(ctx, h, r.cfg.Target.Issuer)
		if err != nil {
			return err
		}
		if r.admin != nil {
			told.login = r.cfg.Target.Issuer + "/api/oauth2/login"
		}
		found = found.or(told)
	}
	if err := found.secureAs(r.cfg.Target.Issuer); err != nil {
		return err
	}
	for _, o := range r.cfg.Operations {
		if err := found.check(o); err != nil {
			return err
		}
	}
	switch {
	case r.cfg.VerifyEvery == 0:
	case found.JWKS == "":
		r.report.NotVerified = "there is no jwks_uri"
	default:
		r.verifier = newVerifier(context.WithoutCancel(ctx), h, found.JWKS, r.cfg.Target)
	}
	r.endpoints = []Endpoints{found}
	if r.authority == nil {
		return nil
	}
	r.endpoints = nil
	for _, at := range r.authority.replicas {
		e, err := found.at(at)
		if err != nil {
			return err
		}
		r.endpoints = append(r.endpoints, e)
	}
	return nil
}

// openClient registers a client, or takes the one that is given.
func (r *run) openClient(ctx context.Context) (err error) {
	r.client = r.cfg.Target.Client
	if r.cfg.registers() {
		if r.client, err = r.made.register(ctx, r.admin, r.cfg.Target); err != nil {
			return err
		}
	} else if r.admin != nil {
		if r.before, err = findMark(ctx, r.admin, r.client.ID); err != nil {
			return err
		}
	}
	if r.verifier != nil {
		r.verifier.client = r.client.ID
	}
	if !r.cfg.registers() || r.endpoints[0].Introspection == "" {
		return nil
	}
	for _, e := range r.endpoints {
		if err := r.waitKnown(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// waitKnown waits until a replica knows the client: it then answers that no token is
// none that is active, which changes nothing.
func (r *run) waitKnown(ctx context.Context, at Endpoints) error {
	c := newConn(r.client, r.cfg.Target.TLS, r.cfg.Timeout)
	defer c.close()
	known := func(context.Context) error {
		a, err := c.post(at.Introspection, []byte("token=none"))
		if err != nil {
			return err
		}
		var told introspectionAnswer
		if f := a.readJSON(&told, false); f != nil {
			return errors.New(f.what)
		}
		return nil
	}
	return process.Eventually(ctx, "the client to be known everywhere", known)
}

// hire makes the workers, with what they are to hold.
func (r *run) hire(ctx context.Context) error {
	for _, text := range r.cfg.Target.RefreshTokens {
		r.lines = append(r.lines, &held{refresh: text})
	}
	seed := maphash.MakeSeed()
	for i := range r.cfg.Workers {
		w := &worker{
			conn: newConn(r.client, r.cfg.Target.TLS, r.cfg.Timeout), client: r.client, person: r.made.person, targets: r.cfg.Target.targets(), scope: r.cfg.Target.scopes(),
			at: r.endpoints[i%len(r.endpoints)], verifier: r.verifier, every: r.cfg.VerifyEvery, chancery: r.admin != nil,
			tally: r.tally, recorder: newRecorder(), hash: seed, grants: r.cfg.Grants,
			rng: mathrand.New(mathrand.NewPCG(uint64(i), 1)), //nolint:gosec // no secret
		}
		r.workers = append(r.workers, w)
	}
	for i, h := range r.lines {
		w := r.workers[i%len(r.workers)]
		w.held = append(w.held, h)
	}
	return r.prepare(ctx)
}

// needsTokens reports whether an operation uses tokens that workers hold.
func needsTokens(o Operation) bool { return o != ClientCredentials && o != Code && o != Revocation }

// prepare has every worker get what it needs.
func (r *run) prepare(ctx context.Context) error {
	if len(r.lines) > 0 || !slices.ContainsFunc(r.cfg.Operations, needsTokens) {
		return nil
	}
	r.cfg.Progress(fmt.Sprintf("getting %d grants", r.cfg.Workers*r.cfg.Grants))
	slots := make(chan struct{}, preparing)
	failures := make([]*failure, len(r.workers))
	var all sync.WaitGroup
	for i, w := range r.workers {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			for range r.cfg.Grants {
				if failures[i] = w.holdPatiently(ctx); failures[i] != nil || ctx.Err() != nil {
					return
				}
			}
		})
	}
	all.Wait()
	for _, f := range failures {
		if f != nil {
			return fmt.Errorf("getting tokens to work with: %s: %s", f.kind, f.what)
		}
	}
	return nil
}

// countEvents holds the log against the answers.
func (r *run) countEvents(ctx context.Context) error {
	types := r.tally.types()
	if r.admin == nil || len(types) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	r.cfg.Progress("counting events")
	counts, err := countEvents(ctx, r.admin, r.client.ID, r.before, types, func(n int64) {
		r.cfg.Progress(fmt.Sprintf("counting events: %d", n))
	})
	if err != nil {
		return err
	}
	r.report.Events = r.tally.compare(counts)
	return nil
}

// close takes back what was made, and stops what was started.
func (r *run) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	for _, w := range r.workers {
		w.close()
	}
	if r.authority != nil {
		return r.authority.stop()
	}
	if r.admin == nil {
		return nil
	}
	return r.made.remove(ctx, r.admin)
}

// keepTokens gives the refresh tokens as they are now, to be kept. Those that are no
// more are left out.
func (r *run) keepTokens() error {
	if len(r.lines) == 0 {
		return nil
	}
	r.report.TokensRefused, r.report.RefreshTokens = 0, nil
	for _, h := range r.lines {
		if h.dead {
			r.report.TokensRefused++
			continue
		}
		r.report.RefreshTokens = append(r.report.RefreshTokens, h.refresh)
	}
	if r.cfg.KeepTokens == nil {
		return nil
	}
	return r.cfg.KeepTokens(r.report.RefreshTokens)
}

// check reports whether there is an endpoint for an operation.
func (e Endpoints) check(o Operation) error {
	missing := func(name string) error {
		return fmt.Errorf("%s needs the %s endpoint, which is not known", o, name)
	}
	switch {
	case e.Token == "":
		return missing("token")
	case (o == Introspection || o == Mixed) && e.Introspection == "":
		return missing("introspection")
	case (o == Revocation || o == Mixed) && e.Revocation == "":
		return missing("revocation")
	case (o == Code || o == Mixed) && e.Authorization == "":
		return missing("authorization")
	}
	return nil
}
