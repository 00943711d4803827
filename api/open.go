package api

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/keys"
	"github.com/chancery-authority/chancery/api/limit"
	"github.com/chancery-authority/chancery/api/pages"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/api/telemetry"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
	"github.com/chancery-authority/chancery/projector"
)

// defaultRequestTimeout is shorter than the time a claim on a user name is
// held.
const defaultRequestTimeout = 15 * time.Second

// readyTimeout bounds a health check.
const readyTimeout = 3 * time.Second

// Parts is what a Server is built on. They belong to the process, which closes
// them after the Server.
type Parts struct {
	Settings config.Settings
	Log      *eventlog.Log
	Reader   projector.Reader
	// Local is the read models of this process, nil where it has none.
	Local *projector.Local
	// KeyRing holds the key-encryption keys.
	KeyRing *secret.Ring
	// AdminKey is the bearer token of the admin listener.
	AdminKey secret.Secret
	// Passwords is the cost of hashing; the zero value is the default.
	Passwords secret.PasswordConfig
	// RequestTimeout bounds the work on one request, 15 s if zero.
	RequestTimeout time.Duration
	// FeedGate, if there is one, holds back every batch of the feed, for tests
	// of a replica that is behind.
	FeedGate func(ctx context.Context, stream string) error
	// KeyPolicy replaces when keys take their steps, for tests that see whole lives.
	KeyPolicy *keys.Policy
	// Clock is the wall clock, time.Now if nil: another is for tests of a clock
	// that is stepped.
	Clock func() time.Time
	// Ready says what else keeps the process from serving, and Status what else
	// it shows to administrators. Both may be nil.
	Ready  func(context.Context) error
	Status func() any
	// Newest is the newest checkpoint of a stream, with its text, nil if there is
	// none. It may be nil where none are kept.
	Newest func(stream string) (tree.Checkpoint, []byte)
	Logger *slog.Logger
	// LogLevel is that of Logger, for administrators to change. Nil changes nothing.
	LogLevel *slog.LevelVar
	// Version is the program's, for its status.
	Version string
	// Telemetry counts and traces, and AccessLog is the level of the line that each
	// request has in the log. Either may be nil: then none of it is done.
	Telemetry *telemetry.Telemetry
	AccessLog slog.Leveler
}

// Open starts the feed, makes or loads the keys, and returns a Server that is
// ready to answer. Close it before its parts.
func Open(ctx context.Context, p Parts) (*Server, error) {
	if p.RequestTimeout == 0 {
		p.RequestTimeout = defaultRequestTimeout
	}
	p.Logger = telemetry.Logs(p.Logger)
	feed, err := projector.OpenFeed(ctx, p.Log, projector.FeedConfig{
		Bound: p.Settings.FreshnessBound, Source: p.Settings.Issuer, NewID: rand.Text, Gate: p.FeedGate, Clock: p.Clock, Logger: p.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("open the feed: %w", err)
	}
	s, err := open(ctx, p, feed)
	if err != nil {
		feed.Close()
		return nil, err
	}
	return s, nil
}

func open(ctx context.Context, p Parts, feed *projector.Feed) (*Server, error) {
	manager, err := openKeys(ctx, p, feed)
	if err != nil {
		return nil, err
	}
	passwords, err := secret.NewPasswords(p.Passwords)
	if err != nil {
		return nil, err
	}
	live := config.NewLive(p.Settings)
	a, err := authority.New(ctx, authority.Config{
		Issuer: p.Settings.Issuer, Policy: func() rules.Policy { return live.Get().Policy() }, SigningAlgs: p.Settings.SigningAlgorithms,
		Log: p.Log, Reader: p.Reader, Feed: feed, Keys: manager,
		Secrets: secret.NewClientSecrets(p.KeyRing), Addresses: secret.NewAddresses(p.KeyRing),
		OriginKeys: p.KeyRing.Sealer("origin-key"), TokenUsers: p.KeyRing.Sealer("token-user"),
		Pending: p.KeyRing.Sealer("authorization-request"),
		Devices: p.KeyRing.Sealer("device-request"), UserCodes: secret.NewUserCodes(p.KeyRing),
		Passwords: passwords, Logger: p.Logger,
		Polls:    limit.NewLimiter(p.Settings.DevicePollLimit),
		Failures: limit.NewFailures(p.Settings.FailureLimit, p.Settings.AddressFailureLimit),

		Telemetry: p.Telemetry,
	})
	if err != nil {
		return nil, err
	}
	renderer, err := pages.New(pages.Config{})
	if err != nil {
		return nil, err
	}
	return newServer(ctx, p, live, a, manager, feed, renderer)
}

// openKeys makes or loads the keys and keeps them as the feed tells.
func openKeys(ctx context.Context, p Parts, feed *projector.Feed) (*keys.Manager, error) {
	cfg := keys.Config{
		Log: p.Log, Ring: p.KeyRing, Issuer: p.Settings.Issuer, Keys: feed.Keys, Restored: feed.LastRestored, NewID: rand.Text, Now: p.Clock, Logger: p.Logger,
		Settle: 2 * p.Settings.FreshnessBound, LogTime: feed.LogTime, Policy: p.keyPolicy(feed),
		Wait: func(ctx context.Context, seq uint64) error {
			return feed.Wait(ctx, p.Log.Realm().RegistryStream(), seq)
		},
	}
	for _, name := range p.Settings.SigningAlgorithms {
		alg, err := jose.ParseAlg(name)
		if err != nil {
			return nil, fmt.Errorf("signing algorithms: %w", err)
		}
		cfg.Algs = append(cfg.Algs, alg)
	}
	return keys.Open(ctx, cfg)
}
