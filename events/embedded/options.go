package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
)

// maxPending is how much may wait, in bytes, for a connection to take it. Flow control
// bounds what is on its way to one follower, to 32 MiB, but a process has a dozen and
// more of them on its one connection, and building all its read models from nothing
// takes all of that. By default the server cuts a connection at 64 MiB, with all else
// that goes over it.
const maxPending = 2 << 30

func serverOptions(o Options) (*server.Options, error) {
	opts := &server.Options{
		ServerName:             o.Name,
		StoreDir:               filepath.Join(o.Dir, "nats"),
		JetStream:              true,
		SyncAlways:             true,
		DontListen:             true,
		MaxPending:             maxPending,
		NoSigs:                 true,
		NoLog:                  o.Logger == nil,
		DisableJetStreamBanner: true,
	}
	if opts.ServerName == "" {
		opts.ServerName = "chancery"
	}
	if o.Listen == "" {
		return opts, nil
	}
	host, port, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen address: %w", err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("listen address: %w", err)
	}
	if n == 0 {
		n = server.RANDOM_PORT
	}
	opts.DontListen, opts.Host, opts.Port = false, host, n
	return opts, nil
}

// serverLog passes the server's own log on. It has no traces: they show
// payloads.
type serverLog struct{ to *slog.Logger }

func (l serverLog) log(level slog.Level, format string, v []any) {
	l.to.Log(context.Background(), level, "nats server", "message", fmt.Sprintf(format, v...))
}

// The methods of the server's Logger. Fatalf does not exit: Start sees that
// the server is not ready.
func (l serverLog) Noticef(format string, v ...any) { l.log(slog.LevelInfo, format, v) }
func (l serverLog) Warnf(format string, v ...any)   { l.log(slog.LevelWarn, format, v) }
func (l serverLog) Errorf(format string, v ...any)  { l.log(slog.LevelError, format, v) }
func (l serverLog) Fatalf(format string, v ...any)  { l.log(slog.LevelError, format, v) }
func (l serverLog) Debugf(format string, v ...any)  { l.log(slog.LevelDebug, format, v) }
func (l serverLog) Tracef(string, ...any)           {}
