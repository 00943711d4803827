package api

import (
	"log/slog"
	"testing"
	"time"
)

// TestLogLevelIsReloadedMeanwhile reloads the configuration with another level
// while one is in force for a while: that is what stays.
func TestLogLevelIsReloadedMeanwhile(t *testing.T) {
	t.Parallel()
	level := new(slog.LevelVar)
	l := newLogLevel(level)
	l.set(slog.LevelDebug, time.Hour)
	level.Set(slog.LevelWarn)
	if v := l.view(); v.Level != slog.LevelWarn || v.Then != nil {
		t.Errorf("after a reload: %+v", v)
	}
	l.goBack(l.changes)
	if got := level.Level(); got != slog.LevelWarn {
		t.Errorf("after the while: %v", got)
	}
	l.set(slog.LevelDebug, time.Hour)
	if v := l.view(); v.Then == nil || *v.Then != slog.LevelWarn {
		t.Errorf("for another while: %+v", v)
	}
	l.goBack(l.changes)
	if got := level.Level(); got != slog.LevelWarn {
		t.Errorf("after another while: %v", got)
	}
}
