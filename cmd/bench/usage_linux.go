package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"
)

// tick is the unit of times in /proc (USER_HZ), which is 1/100 s wherever Go runs.
const tick = 10 * time.Millisecond

// usageOf reads what a process uses (proc_pid_stat(5)).
func usageOf(pid int) (u usage, err error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return u, errEnded
	}
	if err != nil {
		return u, err
	}
	return parseStat(text)
}

// parseStat reads the fields state, utime, stime, starttime and rss, which are 3, 14, 15,
// 22 and 24. The second is a name in parentheses and may hold anything.
func parseStat(text []byte) (u usage, err error) {
	end := bytes.LastIndexByte(text, ')')
	fields := bytes.Fields(text[end+1:])
	if end < 0 || len(fields) < 22 {
		return u, errors.New("it has too few fields")
	}
	if state := fields[0][0]; state == 'Z' || state == 'X' { // it waits for its parent to notice
		return u, errEnded
	}
	var user, system, started, pages int64
	for at, to := range map[int]*int64{11: &user, 12: &system, 19: &started, 21: &pages} {
		n, err := strconv.ParseInt(string(fields[at]), 10, 64)
		if err != nil {
			return u, err
		}
		*to = n
	}
	return usage{cpu: time.Duration(user+system) * tick, rss: pages * int64(os.Getpagesize()), started: uint64(started)}, nil //nolint:gosec // it is positive
}

// ownUsage is what this process uses, more exactly.
func ownUsage() (usage, error) {
	u, err := usageOf(os.Getpid())
	if err != nil {
		return u, fmt.Errorf("reading what this process uses: %w", err)
	}
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return u, fmt.Errorf("reading what this process uses: %w", err)
	}
	u.cpu = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	return u, nil
}
