package revocations

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector"
)

const (
	// pollPause is between two looks for jobs that nobody works on, which costs
	// one small request.
	pollPause = 500 * time.Millisecond
	// lease is how long a record may stay as it is before its job is another's to
	// take. It is measured by whoever waits, so no clocks are compared. A worker
	// writes the record four times as often.
	lease = 4 * time.Second
	// stepTime bounds a step, which at the end counts all that was done, pageTime what is revoked of it, and
	// pagePatience how long rows are looked for before it is as long as it is.
	stepTime     = 5 * time.Minute
	pageTime     = 10 * time.Second
	pagePatience = time.Second
	// pageSize is how many events are worked on between two writes of the record,
	// and atOnce how many tokens of them at the same time; grants go in batches.
	pageSize = 200
	atOnce   = 16
	// jobsAtOnce is how many jobs a replica works on at the same time.
	jobsAtOnce = 4
	// trouble is how soon a page is tried again.
	trouble = time.Second
	// closing bounds what is written of a job that is let go.
	closing = time.Second
	// maxListed is how many jobs are listed.
	maxListed = 100
)

// Config is what a Runner works with. Every field is required.
type Config struct {
	Authority *authority.Authority
	Log       *eventlog.Log
	Reader    projector.Reader
	Addresses *secret.Addresses
	// Sealer encrypts the records of jobs.
	Sealer *secret.Sealer
	// Now is the time to decide by.
	Now    func() time.Time
	Logger *slog.Logger
}

// A Runner works on jobs, with those of all other replicas, until it is closed.
type Runner struct {
	cfg  Config
	jobs *jobs
	// id tells this runner's leases from those of others, its past ones too.
	id   string
	wake chan struct{}
	stop context.CancelFunc
	done sync.WaitGroup

	mu sync.Mutex
	// working are the jobs that this runner works on.
	working map[string]bool
}

// Start starts to work, whatever becomes of ctx. Close it.
func Start(ctx context.Context, cfg Config) (*Runner, error) {
	bucket, err := OpenBucket(ctx, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("open the bucket of revocations: %w", err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &Runner{
		cfg: cfg, jobs: &jobs{bucket: bucket, sealer: cfg.Sealer}, id: rand.Text(),
		wake: make(chan struct{}, 1), stop: stop, working: map[string]bool{},
	}
	r.done.Go(func() { r.run(ctx) })
	return r, nil
}

// Close stops working. What is not done is left to others, or to the next start.
func (r *Runner) Close() {
	r.stop()
	r.done.Wait()
}

// Begin keeps a job, which some replica will work on, and tells whether it is a
// new one. To begin it again by its id gives the one that there is; the refusal is
// rules.Conflict where that has another selection. An empty id draws one.
func (r *Runner) Begin(ctx context.Context, id string, s Selection, requestedBy string) (job Job, created bool, err error) {
	if refusal := s.Check(); refusal != nil {
		return job, false, refusal
	}
	if id == "" {
		id = rand.Text()
	}
	if !events.ValidID(id) {
		return job, false, &rules.Refusal{Reason: rules.BadParameter, Parameter: "id"}
	}
	if err := r.checkCutOff(ctx, s); err != nil {
		return job, false, err
	}
	heads, err := r.heads(ctx, s)
	if err != nil {
		return job, false, err
	}
	now := r.cfg.Now()
	job = Job{
		ID: id, Selection: s, RequestedBy: requestedBy, Created: now, Updated: now, State: Running, CutOff: s.cutOff(),
		Heads: heads, Positions: map[string]uint64{},
	}
	if created, err = r.jobs.create(ctx, job); err != nil || created {
		r.nudge()
		return job, created, err
	}
	there, err := r.Job(ctx, id)
	if err == nil && there.Selection != s {
		return there, false, &rules.Refusal{Reason: rules.Conflict, Parameter: "id"}
	}
	return there, false, err
}

// checkCutOff refuses to cut off whom there is not.
func (r *Runner) checkCutOff(ctx context.Context, s Selection) (err error) {
	switch s.cutOff() {
	case cutOffClient:
		_, err = r.cfg.Authority.Client(s.Client)
	case cutOffUser:
		_, err = r.cfg.Authority.User(ctx, s.User)
	}
	return err
}

// Job is a job as its record has it. The refusal is rules.NotFound.
func (r *Runner) Job(ctx context.Context, id string) (Job, error) {
	if events.ValidID(id) {
		if e, ok, err := r.jobs.get(ctx, id); ok || err != nil {
			return e.Job, err
		}
	}
	return Job{}, &rules.Refusal{Reason: rules.NotFound, Parameter: "id"}
}

// Jobs are the newest jobs, at most 100.
func (r *Runner) Jobs(ctx context.Context) ([]Job, error) {
	all, err := r.jobs.all(ctx)
	if err != nil && len(all) == 0 {
		return nil, err
	}
	found := []Job{}
	for _, e := range all[:min(len(all), maxListed)] {
		found = append(found, e.Job)
	}
	return found, nil
}

// nudge has the runner look for jobs at once.
func (r *Runner) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// A sighting is since when a record is as it is.
type sighting struct {
	revision uint64
	since    time.Time
}

// run looks for jobs until ctx ends.
func (r *Runner) run(ctx context.Context) {
	seen := map[string]sighting{}
	var open []entry
	var version uint64
	for {
		now, err := r.jobs.version(ctx)
		if err == nil && now != version {
			open, err = r.open(ctx)
			version = now
		}
		if err != nil && ctx.Err() == nil {
			version = 0
			r.cfg.Logger.Warn("cannot look for revocations to work on", "reason", err)
		}
		for _, e := range open {
			if r.free(seen, e) {
				r.take(ctx, e)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-time.After(pollPause):
		}
	}
}

// open are the jobs that are not done. One whose record cannot be read keeps
// none of the others waiting.
func (r *Runner) open(ctx context.Context) (open []entry, err error) {
	ctx, cancel := context.WithTimeout(ctx, pageTime)
	defer cancel()
	all, err := r.jobs.all(ctx)
	for _, e := range all {
		if e.State == Running {
			open = append(open, e)
		}
	}
	return open, err
}

// free reports whether nobody works on a job: it says so, or its record has been
// as it is for too long.
func (r *Runner) free(seen map[string]sighting, e entry) bool {
	if s, ok := seen[e.ID]; !ok || s.revision != e.revision {
		seen[e.ID] = sighting{e.revision, time.Now()}
	}
	return e.Worker == "" || time.Since(seen[e.ID].since) > lease
}

// Working is how many jobs this runner works on.
func (r *Runner) Working() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.working)
}

// take works on a job if this replica is the first to take it.
func (r *Runner) take(ctx context.Context, e entry) {
	r.mu.Lock()
	busy := r.working[e.ID] || len(r.working) >= jobsAtOnce
	if !busy {
		r.working[e.ID] = true
	}
	r.mu.Unlock()
	if busy {
		return
	}
	r.done.Go(func() {
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.working, e.ID)
		}()
		e.Worker, e.Updated = r.id, r.cfg.Now()
		taken, err := r.jobs.save(ctx, e)
		if err == nil {
			r.cfg.Logger.Info("works on a revocation", "job", e.ID)
			err = r.work(ctx, taken)
		}
		if err != nil && !errors.Is(err, errTaken) && ctx.Err() == nil {
			r.cfg.Logger.Warn("lets go of a revocation", "job", e.ID, "reason", err)
		}
	})
}
