package main

import (
	"io"
	"log/slog"
)

// logging is how the process logs, to stderr.
type logging struct {
	LogLevel  slog.Level `default:"info" reload:"" placeholder:"LEVEL" help:"Least level logged: debug, info, warn or error."`
	LogFormat string     `default:"text" enum:"text,json" help:"Format of log lines: text or json."`
	AccessLog string     `default:"debug" enum:"off,debug,info" help:"Level of the line that each request has in the log: off, debug or info."`
}

// logger logs from level on, which is set to what was asked for.
func (l logging) logger(w io.Writer, level *slog.LevelVar) *slog.Logger {
	level.Set(l.LogLevel)
	options := &slog.HandlerOptions{Level: level}
	if l.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
