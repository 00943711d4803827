package bench

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// A Report is what a run measured. The names of its members in JSON stay.
type Report struct {
	Issuer string `json:"issuer,omitempty"`
	// Authority is what was started, if anything was.
	Authority   *Layout `json:"authority,omitempty"`
	Workers     int     `json:"workers"`
	Grants      int     `json:"grants_per_worker"`
	VerifyEvery int     `json:"verify_every"`
	// Timeout is how long an answer could take, in seconds.
	Timeout float64 `json:"timeout_seconds"`
	// Version is that of this program, which is the authority's too if that was
	// started, and MaxProcs on how many processors it could run at once.
	Version  string `json:"version"`
	MaxProcs int    `json:"gomaxprocs"`
	// NotVerified says why no signature was verified, though it was asked for.
	NotVerified string   `json:"not_verified,omitempty"`
	Runs        []Result `json:"runs"`
	// Events are those in the log, where there is an admin key.
	Events []EventCount `json:"events,omitempty"`
	// TokensRefused are refresh tokens that were given and are no more: refused, or
	// given up since what became of the last request is not known.
	TokensRefused int `json:"refresh_tokens_refused"`
	// Interrupted says that it was ended before its time.
	Interrupted bool `json:"interrupted"`

	// RefreshTokens are the newest of those that were given.
	RefreshTokens []string `json:"-"`
}

// Layout is what an authority is made of. Without NATS servers it is one process.
type Layout struct {
	APIs        int `json:"apis"`
	Projectors  int `json:"projectors"`
	Partitions  int `json:"partitions"`
	NATSServers int `json:"nats_servers"`
}

// A Result is that of one operation.
type Result struct {
	Operation Operation `json:"operation"`
	// Seconds were measured, after WarmupSeconds that were not.
	Seconds       float64 `json:"seconds"`
	WarmupSeconds float64 `json:"warmup_seconds"`
	// Rows are one, or those of all operations of Mixed.
	Rows []Row `json:"rows"`
	// Requests are all that were sent in the measured time, also those that get what
	// an operation needs.
	Requests int64 `json:"requests"`
	// Errors are counted from the start of the warm-up on.
	Errors []ErrorCount `json:"errors"`
	// WorkersEnded are workers that ended early: all their grants were given up.
	WorkersEnded int `json:"workers_ended"`
	// Verified are access tokens whose signature and claims were verified.
	Verified int64 `json:"verified"`
	// Processes are what the processes used; none where that is not known.
	Processes []ProcessUse `json:"processes"`
	// ProcessesEnded are those that ended while it was measured, or before.
	ProcessesEnded []string `json:"processes_ended"`
	// Generator is what this program used.
	Generator *ProcessUse `json:"generator,omitempty"`
}

// A Row is what was measured of an operation that succeeded.
type Row struct {
	Operation Operation `json:"operation"`
	Done      int64     `json:"done"`
	Failed    int64     `json:"failed"`
	PerSecond float64   `json:"per_second"`
	P50       float64   `json:"p50_ms"`
	P95       float64   `json:"p95_ms"`
	P99       float64   `json:"p99_ms"`
	Max       float64   `json:"max_ms"`
}

// An ErrorCount is how often something failed in one way.
type ErrorCount struct {
	// Kind is status, transport or answer.
	Kind  string `json:"kind"`
	What  string `json:"what"`
	Count int64  `json:"count"`
}

// A ProcessUse is what a process used in the measured time.
type ProcessUse struct {
	Name string `json:"name"`
	PID  int    `json:"pid,omitempty"`
	// CPUSeconds are user and system time of all its threads.
	CPUSeconds float64 `json:"cpu_seconds"`
	// CPUPerDone is that divided by the operations that were done, in milliseconds.
	CPUPerDone float64 `json:"cpu_ms_per_done"`
	// RSS is its memory in the end, in bytes.
	RSS int64 `json:"rss_bytes"`
}

func newReport(c Config) Report {
	return Report{
		Workers: c.Workers, Grants: c.Grants, VerifyEvery: c.VerifyEvery, Timeout: c.Timeout.Seconds(),
		Version: c.Version, MaxProcs: runtime.GOMAXPROCS(0), Runs: []Result{},
	}
}

func newRow(o Operation, of *row, seconds float64) Row {
	longest := of.max.Microseconds() // a bucket of the histogram may end behind it
	at := func(percent float64) float64 {
		return float64(min(longest, of.times.ValueAtPercentile(percent))) / 1000
	}
	done := of.times.TotalCount()
	return Row{
		Operation: o, Done: done, Failed: of.failed, PerSecond: rounded(float64(done)/max(seconds, 0.001), 1),
		P50: at(50), P95: at(95), P99: at(99), Max: float64(longest) / 1000,
	}
}

func newProcessUse(name string, pid int, before, after usage, done int64) ProcessUse {
	cpu := after.cpu - before.cpu
	u := ProcessUse{Name: name, PID: pid, CPUSeconds: rounded(cpu.Seconds(), 3), RSS: after.rss}
	if done > 0 {
		u.CPUPerDone = rounded(float64(cpu)/float64(time.Millisecond)/float64(done), 4)
	}
	return u
}

// rounded is what there is to know of a figure.
func rounded(f float64, decimals int) float64 {
	unit := math.Pow10(decimals)
	return math.Round(f*unit) / unit
}

// done is how many operations succeeded.
func (r Result) done() (n int64) {
	for _, row := range r.Rows {
		n += row.Done
	}
	return n
}

// Problems is how much went wrong: requests that failed, and types of events of which
// the log has another number than was acknowledged.
func (r Report) Problems() (failed int64, differ int) {
	for _, of := range r.Runs {
		for _, e := range of.Errors {
			failed += e.Count
		}
	}
	for _, c := range r.Events {
		if !c.holds() {
			differ++
		}
	}
	return failed, differ
}

// Write tells the report to people.
func (r Report) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) }
	line("operation\tdone\tper s\tp50 ms\tp95 ms\tp99 ms\tmax ms\tfailed\t")
	for _, of := range r.Runs {
		if of.Seconds == 0 { // there was no measured time
			continue
		}
		if len(of.Rows) != 1 || of.Operation == Mixed {
			line("%s\t%d\t%.0f\t\t\t\t\t\t", of.Operation, of.done(), float64(of.done())/max(of.Seconds, 0.001))
		}
		for _, row := range of.Rows {
			name := string(row.Operation)
			if of.Operation == Mixed {
				name = "of it " + name
			}
			line("%s\t%d\t%.0f\t%.2f\t%.2f\t%.2f\t%.2f\t%d\t", name, row.Done, row.PerSecond, row.P50, row.P95, row.P99, row.Max, row.Failed)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if err := r.writeUse(w); err != nil {
		return err
	}
	return r.writeRest(w)
}

// writeUse writes what processes used.
func (r Report) writeUse(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "\noperation\tprocess\tCPU s\tCPU ms each\tRSS MiB\t")
	for _, of := range r.Runs {
		if of.Seconds == 0 { // there was no measured time
			continue
		}
		if of.Generator == nil {
			_, err := fmt.Fprintln(w, "\nCPU time and memory of processes: not known on this system")
			return err
		}
		for _, u := range append(slices.Clone(of.Processes), of.used()...) {
			_, _ = fmt.Fprintf(t, "%s\t%s\t%.2f\t%.3f\t%.0f\t\n", of.Operation, u.Name, u.CPUSeconds, u.CPUPerDone, float64(u.RSS)/(1<<20))
		}
	}
	return t.Flush()
}

// used is what all processes used together, where there are several, and what the
// generator used.
func (r Result) used() []ProcessUse {
	if len(r.Processes) < 2 {
		return []ProcessUse{*r.Generator}
	}
	sum := ProcessUse{Name: "together"}
	for _, u := range r.Processes {
		sum.CPUSeconds += u.CPUSeconds
		sum.CPUPerDone += u.CPUPerDone
		sum.RSS += u.RSS
	}
	return []ProcessUse{sum, *r.Generator}
}

// writeRest writes what is no figure.
func (r Report) writeRest(w io.Writer) (err error) {
	line := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, format+"\n", args...)
		}
	}
	line("\n%d workers, %d grants each, answers within %v s; on %d processors at once; %s", r.Workers, r.Grants, r.Timeout, r.MaxProcs, r.Version)
	if r.NotVerified != "" {
		line("no access token is verified: %s", r.NotVerified)
	}
	for _, of := range r.Runs {
		line("%s: %.1f s after %.1f s of warm-up; %d requests in all; %d access tokens verified", of.Operation, of.Seconds, of.WarmupSeconds, of.Requests, of.Verified)
		if of.WorkersEnded > 0 {
			line("%s: %d of the workers ended early, with no grant left", of.Operation, of.WorkersEnded)
		}
		for _, name := range of.ProcessesEnded {
			line("%s: the process %s has ended, so what it used is not known", of.Operation, name)
		}
		for _, e := range of.Errors {
			line("%s: ERROR %s, %s: %d times", of.Operation, e.Kind, e.What, e.Count)
		}
	}
	for _, c := range r.Events {
		say := ""
		if c.Unknown > 0 {
			say = fmt.Sprintf(", and up to %d of requests without an answer", c.Unknown)
		}
		if !c.holds() {
			say += ": THEY DIFFER"
		}
		line("events in the log: %d of %d %s%s", c.InLog, c.Acknowledged, c.Type, say)
	}
	if r.TokensRefused > 0 {
		line("%d of the refresh tokens were refused or given up", r.TokensRefused)
	}
	if r.Interrupted {
		line("interrupted: this is what there was until then")
	}
	return err
}
