package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A measurement is of one operation.
type measurement struct {
	operation Operation
	recorder  *recorder
	processes []observed

	// began and ended are zero if it was over before the end of the warm-up.
	began, ended time.Time
	before, used []usage
	own          [2]usage
	// known says that the system tells what processes use.
	known bool
}

// start ends the warm-up.
func (m *measurement) start() (err error) {
	if m.before, m.own[0], m.known, err = readUsage(m.processes); err != nil {
		return err
	}
	m.began = time.Now()
	m.recorder.begin(m.began)
	return nil
}

// stop is called at the deadline. Answers to come are checked, and not measured.
func (m *measurement) stop() (err error) {
	m.ended = time.Now()
	m.recorder.end(m.ended)
	m.used, m.own[1], m.known, err = readUsage(m.processes)
	return err
}

// measure measures one operation.
func (r *run) measure(ctx context.Context, o Operation) error {
	m := &measurement{operation: o, recorder: newRecorder(), processes: r.processes}
	working, stop := context.WithCancel(ctx)
	defer stop()
	var work sync.WaitGroup
	for _, w := range r.workers {
		w.recorder, w.spare = m.recorder, nil
		work.Go(func() { w.run(working, o) })
	}
	ended := make(chan struct{})
	go func() {
		work.Wait()
		close(ended)
	}()
	var err error
	if r.watch(ctx, ended, m, "warming up", r.cfg.Warmup) {
		if err = m.start(); err == nil {
			r.watch(ctx, ended, m, "measuring", r.cfg.Duration)
			err = m.stop()
		}
	}
	stop()
	<-ended
	r.report.Runs = append(r.report.Runs, m.result(r.cfg.Warmup))
	if r.authority != nil {
		err = errors.Join(err, r.authority.died())
	}
	return errors.Join(err, r.keepTokens())
}

// watch tells how a measurement goes, until it is over; false says that it ended before
// its time.
func (r *run) watch(ctx context.Context, ended <-chan struct{}, m *measurement, what string, length time.Duration) bool {
	over := time.NewTimer(length)
	defer over.Stop()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	before, _ := m.recorder.soFar()
	for began := time.Now(); ; {
		select {
		case <-tick.C:
			now, errs := m.recorder.soFar()
			r.cfg.Progress(fmt.Sprintf("%s: %s, %v of %v: %d/s, %d errors", m.operation, what, time.Since(began).Round(time.Second), length, now-before, errs))
			before = now
		case <-over.C:
			return true
		case <-ended:
			r.report.Interrupted = r.report.Interrupted || ctx.Err() != nil
			return false
		case <-ctx.Done():
			r.report.Interrupted = true
			return false
		}
	}
}

// result is what was measured.
func (m *measurement) result(warmup time.Duration) Result {
	m.recorder.mu.Lock()
	defer m.recorder.mu.Unlock()
	seconds := rounded(m.ended.Sub(m.began).Seconds(), 3)
	r := Result{
		Operation: m.operation, Seconds: seconds, WarmupSeconds: warmup.Seconds(), Requests: m.recorder.requests, WorkersEnded: m.recorder.left,
		Rows: []Row{}, Errors: []ErrorCount{}, Processes: []ProcessUse{}, ProcessesEnded: []string{}, Verified: m.recorder.verified,
	}
	for _, o := range Operations() {
		if of := m.recorder.rows[o]; of != nil {
			r.Rows = append(r.Rows, newRow(o, of, seconds))
		}
	}
	for f, n := range m.recorder.errors {
		r.Errors = append(r.Errors, ErrorCount{f.kind, f.what, n})
	}
	slices.SortFunc(r.Errors, func(a, b ErrorCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.What, b.What))
	})
	if m.known && len(m.used) == len(m.processes) {
		m.addUse(&r)
	}
	return r
}

// addUse adds what processes used. One that has ended is named instead.
func (m *measurement) addUse(r *Result) {
	done := r.done()
	for i, p := range m.processes {
		if m.before[i].ended || m.used[i].ended {
			r.ProcessesEnded = append(r.ProcessesEnded, p.name)
			continue
		}
		r.Processes = append(r.Processes, newProcessUse(p.name, p.pid, m.before[i], m.used[i], done))
	}
	own := newProcessUse("generator", 0, m.own[0], m.own[1], done)
	r.Generator = &own
}
