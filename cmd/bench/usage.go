package bench

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// errNoUsage means that the system does not tell what processes use, and errEnded that
// there is no such process any more.
var (
	errNoUsage = errors.New("what processes use is known on Linux only")
	errEnded   = errors.New("the process has ended")
)

// A usage is what a process has used so far, and has now.
type usage struct {
	// cpu is user and system time, of all threads.
	cpu time.Duration
	// rss is the memory that is resident, in bytes.
	rss int64
	// started is when it was started, in clock ticks of the system.
	started uint64
	// ended says that there is no such process any more, and nothing else is known.
	ended bool
}

// observed is a process whose use is reported. Its number may become that of another.
type observed struct {
	name    string
	pid     int
	started uint64
}

// observe finds processes, by their names.
func observe(pids map[string]int) (all []observed, err error) {
	for name, pid := range pids {
		u, err := usageOf(pid)
		if err != nil && !errors.Is(err, errNoUsage) {
			return nil, fmt.Errorf("reading what process %d uses: %w", pid, err)
		}
		all = append(all, observed{name, pid, u.started})
	}
	slices.SortFunc(all, func(a, b observed) int { return cmp.Compare(a.name, b.name) })
	return all, nil
}

// usage is what the process uses.
func (p observed) usage() (usage, error) {
	u, err := usageOf(p.pid)
	switch {
	case errors.Is(err, errEnded) || err == nil && u.started != p.started:
		return usage{ended: true}, nil
	case err != nil:
		return u, fmt.Errorf("reading what process %d uses: %w", p.pid, err)
	}
	return u, nil
}

// readUsage reads what processes use, and this one; false means that the system does
// not tell.
func readUsage(processes []observed) (all []usage, own usage, known bool, err error) {
	own, err = ownUsage()
	if errors.Is(err, errNoUsage) {
		return nil, own, false, nil
	}
	if err != nil {
		return nil, own, false, err
	}
	for _, p := range processes {
		u, err := p.usage()
		if err != nil {
			return all, own, true, err
		}
		all = append(all, u)
	}
	return all, own, true, nil
}
