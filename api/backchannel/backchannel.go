// Package backchannel tells clients that sessions have ended (OpenID Connect
// Back-Channel Logout 1.0). The ends are jobs of queues on the log, which all
// API replicas share: what one of them was about when it died, another one does.
package backchannel

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

// QueueName is that of the durable consumers, one on each stream.
const QueueName = "backchannel-logout"

const (
	// workers is how many ends of sessions are worked on at once, of a stream.
	workers = 32
	// tokenLifetime is how long a logout token is good for (§2.4: two minutes at
	// most).
	tokenLifetime = 2 * time.Minute
	// giveUp is how long after a session's end a client is given up that has not
	// taken its logout token: it was tried for this one, or has not answered for as
	// long.
	giveUp = time.Hour
	// jobTimeout bounds one round of an end, but for the clients' answers.
	jobTimeout = 10 * time.Second
	// recordTimeout bounds the append of an outcome, also while this process
	// stops: what is not recorded is delivered again.
	recordTimeout = 3 * time.Second
	// trouble is how soon an end comes up again that could not be worked on.
	trouble = time.Second
)

// Config is what deliveries are made with. Every field is required but
// AllowPrivate.
type Config struct {
	// Issuer is the iss of logout tokens.
	Issuer string
	Log    *eventlog.Log
	Reader projector.Reader
	Feed   *projector.Feed
	// Sign makes a logout token as the client expects it.
	Sign func(fold.Client, jose.LogoutClaims) (string, error)
	// AllowPrivate lets clients be told at addresses that are not public.
	AllowPrivate bool
	Logger       *slog.Logger
}

// A Deliverer delivers until it is closed.
type Deliverer struct {
	cfg   Config
	http  *http.Client
	paces *paces
	// giveUp is the constant, but in tests.
	giveUp time.Duration
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// Start starts to deliver, whatever becomes of ctx. Close it.
func Start(ctx context.Context, cfg Config) *Deliverer { return start(ctx, cfg, giveUp) }

func start(ctx context.Context, cfg Config, giveUp time.Duration) *Deliverer {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	d := &Deliverer{cfg: cfg, http: newClient(cfg.AllowPrivate), paces: newPaces(), giveUp: giveUp, stop: stop}
	realm := cfg.Log.Realm()
	d.work(ctx, realm.RegistryStream(), realm.UserSubject("*"))
	d.done.Go(func() { d.workPartitions(ctx) })
	return d
}

// workPartitions works on the ends of sessions of every partition, of those that
// are added too, until ctx ends.
func (d *Deliverer) workPartitions(ctx context.Context) {
	realm, working := d.cfg.Log.Realm(), map[events.Partition]bool{}
	for {
		more := d.cfg.Log.PartitionsChanged()
		for _, p := range d.cfg.Log.Partitions() {
			if !working[p] {
				working[p] = true
				d.work(ctx, realm.PartitionStream(p), realm.RevokedSubject(p))
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}

func (d *Deliverer) work(ctx context.Context, stream string, subject events.Subject) {
	q := eventlog.Queue{Name: QueueName, Stream: stream, Subjects: []string{string(subject)}, Workers: workers}
	d.done.Go(func() {
		if err := d.cfg.Log.Work(ctx, q, d.do); ctx.Err() == nil {
			d.cfg.Logger.Error("clients are not told of ends of sessions", "stream", stream, "reason", err)
		}
	})
}

// Close stops delivering. What is not delivered yet is left to others, or to the
// next start.
func (d *Deliverer) Close() {
	d.stop()
	d.done.Wait()
	d.http.CloseIdleConnections()
}

// do tells the clients of the sessions that an event has ended, and says when to
// come again for those that were not told yet.
func (d *Deliverer) do(ctx context.Context, job eventlog.Job) (again time.Duration) {
	r, err := job.Recorded()
	if err == nil {
		again, err = d.deliver(ctx, end{Recorded: r, attempt: job.Attempt})
	}
	if err != nil && ctx.Err() == nil {
		d.cfg.Logger.Warn("an end of sessions was not worked on", "sequence", job.Seq, "attempt", job.Attempt, "reason", err)
	}
	if err != nil {
		return trouble
	}
	return again
}

// An end is an event that may have ended sessions.
type end struct {
	events.Recorded
	attempt uint64
}
