// Package apitest gives tests a real authority over HTTP: a log on an embedded
// server or a cluster of three, projectors, and any number of API replicas,
// assembled as the command does it.
package apitest

import (
	"cmp"
	"context"
	"log/slog"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/mod/sumdb/note"

	"github.com/chancery-authority/chancery/api"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/keys"
	"github.com/chancery-authority/chancery/api/limit"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/api/telemetry"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/events/tree"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/checkpoint"
)

const (
	// Issuer is that of every authority here, wherever it listens.
	Issuer = "http://127.0.0.1:8080"
	// AdminKey opens the admin API.
	AdminKey = "the-admin-key-of-a-test"
	// KeyRing is the key-encryption key of all replicas.
	KeyRing = "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
)

// Options change what Start gives. The zero value is one replica's defaults.
type Options struct {
	// Settings changes the configuration.
	Settings func(*config.Settings)
	// OwnIssuer makes where it listens the issuer, as clients need that only follow
	// the metadata.
	OwnIssuer bool
	// Partitions and Replicas are of the log.
	Partitions, Replicas int
	// Reader replaces the projector of the replica's own.
	Reader projector.Reader
	// Dir is where the replica's projector keeps its files, a directory of the
	// test's own by default.
	Dir string
	// Passwords is the cost of hashing, next to nothing by default.
	Passwords secret.PasswordConfig
	// Gate holds back the replica's projector, FeedGate its feed.
	Gate, FeedGate func(ctx context.Context, stream string) error
	// Clock is the wall clock, the machine's own by default.
	Clock func() time.Time
	// RequestTimeout bounds the work on one request.
	RequestTimeout time.Duration
	// KeyPolicy replaces when keys take their steps.
	KeyPolicy *keys.Policy
	// KeyRing replaces the key-encryption keys.
	KeyRing string
	// NoCheckpoints looks at no stream, which takes reads and messages each second.
	NoCheckpoints bool
	// Logger is told what the replica logs. By default nobody is.
	Logger *slog.Logger
	// Telemetry counts and traces what the replica does. By default it counts, and
	// nobody looks.
	Telemetry *telemetry.Telemetry
	// AccessLog is the level of the line that each request has in the log.
	AccessLog slog.Leveler
}

// A Replica is one running API.
type Replica struct {
	Server *api.Server
	Log    *eventlog.Log
	// Local is the replica's projector, if it has one of its own.
	Local *projector.Local
	// URL and AdminURL are where it listens.
	URL, AdminURL string
}

// Single is a replica on an embedded server of its own, with the demonstration
// clients and user.
func Single(t testing.TB, o Options) *Replica {
	t.Helper()
	r := Start(t, embeddedtest.Single(t).Conn(), o)
	r.Seed(t)
	return r
}

// Start starts a replica on a connection. It ends with the test.
func Start(t testing.TB, nc *nats.Conn, o Options) *Replica {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	defer cancel()
	o = o.withDefaults(t)
	log, err := eventlog.Open(ctx, nc, eventlog.Config{
		Realm: events.DefaultRealm, Partitions: max(1, o.Partitions), Replicas: max(1, o.Replicas), Logger: o.Logger,
		Appending: o.Telemetry.Appending,
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &Replica{Log: log}
	reader := o.Reader
	if reader == nil {
		r.Local = startProjector(ctx, t, log, o)
		reader = r.Local
	}
	newest := func(string) (tree.Checkpoint, []byte) { return tree.Checkpoint{}, nil }
	if !o.NoCheckpoints {
		newest = keepCheckpoints(ctx, t, log, reader).Newest
	}
	settings := config.Default()
	settings.Issuer = Issuer
	public, admin := httptest.NewUnstartedServer(nil), httptest.NewUnstartedServer(nil)
	if o.OwnIssuer {
		settings.Issuer = "http://" + public.Listener.Addr().String()
	}
	noLimits(&settings)
	if o.Settings != nil {
		o.Settings(&settings)
	}
	r.Server, err = api.Open(ctx, api.Parts{
		Settings: settings, Log: log, Reader: reader, Local: r.Local, KeyRing: keyRing(t, o.KeyRing), AdminKey: secret.New(AdminKey),
		Passwords: o.Passwords, RequestTimeout: o.RequestTimeout, FeedGate: o.FeedGate, Clock: o.Clock, Logger: o.Logger,
		Newest: newest, Telemetry: o.Telemetry, AccessLog: o.AccessLog, KeyPolicy: o.KeyPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Server.Close)
	public.Config.Handler, admin.Config.Handler = r.Server.Public(), r.Server.Admin()
	for _, s := range []*httptest.Server{public, admin} {
		s.Start()
		t.Cleanup(s.Close)
	}
	r.URL, r.AdminURL = public.URL, admin.URL
	return r
}

// noLimits lets a test do as much as it wants from its one address. Options may
// limit it again.
func noLimits(s *config.Settings) {
	for _, r := range []*limit.Rate{&s.AddressLimit, &s.ClientLimit, &s.RegistrationLimit, &s.DeviceLimit, &s.DevicePollLimit, &s.FailureLimit, &s.AddressFailureLimit} {
		*r = limit.Rate{}
	}
}

func (o Options) withDefaults(t testing.TB) Options {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Telemetry == nil {
		o.Telemetry = telemetry.New(telemetry.Config{Metrics: true})
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Passwords == (secret.PasswordConfig{}) {
		o.Passwords.Cost = secret.PasswordCost{Memory: 64, Time: 1, Threads: 1}
	}
	return o
}

func startProjector(ctx context.Context, t testing.TB, log *eventlog.Log, o Options) *projector.Local {
	t.Helper()
	local, err := projector.OpenLocal(ctx, log, projector.LocalConfig{Dir: o.Dir, Logger: o.Logger, Gate: o.Gate, Folded: o.Telemetry.Folded, Tracer: o.Telemetry.Tracer()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := local.Close(); err != nil {
			t.Error(err)
		}
	})
	return local
}

// CheckpointKey signs the checkpoints of all replicas.
const CheckpointKey = "PRIVATE+KEY+auth.example/log+9ff5ed69+AaeZV7/7QWtaL5ULyycIBiwcpBngPul0Yvs+p6eCYzjH"

func keepCheckpoints(ctx context.Context, t testing.TB, log *eventlog.Log, reader projector.Reader) *checkpoint.Keeper {
	t.Helper()
	key, err := note.NewSigner(CheckpointKey)
	if err != nil {
		t.Fatal(err)
	}
	keeper, err := checkpoint.Open(ctx, checkpoint.Config{Log: log, Reader: reader, Key: key, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keeper.Close)
	return keeper
}

// Seed registers the demonstration clients and user.
func (r *Replica) Seed(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	defer cancel()
	if err := r.Server.SeedDemo(ctx); err != nil {
		t.Fatal(err)
	}
}

// keyRing is the same for all replicas of a test that does not say otherwise.
func keyRing(t testing.TB, lines string) *secret.Ring {
	t.Helper()
	ring, err := secret.ParseRing(secret.New(cmp.Or(lines, KeyRing)))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// WaitFolded waits until the replica's projector has folded all that is in the
// log now.
func (r *Replica) WaitFolded(t testing.TB) {
	t.Helper()
	embeddedtest.Eventually(t, "the projector to catch up", func() bool {
		for _, s := range slices.Concat(r.Local.Status(), r.Local.AuditStatus()) {
			head, err := r.Log.Head(t.Context(), s.Stream)
			if err != nil || s.Position < head.Seq {
				return false
			}
		}
		return true
	})
}
