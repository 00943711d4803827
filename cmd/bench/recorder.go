package bench

import (
	"maps"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// longest is the longest time that a histogram tells apart, in microseconds, and
	// digits how exactly.
	longest = int64(2 * time.Minute / time.Microsecond)
	digits  = 3
)

// A sample is one operation that was tried.
type sample struct {
	operation Operation
	span
	// failure is nil if it succeeded. Of a request before the one that is measured
	// there is no span.
	failure *failure
}

// A recorder gathers samples of one measurement from all workers.
type recorder struct {
	mu sync.Mutex
	// What is answered is measured from the end of the warm-up on until the deadline.
	// Both are zero before.
	from, until time.Time
	rows        map[Operation]*row
	errors      map[failure]int64
	// requests are all that were sent in the measured time, also those that are not
	// measured, and answered those that are, from the start on.
	requests int64
	answered int64
	verified int64
	// left are workers that had nothing left to work with.
	left int
}

type row struct {
	times  *hdrhistogram.Histogram
	max    time.Duration
	failed int64
}

func newRecorder() *recorder {
	return &recorder{rows: map[Operation]*row{}, errors: map[failure]int64{}}
}

// begin ends the warm-up.
func (r *recorder) begin(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.from = now
}

// end is the deadline.
func (r *recorder) end(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until = now
}

// measures reports whether a time is within the measured time.
func (r *recorder) measures(t time.Time) bool {
	return !r.from.IsZero() && !t.Before(r.from) && (r.until.IsZero() || !t.After(r.until))
}

func (r *recorder) add(s sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answered++
	if s.failure != nil {
		r.errors[*s.failure]++
	}
	if s.received.IsZero() {
		s.received = time.Now()
	}
	if !r.measures(s.received) {
		return
	}
	of := r.rows[s.operation]
	if of == nil {
		of = &row{times: hdrhistogram.New(1, longest, digits)}
		r.rows[s.operation] = of
	}
	if s.failure != nil {
		of.failed++
		return
	}
	of.max = max(of.max, s.took())
	_ = of.times.RecordValue(min(longest, max(1, s.took().Microseconds()))) // within its bounds
}

// requested counts a request that was sent, whatever for.
func (r *recorder) requested(sent time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.measures(sent) {
		r.requests++
	}
}

// leave counts a worker that has nothing left to work with.
func (r *recorder) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left++
}

func (r *recorder) verifiedOne() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verified++
}

// soFar is how many operations and errors there were.
func (r *recorder) soFar() (answered, errors int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.errors {
		errors += n
	}
	return r.answered, errors
}

// A tally counts what must be in the log, by types of events.
type tally struct {
	mu sync.Mutex
	// acknowledged were answered, so there is an event of each. unknown got no answer,
	// or one that does not tell: there may be one.
	acknowledged, unknown map[string]int64
}

func newTally() *tally {
	return &tally{acknowledged: map[string]int64{}, unknown: map[string]int64{}}
}

func (t *tally) add(to map[string]int64, fact string) {
	if fact == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	to[fact]++
}

func (t *tally) counts() (acknowledged, unknown map[string]int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.acknowledged), maps.Clone(t.unknown)
}
