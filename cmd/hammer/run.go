package hammer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/chancery-authority/chancery/cmd/process"
)

const (
	// probeEvery is how often one token is asked for, to see when writing stops.
	probeEvery = 50 * time.Millisecond
	// think is how long a person waits between two requests.
	think = 30 * time.Millisecond
	// verifyTimeout bounds all checks in the end.
	verifyTimeout = 5 * time.Minute
)

// Config says what to run and what to break.
type Config struct {
	// Program is the chancery binary, and NATSServer that of the NATS servers,
	// the one in Program if empty.
	Program, NATSServer string
	// Dir is an empty directory for everything that is kept.
	Dir string
	// Duration is how long faults are made, and Seed decides which.
	Duration time.Duration
	Seed     uint64
	// Faults are the names of those to choose from.
	Faults []string
	// APIs, Projectors and Workers are how many there are of each.
	APIs, Projectors, Workers int
	// Out is told what happens.
	Out io.Writer
}

// check reports what cannot be run.
func (c Config) check() error {
	for _, name := range c.Faults {
		if !slices.Contains(AllFaults(), name) {
			return fmt.Errorf("there is no fault %q", name)
		}
	}
	if c.APIs < 1 || c.Projectors < 1 || c.Workers < 1 {
		return errors.New("there must be an API replica, a projector and a worker at least")
	}
	entries, err := os.ReadDir(c.Dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s is not empty", c.Dir)
	}
	return err
}

// Run runs an authority under faults, and reports. The error is nil also where
// promises were not kept: that is in the report.
func Run(ctx context.Context, cfg Config) (r Report, err error) {
	if err := cfg.check(); err != nil {
		return r, fmt.Errorf("hammer: %w", err)
	}
	h := &hammer{cfg: cfg, report: Report{Seed: cfg.Seed, Faults: []Fault{}, Violations: []Violation{}}}
	if h.cluster, err = newCluster(ctx, cfg); err != nil {
		return r, fmt.Errorf("hammer: %w", err)
	}
	defer func() { err = errors.Join(err, h.cluster.Close()) }()
	if err := h.run(ctx); err != nil {
		return h.report, fmt.Errorf("hammer: %w", err)
	}
	return h.report, h.save()
}

// hammer is one run.
type hammer struct {
	cfg      Config
	cluster  *Cluster
	balancer *balancer
	recorder *recorder
	workers  []*worker
	prober   *worker
	faults   []string
	report   Report
}

func (h *hammer) say(format string, args ...any) {
	_, _ = fmt.Fprintf(h.cfg.Out, format+"\n", args...)
}

func (h *hammer) run(ctx context.Context) error {
	h.prepareDisk()
	began := time.Now()
	if err := h.cluster.Start(ctx); err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	var watches sync.WaitGroup
	defer watches.Wait()
	defer stop()
	h.balancer = newBalancer(h.cluster)
	for i := range h.cluster.APIs {
		watches.Go(func() { h.balancer.watch(watching, i) })
	}
	if err := h.people(ctx); err != nil {
		return err
	}
	h.say("%d NATS servers, %d API replicas and %d projectors are ready after %v", nodes, h.cfg.APIs, h.cfg.Projectors, time.Since(began).Round(time.Millisecond))
	recovered := h.load(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return h.verify(ctx, recovered)
}

// prepareDisk leaves out the fault of a full disk where there can be none.
func (h *hammer) prepareDisk() {
	h.faults = slices.Clone(h.cfg.Faults)
	if !slices.Contains(h.faults, DiskFull) {
		return
	}
	if err := h.cluster.makeDisk(h.cluster.Nodes[nodes-1].store); err != nil {
		h.say("%s is left out: %v", DiskFull, err)
		h.report.LeftOut = append(h.report.LeftOut, DiskFull+": "+err.Error())
		h.faults = slices.DeleteFunc(h.faults, func(name string) bool { return name == DiskFull })
	}
}

// people registers who uses the authority, and waits until all replicas know
// them.
func (h *hammer) people(ctx context.Context) error {
	h.recorder = newRecorder()
	for i := range h.cfg.Workers {
		h.workers = append(h.workers, newWorker(h.cfg.Seed, i, h.balancer, h.recorder, think))
	}
	err := process.Eventually(ctx, "a replica that is ready", func(context.Context) error {
		for i := range h.balancer.ready {
			if !h.balancer.ready[i].Load() {
				return errors.New("not all replicas are ready")
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	all, err := setUp(ctx, h.balancer, h.workers)
	if err != nil {
		return err
	}
	h.prober = newWorker(h.cfg.Seed, h.cfg.Workers, h.balancer, h.recorder, 0)
	h.prober.name, h.prober.clients = "probe", all
	for i := range h.cluster.APIs {
		err := process.Eventually(ctx, "clients to be known everywhere", func(ctx context.Context) error {
			r := h.prober.tokenRequest(all.service, i, "grant_type", "client_credentials")
			r.only = true
			if o, _ := h.prober.do(ctx, Op{Kind: Issue}, r); o.Outcome != OK {
				return fmt.Errorf("%s answers %d", o.Replica, o.Status)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// load runs the workload and the faults, and reports whether all was ready in
// the end.
func (h *hammer) load(ctx context.Context) (recovered bool) {
	probing, stopProbe := context.WithCancel(ctx)
	working, stopWork := context.WithCancel(ctx)
	var probe, work sync.WaitGroup
	probe.Go(func() { h.prober.probe(probing, probeEvery) })
	for _, w := range h.workers {
		work.Go(func() { w.run(working) })
	}
	recovered = h.breakThings(ctx)
	stopWork()
	work.Wait()
	found := make([]violations, len(h.workers))
	for i, w := range h.workers {
		work.Go(func() { found[i] = w.final(ctx) })
	}
	work.Wait()
	h.broken(slices.Concat(found...))
	stopProbe()
	probe.Wait()
	h.report.Duration = h.recorder.now()
	for _, s := range h.cluster.services() {
		h.report.Restarts += s.Restarts
	}
	return recovered
}

// breakThings makes one fault after the other for as long as it is told to, each
// after all has recovered from the one before.
func (h *hammer) breakThings(ctx context.Context) (recovered bool) {
	end := h.recorder.now() + h.cfg.Duration
	next := plan(h.cfg.Seed, h.faults)
	for ctx.Err() == nil && h.recorder.now() < end {
		if len(h.faults) == 0 {
			return sleep(ctx.Done(), h.cfg.Duration)
		}
		p := next()
		sleep(ctx.Done(), p.quiet)
		f := Fault{Name: p.name, At: h.recorder.now()}
		var err error
		f.Target, err = h.cluster.inflict(ctx, p)
		f.Healed = h.recorder.now()
		if err == nil {
			err = h.recover(ctx)
		}
		f.Recovered = h.recorder.now()
		h.report.Faults = append(h.report.Faults, f)
		h.say("%8v  %-18s %s, taken back after %v, all ready %v later", f.At.Round(time.Millisecond), f.Name, f.Target,
			(f.Healed - f.At).Round(time.Millisecond), (f.Recovered - f.Healed).Round(time.Millisecond))
		if err != nil {
			if ctx.Err() == nil {
				h.violated(NotRecovered, "after %s of %s: %v", f.Name, f.Target, err)
			}
			return false
		}
	}
	return true
}

// recover waits until all is ready and something can be written again.
func (h *hammer) recover(ctx context.Context) error {
	if err := h.cluster.WaitReady(ctx); err != nil {
		return err
	}
	return process.Eventually(ctx, "an event to be written", func(ctx context.Context) error {
		r := h.prober.tokenRequest(h.prober.clients.service, 0, "grant_type", "client_credentials")
		if o, _ := h.prober.do(ctx, Op{Kind: Issue}, r); o.Outcome != OK {
			return fmt.Errorf("%s answers %d", o.Replica, o.Status)
		}
		return nil
	})
}

func (h *hammer) violated(name, format string, args ...any) {
	v := violations(h.report.Violations)
	v.add(name, format, args...)
	h.report.Violations = v
}

// verify is the check of all promises.
func (h *hammer) verify(ctx context.Context, recovered bool) error {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	ops := h.recorder.history()
	h.report.count(ops)
	h.broken(CheckHistory(ops))
	if !recovered {
		return nil // the log may not be readable, and that it is not is said
	}
	look := newSearcher(h.planted())
	log, err := h.cluster.readLog(ctx, look)
	if err != nil {
		return err
	}
	for _, of := range log {
		h.report.Events += len(of)
	}
	wrong := CheckLog(ops, log)
	for _, v := range wrong {
		if v.Name == LostEvent {
			h.report.Lost++
		}
	}
	h.broken(wrong)
	h.broken(h.cluster.verifyLog(ctx))
	for _, s := range h.cluster.services() {
		if err := s.Stop(); err != nil {
			h.violated(NotRecovered, "%v", err)
		}
	}
	differ, err := h.cluster.verifyModels(ctx)
	if err != nil {
		return err
	}
	h.broken(differ)
	if err := look.files(h.cfg.Dir); err != nil {
		return err
	}
	h.broken(look.found)
	return nil
}

func (h *hammer) broken(v []Violation) { h.report.Violations = append(h.report.Violations, v...) }

func (h *hammer) planted() []string {
	all := h.cluster.secrets.Planted
	for _, w := range append(h.workers, h.prober) {
		w.mu.Lock()
		all = append(all, w.planted...)
		w.mu.Unlock()
	}
	return append(all, wrongVerifier, verifier)
}

// save writes the report and the history.
func (h *hammer) save() error {
	text, err := json.MarshalIndent(h.report, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(h.cfg.Dir, "report.json"), append(text, '\n'), 0o600); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(h.cfg.Dir, "history.ndjson"))
	if err != nil {
		return err
	}
	to := json.NewEncoder(f)
	for _, o := range h.recorder.history() {
		if err := to.Encode(o); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}
