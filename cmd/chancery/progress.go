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
	// barWidth is that of a progress bar.
	barWidth = 30
	// progressEvery is between two lines where there is no terminal.
	progressEvery = 5 * time.Second
)

// progress shows how far something is: a bar that moves on a terminal, a line from
// time to time elsewhere.
type progress struct {
	to    io.Writer
	moves bool
	// last is when a line was written, and width that of the bar's line.
	last  time.Time
	width int
}

func newProgress(to io.Writer) *progress {
	file, ok := to.(*os.File)
	return &progress{to: to, moves: ok && term.IsTerminal(int(file.Fd()))}
}

func (p *progress) show(model string, s projectionSlot) {
	if p.moves {
		line := progressBar(s) + " " + printable(model) + " " + progressText(s)
		_, _ = fmt.Fprintf(p.to, "\r%-*s", p.width, line)
		p.width = len(line)
		return
	}
	if s.State == "building" && time.Since(p.last) < progressEvery {
		return
	}
	p.last = time.Now()
	_, _ = fmt.Fprintf(p.to, "%s %s\n", printable(model), progressText(s))
}

// end leaves the line of the bar.
func (p *progress) end() {
	if p.moves {
		_, _ = fmt.Fprintln(p.to)
	}
}

// progressBar is full when all is folded.
func progressBar(s projectionSlot) string {
	full := barWidth
	if s.Head > 0 {
		full = int(min(s.Position, s.Head) * barWidth / s.Head) //nolint:gosec // at most the width
	}
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", barWidth-full) + "]"
}

func progressText(s projectionSlot) string {
	text := fmt.Sprintf("%s %d/%d", s.State, s.Position, s.Head)
	if s.State != "building" {
		return text
	}
	text += fmt.Sprintf(", %.0f events/s", s.Speed)
	if s.Left > 0 {
		text += fmt.Sprintf(", %s left", seconds(s.Left).Round(time.Second))
	}
	return text
}
