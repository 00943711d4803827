package revocations

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector"
)

// work goes on with a job until it is over, another replica has it, or ctx ends.
// A page that could not be done, because the log or a read model does not answer,
// is done again: what it has ended is found to have ended.
func (r *Runner) work(ctx context.Context, e entry) error {
	step := r.pages(e.Job)
	for e.State == Running {
		next, err := r.beating(ctx, &e, step)
		switch {
		case errors.Is(err, errTaken):
			return err
		case ctx.Err() != nil:
			return r.letGo(ctx, e)
		case err == nil:
			next.Trouble = ""
		case passes(err):
			next = e.Job
			next.Trouble = err.Error()
			r.cfg.Logger.Warn("a revocation has to wait", "job", e.ID, "reason", err)
			step = r.pages(e.Job)
		default:
			next = e.Job
			next.State, next.Reason = Failed, err.Error()
		}
		next.Updated = r.cfg.Now()
		if next.State != Running {
			next.Worker = ""
		}
		if e, err = r.keep(ctx, entry{next, e.revision}); err != nil && ctx.Err() != nil {
			return r.letGo(ctx, e)
		}
		if err != nil {
			return err
		}
		if e.Trouble != "" && !pause(ctx, trouble) {
			return r.letGo(ctx, e)
		}
	}
	r.cfg.Logger.Info("a revocation is over", "job", e.ID, "state", e.State, "grants", e.GrantsRevoked, "tokens", e.TokensRevoked)
	return nil
}

// passes reports whether what went wrong may be otherwise in a moment.
func passes(err error) bool {
	if refusal, ok := errors.AsType[*rules.Refusal](err); ok {
		return refusal.Reason == authority.Unavailable
	}
	return errors.Is(err, projector.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// beating does a step and writes the record meanwhile, so that others see that
// it is being worked on. The step ends when another replica has the job.
func (r *Runner) beating(ctx context.Context, e *entry, step func(context.Context, Job) (Job, error)) (next Job, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	job := e.Job
	done := make(chan struct{})
	r.done.Go(func() {
		defer close(done)
		next, err = step(ctx, job)
	})
	beat := time.NewTicker(lease / 4)
	defer beat.Stop()
	for {
		select {
		case <-done:
			return next, err
		case <-beat.C:
		}
		e.Updated = r.cfg.Now()
		saved, saveErr := r.jobs.save(ctx, *e)
		if saveErr != nil {
			saved, saveErr = r.still(ctx, *e)
		}
		if errors.Is(saveErr, errTaken) {
			cancel()
			<-done
			return next, errTaken
		}
		if saveErr == nil {
			*e = saved
		}
	}
}

// still is a job whose record this replica could not write, or does not know
// whether it has: to be written over what is there, or errTaken.
func (r *Runner) still(ctx context.Context, e entry) (entry, error) {
	there, ok, err := r.jobs.get(ctx, e.ID)
	switch {
	case err != nil:
		return e, err
	case ok && there.Worker == r.id:
		e.revision = there.revision
		return e, nil
	case ok && there.State == e.State && there.State != Running && there.Updated.Equal(e.Updated):
		return there, nil // this replica's last word, which names no worker
	}
	return e, errTaken
}

// keep saves a job. Where it is not known whether the record was written, it is
// read: it is still this replica's, or another's by now.
func (r *Runner) keep(ctx context.Context, e entry) (entry, error) {
	for {
		saved, err := r.jobs.save(ctx, e)
		if err == nil {
			return saved, nil
		}
		there, stillErr := r.still(ctx, e)
		switch {
		case errors.Is(stillErr, errTaken):
			return e, errTaken
		case stillErr == nil && there.Worker == "":
			return there, nil
		case stillErr == nil:
			e = there
		}
		if !pause(ctx, trouble) {
			return e, errors.Join(err, ctx.Err())
		}
	}
}

// letGo says that nobody works on a job, so that another replica need not wait.
func (r *Runner) letGo(ctx context.Context, e entry) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
	defer cancel()
	e.Worker, e.Updated = "", r.cfg.Now()
	_, err := r.jobs.save(ctx, e)
	return err
}

// pages gives what does the next page of a job.
func (r *Runner) pages(job Job) func(context.Context, Job) (Job, error) {
	if job.CutOff != "" {
		return r.cutOff
	}
	w := r.walk(job.Selection.query(), job.Selection.Address, job.Positions, job.Heads)
	return func(ctx context.Context, job Job) (Job, error) {
		rows, more, err := w.page(ctx, pageSize, pagePatience)
		if err != nil {
			return job, err
		}
		did, err := r.revoke(ctx, job.ID, rows)
		if err != nil {
			return job, err
		}
		job.add(did)
		job.Positions = w.trail.Places()
		if !more {
			return r.finish(ctx, job)
		}
		return job, nil
	}
}

// caller is the request that events of a job come of.
func caller(id string) authority.Caller { return authority.Caller{Request: id} }

// cutOff does a job that is one event.
func (r *Runner) cutOff(ctx context.Context, job Job) (_ Job, err error) {
	ctx, cancel := context.WithTimeout(ctx, pageTime)
	defer cancel()
	after := job.Heads[r.cfg.Log.Realm().RegistryStream()]
	if job.CutOff == cutOffClient {
		err = r.cfg.Authority.CutOffClientOnce(ctx, job.Selection.Client, after, caller(job.ID))
	} else {
		err = r.cfg.Authority.CutOffUserOnce(ctx, job.Selection.User, after, caller(job.ID))
	}
	if err == nil {
		job.State = Done
	}
	return job, err
}

// revoke ends what the events of a page issued: grants first, so that a token
// that ends with its grant is found to have ended.
func (r *Runner) revoke(ctx context.Context, id string, rows []projector.Traced) (did Progress, err error) {
	ctx, cancel := context.WithTimeout(ctx, pageTime)
	defer cancel()
	if err := r.cfg.Authority.FreshEverywhere(ctx); err != nil {
		return did, err
	}
	did.Examined = int64(len(rows))
	grants, tokens, err := unitsOf(rows)
	if err != nil {
		return did, err
	}
	if did.GrantsRevoked, err = r.cfg.Authority.EndGrantsAsAdmin(ctx, grants, caller(id)); err != nil {
		return did, err
	}
	did.TokensRevoked, err = r.endTokens(ctx, id, tokens)
	did.AlreadyEnded = did.Examined - did.GrantsRevoked - did.TokensRevoked
	return did, err
}

// unitsOf are the grants and the tokens of a page, each once.
func unitsOf(rows []projector.Traced) (grants []events.GrantID, tokens []projector.Traced, err error) {
	seen := map[string]bool{}
	for _, row := range rows {
		switch {
		case slices.Contains(ofToken, row.Type):
			tokens = append(tokens, row)
		case !seen[row.Grant]:
			seen[row.Grant] = true
			id, err := events.ParseGrantID(row.Grant)
			if err != nil {
				return nil, nil, fmt.Errorf("grant of sequence %d: %w", row.Seq, err)
			}
			grants = append(grants, id)
		}
	}
	return grants, tokens, nil
}

// endTokens ends tokens, some at once, and tells how many of them stood.
func (r *Runner) endTokens(ctx context.Context, job string, tokens []projector.Traced) (int64, error) {
	var ended atomic.Int64
	errs := make([]error, min(atOnce, len(tokens)))
	var working sync.WaitGroup
	for first := range errs {
		working.Go(func() {
			for i := first; i < len(tokens) && errs[first] == nil; i += atOnce {
				row := tokens[i]
				stands, err := r.tokenStands(ctx, row)
				if err == nil && stands {
					err = r.cfg.Authority.EndTokenAsAdmin(ctx, r.partition(row.Stream), row.JTI, row.Client, row.Expires, caller(job))
					ended.Add(1)
				}
				errs[first] = err
			}
		})
	}
	working.Wait()
	return ended.Load(), errors.Join(errs...)
}

func (r *Runner) tokenStands(ctx context.Context, row projector.Traced) (bool, error) {
	root, _ := events.ParseGrantID(row.Grant) // zero for none
	return r.cfg.Authority.TokenStands(ctx, authority.TokenIndex{
		Partition: r.partition(row.Stream), Seq: row.Seq, JTI: row.JTI, Client: row.Client, Root: root, Expires: row.Expires,
		Exchanged: row.Parent != "",
	})
}

// partition is that of a stream that a walk goes over: of one, by its name.
func (r *Runner) partition(stream string) events.Partition {
	p, _ := r.cfg.Log.Realm().PartitionOf(stream)
	return p
}

// finish takes the numbers from the log: a page that was done twice has counted
// what it ended the first time as ended before.
func (r *Runner) finish(ctx context.Context, job Job) (Job, error) {
	heads, err := r.heads(ctx, job.Selection)
	if err != nil {
		return job, err
	}
	job.GrantsRevoked, job.TokensRevoked = 0, 0
	q := projector.AuditQuery{
		Types:   []string{events.GrantRevoked{}.Type(), events.AccessTokenRevoked{}.Type()},
		Request: job.ID, Since: job.Created.Add(-time.Minute),
	}
	err = eachRow(ctx, r.walk(q, netip.Addr{}, nil, heads), func(row projector.Traced) error {
		if row.Type == (events.GrantRevoked{}).Type() {
			job.GrantsRevoked++
		} else {
			job.TokensRevoked++
		}
		return nil
	})
	job.AlreadyEnded = job.Examined - job.GrantsRevoked - job.TokensRevoked
	if err == nil {
		job.State = Done
	}
	return job, err
}

// pause is false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
