package hammer

import (
	"os"
	"strings"
	"time"
)

// SteppedClock is the wall clock, off by what a file says (as "-90s"), and right
// while the file is not there. It has no monotonic reading.
func SteppedClock(file string) func() time.Time {
	return func() time.Time {
		text, err := os.ReadFile(file)
		if err != nil {
			return time.Now().Round(0)
		}
		off, err := time.ParseDuration(strings.TrimSpace(string(text)))
		if err != nil {
			return time.Now().Round(0)
		}
		return time.Now().Round(0).Add(off)
	}
}

// stepClock sets what a SteppedClock is off; 0 makes it right.
func stepClock(file string, off time.Duration) error {
	beside := file + ".new"
	if err := os.WriteFile(beside, []byte(off.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(beside, file)
}
