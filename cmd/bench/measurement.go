package bench

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"
)

// A measurement is of one operation, from the end of its warm-up.
type measurement struct {
	operation Operation
	recorder  *recorder
	processes map[string]int

	began, ended time.Time
	before, used map[string]usage
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
	m.recorder.begin()
	return nil
}

// stop is called when all workers have their last answers.
func (m *measurement) stop() (err error) {
	m.ended = time.Now()
	m.used, m.own[1], m.known, err = readUsage(m.processes)
	return err
}

// readUsage reads what processes use, and this one; false means that the system does
// not tell.
func readUsage(pids map[string]int) (all map[string]usage, own usage, known bool, err error) {
	own, err = ownUsage()
	if errors.Is(err, errNoUsage) {
		return nil, own, false, nil
	}
	if err != nil {
		return nil, own, false, err
	}
	all = make(map[string]usage, len(pids))
	for name, pid := range pids {
		if all[name], err = usageOf(pid); err != nil {
			return all, own, true, err
		}
	}
	return all, own, true, nil
}

// result is what was measured.
func (m *measurement) result(warmup time.Duration) Result {
	m.recorder.mu.Lock()
	defer m.recorder.mu.Unlock()
	seconds := rounded(m.ended.Sub(m.began).Seconds(), 3)
	r := Result{
		Operation: m.operation, Seconds: seconds, WarmupSeconds: warmup.Seconds(), Requests: m.recorder.requests,
		Rows: []Row{}, Errors: []ErrorCount{}, Processes: []ProcessUse{}, Verified: m.recorder.verified,
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
	if !m.known {
		return r
	}
	done := r.done()
	for _, name := range slices.Sorted(maps.Keys(m.processes)) {
		r.Processes = append(r.Processes, newProcessUse(name, m.processes[name], m.before[name], m.used[name], done))
	}
	own := newProcessUse("generator", 0, m.own[0], m.own[1], done)
	r.Generator = &own
	return r
}
