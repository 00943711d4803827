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
	// progressEvery between two lines elsewhere.
	progressPause = 100 * time.Millisecond
	progressEvery = 5 * time.Second
	barWidth      = 30
)

// progress tells how far something long has come: on a terminal by one line that
// changes, elsewhere by a line from time to time. Whoever cannot read it misses
// nothing.
type progress struct {
	to       io.Writer
	terminal bool
	// last is what was told last, and open says that it is not a line yet.
	last string
	open bool
	at   time.Time
}

func newProgress(to io.Writer) *progress { return &progress{to: to, terminal: isTerminal(to)} }

func isTerminal(of any) bool {
	file, ok := of.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// tell tells how it is now.
func (p *progress) tell(text string) {
	if text = printable(text); text == p.last {
		return
	}
	p.last, p.open = text, true
	switch {
	case p.terminal && time.Since(p.at) >= progressPause:
		p.at = time.Now()
		_, _ = fmt.Fprint(p.to, "\r\x1b[K"+text)
	case !p.terminal && time.Since(p.at) >= progressEvery:
		p.end()
	}
}

// end leaves the line.
func (p *progress) end() {
	if !p.open {
		return
	}
	p.open, p.at = false, time.Now()
	text := p.last
	if p.terminal {
		text = "\r\x1b[K" + text
	}
	_, _ = fmt.Fprintln(p.to, text)
}

// bar is full when all is done.
func bar(done, total uint64) string {
	full := barWidth
	if total > 0 {
		full = int(min(done, total) * barWidth / total) //nolint:gosec // at most the width
	}
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", barWidth-full) + "]"
}

// A counter is the progress of something whose size is known.
type counter struct {
	*progress

	what    string
	total   uint64
	started time.Time
}

func newCounter(to io.Writer, what string, total uint64) *counter {
	return &counter{newProgress(to), what, total, time.Now()}
}

// reached says that so much is done.
func (c *counter) reached(done uint64) {
	if c.terminal && done < c.total && time.Since(c.at) < progressPause {
		return // it is called for every event
	}
	speed := float64(done) / max(time.Since(c.started).Seconds(), 0.001)
	text := fmt.Sprintf("%s %s %d/%d, %.0f/s", bar(done, c.total), c.what, done, c.total, speed)
	if done > 0 && done < c.total {
		left := time.Duration(float64(c.total-done) / speed * float64(time.Second))
		text += ", " + left.Round(time.Second).String() + " left"
	}
	c.tell(text)
}
