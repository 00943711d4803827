package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

const (
	// progressPause is between two states of a line on a terminal, and
	// progressLines between two lines elsewhere.
	progressPause = 200 * time.Millisecond
	progressLines = 10 * time.Second
	progressWidth = 30
)

// progress tells how far something long has come: on a terminal a line that
// moves, elsewhere a line from time to time.
type progress struct {
	to       io.Writer
	what     string
	total    uint64
	terminal bool
	started  time.Time
	told     time.Time
	done     uint64
}

func newProgress(to io.Writer, what string, total uint64) *progress {
	f, ok := to.(*os.File)
	now := time.Now()
	return &progress{
		to: to, what: what, total: total, started: now, told: now,
		terminal: ok && term.IsTerminal(int(f.Fd())), //nolint:gosec // a file's number
	}
}

// at says that so much is done.
func (p *progress) at(done uint64) {
	p.done = done
	pause := progressLines
	if p.terminal {
		pause = progressPause
	}
	if time.Since(p.told) < pause {
		return
	}
	p.told = time.Now()
	_ = p.line() // whoever does not see it misses nothing
}

// end says how it ended.
func (p *progress) end() error {
	err := p.line()
	if p.terminal {
		_, err = fmt.Fprintln(p.to)
	}
	return err
}

func (p *progress) line() error {
	rate := float64(p.done) / max(time.Since(p.started).Seconds(), 0.001)
	share := 1.0
	if p.total > 0 {
		share = min(1, float64(p.done)/float64(p.total))
	}
	text := fmt.Sprintf("%s: %d of %d (%.0f%%), %.0f/s", p.what, p.done, p.total, 100*share, rate)
	if left := p.left(rate); left > 0 {
		text += ", " + left.String() + " left"
	}
	if !p.terminal {
		_, err := fmt.Fprintln(p.to, text)
		return err
	}
	full := int(share * progressWidth)
	_, err := fmt.Fprintf(p.to, "\r[%s%s] %s\x1b[K", strings.Repeat("#", full), strings.Repeat(".", progressWidth-full), text)
	return err
}

func (p *progress) left(rate float64) time.Duration {
	if p.done == 0 || p.done >= p.total {
		return 0
	}
	return time.Duration(float64(p.total-p.done) / rate * float64(time.Second)).Round(time.Second)
}
