package hammer

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// A Report is what a run did and found.
type Report struct {
	Seed     uint64        `json:"seed"`
	Duration time.Duration `json:"duration"`
	Faults   []Fault       `json:"faults"`
	// LeftOut are faults that could not be made here, and why.
	LeftOut []string `json:"left_out,omitempty"`
	// Operations are how many there were of each kind, by outcomes.
	Operations map[Kind]map[Outcome]int `json:"operations"`
	// Grants are the histories that were checked, and Events are in the log.
	Grants int `json:"grants"`
	Events int `json:"events"`
	// Acknowledged are the operations that must have left an event, and Lost those
	// that have left none.
	Acknowledged int `json:"acknowledged"`
	Lost         int `json:"lost"`
	// Restarts is how often a process was started again that had ended by itself.
	Restarts int `json:"restarts"`
	// Refusal is how long after the acknowledgement of a revocation a replica was
	// first seen not to accept the access token. QuietRefusal is the same where
	// no fault was near.
	Refusal      Latency     `json:"revocation_to_refusal"`
	QuietRefusal Latency     `json:"revocation_to_refusal_without_fault"`
	Violations   []Violation `json:"violations"`
}

// Latency is how long something took.
type Latency struct {
	N   int           `json:"n"`
	P50 time.Duration `json:"p50"`
	P99 time.Duration `json:"p99"`
	Max time.Duration `json:"max"`
}

func newLatency(all []time.Duration) (l Latency) {
	if len(all) == 0 {
		return l
	}
	slices.Sort(all)
	at := func(percent int) time.Duration { return all[(len(all)-1)*percent/100] }
	return Latency{len(all), at(50), at(99), all[len(all)-1]}
}

// count fills in what the history tells.
func (r *Report) count(ops []Op) {
	r.Operations = map[Kind]map[Outcome]int{}
	for _, o := range ops {
		if r.Operations[o.Kind] == nil {
			r.Operations[o.Kind] = map[Outcome]int{}
		}
		r.Operations[o.Kind][o.Outcome]++
		if o.Outcome == OK && o.Kind != Introspect {
			r.Acknowledged++
		}
	}
	grants := byGrant(ops)
	r.Grants = len(grants)
	for i := range r.Faults {
		r.Faults[i].measure(ops)
	}
	var all, quiet []time.Duration
	for _, of := range grants {
		for _, took := range refusals(of) {
			all = append(all, took.took)
			if !r.disturbed(took.from, took.from+took.took) {
				quiet = append(quiet, took.took)
			}
		}
	}
	r.Refusal, r.QuietRefusal = newLatency(all), newLatency(quiet)
}

// disturbed reports whether there was a fault between two moments.
func (r *Report) disturbed(from, to time.Duration) bool {
	return slices.ContainsFunc(r.Faults, func(f Fault) bool { return from < f.Recovered && to > f.At })
}

// measure fills in what became of requests during the fault.
func (f *Fault) measure(ops []Op) {
	last := f.At
	var done []time.Duration
	for _, o := range ops {
		if o.Return >= f.At && o.Call <= f.Recovered {
			f.Requests++
			if o.failed() {
				f.Failed++
			}
		}
		if o.Kind != Introspect && o.Outcome == OK && o.Return >= f.At && o.Return <= f.Recovered {
			done = append(done, o.Return)
		}
	}
	slices.Sort(done)
	for _, at := range append(done, f.Recovered) {
		f.WriteGap = max(f.WriteGap, at-last)
		last = at
	}
}

// refusal is when a revocation was acknowledged, and how long a replica took.
type refusal struct{ from, took time.Duration }

// refusals are how long each replica took to refuse an access token of a grant.
func refusals(ops []Op) (all []refusal) {
	for _, r := range ops {
		if r.Kind != Revoke || r.Outcome != OK {
			continue
		}
		seen := map[string]bool{}
		for _, o := range ops { // in the order of their invocations
			if o.Kind != Introspect || o.Call < r.Return || o.Outcome == NotSent || o.Active || seen[o.Replica] {
				continue
			}
			seen[o.Replica] = true
			all = append(all, refusal{r.Return, o.Return - r.Return})
		}
	}
	return all
}

// Write tells the report to people.
func (r *Report) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) }
	line("AT\tFAULT\tTARGET\tHEALED AFTER\tREADY AFTER\tNO WRITE FOR\tREQUESTS\tFAILED")
	for _, f := range r.Faults {
		line("%v\t%s\t%s\t%v\t%v\t%v\t%d\t%d", round(f.At), f.Name, f.Target, round(f.Healed-f.At), round(f.Recovered-f.Healed), round(f.WriteGap), f.Requests, f.Failed)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, what := range r.LeftOut {
		line("left out: %s", what)
	}
	line("\nOPERATION\tOK\tREFUSED\tUNKNOWN\tNOT SENT")
	for _, kind := range sortedKeys(r.Operations) {
		of := r.Operations[kind]
		line("%s\t%d\t%d\t%d\t%d", kind, of[OK], of[Refused], of[Unknown], of[NotSent])
	}
	line("\nseed %d, %v: %d grants checked, %d events in the log, %d acknowledged, %d of them lost; %d restarts of processes that ended by themselves",
		r.Seed, round(r.Duration), r.Grants, r.Events, r.Acknowledged, r.Lost, r.Restarts)
	for _, l := range []struct {
		name string
		Latency
	}{{"revocation to refusal", r.Refusal}, {"  where no fault was near", r.QuietRefusal}} {
		line("%s: p50 %v, p99 %v, longest %v, of %d", l.name, round(l.P50), round(l.P99), round(l.Max), l.N)
	}
	for _, v := range r.Violations {
		line("VIOLATION %s: %s", v.Name, v.Detail)
	}
	line("%d violations", len(r.Violations))
	return t.Flush()
}

func round(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}
