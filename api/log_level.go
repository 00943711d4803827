package api

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/rules"
)

// maxLogLevelFor bounds how long a level is in force before the one before it
// comes back: a day.
const maxLogLevelFor = 24 * time.Hour

// logLevel is the level of the process's log, which an administrator changes
// for good or for a while.
type logLevel struct {
	level *slog.LevelVar

	mu sync.Mutex
	// before is the level to go back to at until, which is zero if there is none.
	before slog.Level
	until  time.Time
	// during is the level until then. If there is another, the configuration was
	// reloaded, and that one stays.
	during slog.Level
	// changes counts, so that a change knows whether it was the last.
	changes int
}

// A logLevelView is what there is to say of it.
type logLevelView struct {
	Level slog.Level `json:"level"`
	// Until is when Then comes back.
	Until time.Time   `json:"until,omitzero"`
	Then  *slog.Level `json:"then,omitempty"`
}

type logLevelBody struct {
	Level *slog.Level `json:"level"`
	// For is in seconds, 0 for good.
	For int `json:"for_seconds"`
}

func newLogLevel(level *slog.LevelVar) *logLevel {
	if level == nil {
		level = new(slog.LevelVar)
	}
	return &logLevel{level: level}
}

// set puts a level in force, for as long as d says, or for good if it is 0.
// What is set while another is in force for a while goes back to the one before both.
func (l *logLevel) set(level slog.Level, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.passing() {
		l.before = l.level.Level()
	}
	l.level.Set(level)
	l.during = level
	l.changes++
	l.until = time.Time{}
	if d > 0 {
		l.until = time.Now().Add(d)
		change := l.changes
		time.AfterFunc(d, func() { l.goBack(change) })
	}
}

// passing reports whether the level in force is one for a while. The caller holds mu.
func (l *logLevel) passing() bool { return !l.until.IsZero() && l.level.Level() == l.during }

// goBack ends a change, unless there was another since.
func (l *logLevel) goBack(change int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changes != change {
		return
	}
	if l.passing() {
		l.level.Set(l.before)
	}
	l.until = time.Time{}
}

func (l *logLevel) view() logLevelView {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := logLevelView{Level: l.level.Level()}
	if l.passing() {
		before := l.before
		v.Until, v.Then = l.until.UTC(), &before
	}
	return v
}

func (s *Server) logLevelRoutes(admin section) {
	admin.add(http.MethodGet, "/log-level", s.showLogLevel)
	admin.add(http.MethodPut, "/log-level", s.changeLogLevel)
}

func (s *Server) showLogLevel(c echo.Context) error {
	return c.JSON(http.StatusOK, s.logLevel.view())
}

func (s *Server) changeLogLevel(c echo.Context) error {
	var body logLevelBody
	if refusal := parseJSON(c.Response(), c.Request(), &body, true); refusal != nil {
		return asError(refusal)
	}
	switch {
	case body.Level == nil:
		return asError(&rules.Refusal{Reason: malformedRequest, Parameter: "level"})
	case body.For < 0 || body.For > int(maxLogLevelFor.Seconds()):
		return asError(&rules.Refusal{Reason: malformedRequest, Parameter: "for_seconds"})
	}
	s.logLevel.set(*body.Level, time.Duration(body.For)*time.Second)
	s.parts.Logger.Warn("the level of the log was changed", "least", *body.Level, "for", time.Duration(body.For)*time.Second)
	return c.JSON(http.StatusOK, s.logLevel.view())
}
