// Package eventlog is the log of events on NATS JetStream: it appends what was
// decided, reads it back, and lets others follow it.
//
// The one thing to know: the outcome of an append is one of three. Stored
// (nil), lost for ever (ErrConflict), or not known (ErrUnsettled). An error is
// never taken for "not stored", and not finding an event proves nothing.
package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events"
)

// Config says which log to open.
type Config struct {
	Realm events.Realm
	// Partitions is how many the realm has at least, 1 if zero. Existing ones
	// beyond that are opened too: what was written is never left out.
	Partitions int
	// Replicas of every stream, 1 (also if zero) or 3 or 5.
	Replicas int
	// Archive has what streams have forgotten, nil if nothing was ever archived.
	Archive Archive
	// Logger is told of failed partitions and interrupted readers. Nil
	// discards it.
	Logger *slog.Logger
	// Appending, if not nil, is told of every unit that is appended to a stream. It
	// gives the ctx to go on with, and what is told how it ended.
	Appending func(ctx context.Context, stream string, u Unit) (context.Context, func(Appended))
}

// A Log is one realm's log. It is safe for concurrent use and does not own the
// connection it was opened on.
type Log struct {
	cfg Config
	nc  *nats.Conn
	js  jetstream.JetStream
	// opened is what is open, and adding is held by who opens more.
	opened atomic.Pointer[opened]
	adding sync.Mutex

	mu      sync.Mutex
	buckets map[string]bucket
}

// Open opens the log of a realm. Streams that do not exist are created, and
// those of an earlier version are given the subjects that they lack; existing
// ones whose configuration breaks the log's contract otherwise are refused by
// name (ErrContract). Failures that may pass, such as a cluster that has no
// leader yet, are retried until ctx ends, or for ten seconds if it has no
// deadline.
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Log, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	l := &Log{
		cfg: cfg, nc: nc, js: js,
		buckets: map[string]bucket{},
	}
	if err := l.openStreams(ctx); err != nil {
		return nil, fmt.Errorf("open log of realm %s: %w", cfg.Realm, err)
	}
	return l, nil
}

func (c Config) withDefaults() (Config, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Partitions = max(c.Partitions, 1)
	c.Replicas = max(c.Replicas, 1)
	if c.Partitions > events.MaxPartitions {
		return c, fmt.Errorf("%d partitions: the most is %d", c.Partitions, events.MaxPartitions)
	}
	if c.Replicas%2 == 0 || c.Replicas > 5 {
		return c, fmt.Errorf("%d replicas: want 1, 3 or 5", c.Replicas)
	}
	return c, c.Realm.Validate()
}

// openStream creates the stream or checks the one that exists.
func (l *Log) openStream(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := l.findStream(ctx, want, l.js.CreateStream)
	if err != nil {
		return nil, err
	}
	return l.checked(ctx, s, want)
}

// findStream finds a stream, and calls missing if there is none.
func (l *Log) findStream(ctx context.Context, want jetstream.StreamConfig, missing func(context.Context, jetstream.StreamConfig) (jetstream.Stream, error)) (s jetstream.Stream, err error) {
	err = retry(ctx, func(ctx context.Context) (err error) {
		s, err = l.js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			s, err = missing(ctx, want)
		}
		return l.withPermission(err, want.Name)
	})
	return s, err
}

// withPermission adds nats.ErrPermissionViolation if the server does not let this
// user send to a subject of that end: it says so to the connection, and what was
// sent is not answered.
func (l *Log) withPermission(err error, end string) error {
	last := l.nc.LastError()
	if err == nil || !errors.Is(last, nats.ErrPermissionViolation) || !strings.Contains(last.Error(), end+`"`) {
		return err
	}
	return fmt.Errorf("%w: %w", err, last)
}

// checked is an existing stream that keeps the contract.
func (l *Log) checked(ctx context.Context, s jetstream.Stream, want jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := l.addSubjects(ctx, s, want)
	if err != nil {
		return nil, err
	}
	return s, checkStream(want, s.CachedInfo().Config)
}

// addSubjects gives a stream of an earlier version the subjects that have come
// since, and leaves all else as it is. A stream that has others, or that breaks
// the contract besides, is left alone.
func (l *Log) addSubjects(ctx context.Context, s jetstream.Stream, want jetstream.StreamConfig) (jetstream.Stream, error) {
	had := s.CachedInfo().Config
	if !lacksSubjects(want, had) {
		return s, nil
	}
	c := had
	c.Subjects = want.Subjects
	err := retry(ctx, func(ctx context.Context) (err error) {
		s, err = l.js.UpdateStream(ctx, c)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("add subjects: %w", err)
	}
	l.cfg.Logger.Info("a stream of an earlier version has new subjects", "stream", c.Name, "had", had.Subjects, "has", c.Subjects)
	return s, nil
}

// Realm is the realm whose log this is.
func (l *Log) Realm() events.Realm { return l.cfg.Realm }

// route finds the stream that a subject is stored in. It refuses whatever is
// not exactly one subject of this realm.
func (l *Log) route(s events.Subject) (*stream, error) {
	parts := strings.Split(string(s), ".")
	if parts[0] != string(l.cfg.Realm) {
		return nil, fmt.Errorf("%.128q is no subject of realm %s", s, l.cfg.Realm)
	}
	registry := l.cfg.Realm.RegistryStream()
	switch kind := s.Kind(); {
	case (kind == "client" || kind == "user" || kind == "key") && len(parts) == 3 && events.ValidID(s.ID()):
		return l.stream(registry)
	case kind == "consent" && len(parts) == 4 && events.ValidID(parts[2]) && events.ValidID(parts[3]):
		return l.stream(registry)
	case kind == "partition" && len(parts) == 3:
		if p, ok := events.ParsePartition(parts[2]); ok && s == l.cfg.Realm.PartitionSubject(p) {
			return l.stream(registry)
		}
	case s == l.cfg.Realm.RegistryTickSubject(), s == l.cfg.Realm.RestoredSubject():
		return l.stream(registry)
	case (kind == "grant" || kind == "session" || kind == "issued") && len(parts) == 4 && events.ValidID(s.ID()),
		(kind == "revoked" || kind == "refused" || kind == "logout") && len(parts) == 3:
		return l.stream(strings.ToUpper(parts[0]) + "_EVENTS_" + parts[2])
	}
	return nil, fmt.Errorf("%.128q is no subject of the log", s)
}
