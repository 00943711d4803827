package bench

import (
	"errors"
	"time"
)

// errNoUsage means that the system does not tell what processes use.
var errNoUsage = errors.New("what processes use is known on Linux only")

// A usage is what a process has used so far, and has now.
type usage struct {
	// cpu is user and system time, of all threads.
	cpu time.Duration
	// rss is the memory that is resident, in bytes.
	rss int64
}
