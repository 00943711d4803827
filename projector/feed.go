package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

const (
	// defaultBound is how old what a replica knows may be.
	defaultBound = time.Second
	// revocationReach is how far back revocations matter: no access token lives
	// longer than a day, and a minute is for clocks.
	revocationReach = 24*time.Hour + time.Minute
	// MaxClockSkew is how far a replica's clock may be off the log's.
	MaxClockSkew = time.Second
)

// ErrStale is returned when it cannot be proved that a feed is fresher than
// its bound. What depends on it is answered 503, never decided.
var ErrStale = errors.New("feed is not provably fresh")

// FeedConfig says how fresh a feed must be and how it proves it.
type FeedConfig struct {
	// Bound is how old what the feed knows may be, a second if zero.
	Bound time.Duration
	// Source is the ce-source of the ticks it writes, the issuer.
	Source string
	// NewID makes an event id, unique for ever.
	NewID func() string
	// Logger is told, as an error, of a stream that can be followed no more. Nil
	// discards it.
	Logger *slog.Logger
	// Gate, if not nil, is called before every batch of a stream is taken in,
	// and may hold it back.
	Gate func(ctx context.Context, stream string) error
	// Clock is the wall clock, time.Now if nil: another is for tests of a clock
	// that is stepped. What only measures how long something took asks the
	// monotonic one.
	Clock func() time.Time

	progress *signal
}

// A Feed is what every API replica holds in memory: clients, users and keys
// whole, and the revocations of the last day. It is safe for concurrent use.
//
// A lookup says what the feed knows. Whether that is recent enough to decide
// on, RegistryFresh and PartitionFresh say; ask them first.
type Feed struct {
	log         *eventlog.Log
	cfg         FeedConfig
	registry    *registry
	registryFed *follower
	// progress tells of whatever any of them has taken in or proved.
	progress *signal
	// followed is what is followed, and changed tells when more is.
	followed atomic.Pointer[followed]
	changed  signal
	// running ends when the feed is closed.
	running context.Context
	stop    context.CancelFunc
	done    sync.WaitGroup

	// mu is held to begin what done waits for, and to replace followed.
	mu       sync.Mutex
	openings map[events.Partition]*opening
}

// OpenFeed follows the registry from the start and the revocations of every
// partition that was added. One that is open in the log and was not, because who
// made it came no further, is added now. It returns when all of it is fresh, or
// with ctx's error. Close it.
func OpenFeed(ctx context.Context, log *eventlog.Log, cfg FeedConfig) (*Feed, error) {
	if cfg.NewID == nil {
		return nil, errors.New("open feed: no way to make event ids")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Bound <= 0 {
		cfg.Bound = defaultBound
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	cfg.progress = new(signal)
	f := &Feed{log: log, cfg: cfg, progress: cfg.progress, registry: newRegistry(), openings: map[events.Partition]*opening{}}
	f.running, f.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := f.open(ctx); err != nil {
		f.Close()
		return nil, fmt.Errorf("open feed: %w", err)
	}
	return f, nil
}

// Close ends the feed. What it knows grows stale.
func (f *Feed) Close() {
	f.mu.Lock()
	f.stop()
	f.mu.Unlock()
	f.done.Wait()
}

// Client is a registered client. Its slices are shared: do not change them.
func (f *Feed) Client(id string) (fold.Client, bool) {
	return lookup(f.registry, f.registry.clients, id)
}

// Clients are all registered clients, ordered by their ids.
func (f *Feed) Clients() []fold.Client { return f.registry.allClients() }

// AllowsOrigin reports whether any client that is not disabled allows a web
// origin.
func (f *Feed) AllowsOrigin(origin string) bool {
	_, ok := lookup(f.registry, f.registry.origins, origin)
	return ok
}

// User is a registered user.
func (f *Feed) User(id string) (fold.User, bool) { return lookup(f.registry, f.registry.users, id) }

// Unerased are the ids of the users that were deleted and are not erased yet.
func (f *Feed) Unerased() []string { return f.registry.toErase() }

// UserDeleted is closed by the next deletion of a user. Take it before Unerased,
// so that none is missed.
func (f *Feed) UserDeleted() <-chan struct{} { return f.registry.deletions.next() }

// Keys are all keys that were ever announced, ordered by their ids.
func (f *Feed) Keys() []fold.Key { return f.registry.allKeys() }

// KeysChanged is closed by the next change of a key. Take it before Keys, so
// that no change is missed. By the time that Wait returns for a change of a
// key, the channel is closed.
func (f *Feed) KeysChanged() <-chan struct{} { return f.registry.keysChanged.next() }

// GrantRevoked reports whether a grant's access tokens were revoked and not
// all of them have expired since.
func (f *Feed) GrantRevoked(id events.GrantID) bool {
	p, ok := f.followed.Load().partitions[id.Partition()]
	return ok && has(p.revocations, p.grants, id)
}

// SessionEnded reports whether a session was ended in the last day and has not
// expired since. What ended before that, the read model tells.
func (f *Feed) SessionEnded(id events.SessionID) bool {
	p, ok := f.followed.Load().partitions[id.Partition()]
	return ok && has(p.revocations, p.sessions, id)
}

// TokenRevoked reports whether the access token with that jti was revoked by
// itself and has not expired since.
func (f *Feed) TokenRevoked(jti string) bool {
	for _, p := range f.followed.Load().partitions {
		if has(p.revocations, p.tokens, jti) {
			return true
		}
	}
	return false
}

// Restorations are the losses of a partition that were accepted, ever, in the
// order of the registry. They are not to be changed.
func (f *Feed) Restorations(p events.Partition) []fold.Restoration {
	all, _ := lookup(f.registry, f.registry.restored, f.log.Realm().PartitionStream(p))
	return all
}

// LastRestored is the log's time of the newest accepted loss of any stream, zero if
// there was none.
func (f *Feed) LastRestored() (at time.Time) {
	f.registry.mu.RLock()
	defer f.registry.mu.RUnlock()
	for _, all := range f.registry.restored {
		for _, x := range all {
			at = latest(at, x.At)
		}
	}
	return at
}

// Learn takes in a revocation that the caller has made durable, ahead of its
// marker, so that who revoked something here sees it revoked at once.
func (f *Feed) Learn(p events.Partition, v fold.Revocation) {
	if fed, ok := f.followed.Load().partitions[p]; ok {
		fed.learn(v)
	}
}

// RegistryFresh returns nil if the feed has all changes of clients, users and
// keys that were acknowledged anywhere up to Bound ago. If need be it proves
// it, which takes an append; if that takes longer than Bound it returns
// ErrStale. So it does while that proof shows the local clock to be more than
// MaxClockSkew off, or it was stepped as far since: what is decided by such a
// clock revokes the innocent.
func (f *Feed) RegistryFresh(ctx context.Context) error {
	if err := f.registryFed.fresh(ctx); err != nil {
		return err
	}
	if skew := f.registryFed.clockSkew() - f.registryFed.stepped(); skew.Abs() > MaxClockSkew {
		return fmt.Errorf("%w: the clock is %v off the log's", ErrStale, skew)
	}
	return nil
}

// PartitionFresh is the same for the revocations of a partition, which is opened
// if need be.
func (f *Feed) PartitionFresh(ctx context.Context, p events.Partition) error {
	if err := f.Open(ctx, p); err != nil {
		return err
	}
	return f.followed.Load().partitions[p].fresh(ctx)
}

// Fresh is all at once: nil if neither the registry nor any of the partitions
// was older than Bound at one moment during the call. Asking one after the other
// would not do, because the first ages while the next is waited for.
func (f *Feed) Fresh(ctx context.Context, partitions ...events.Partition) error {
	for {
		if err := f.RegistryFresh(ctx); err != nil {
			return err
		}
		for _, p := range partitions {
			if err := f.PartitionFresh(ctx, p); err != nil {
				return err
			}
		}
		if f.allFresh(partitions) {
			return nil
		}
	}
}

// allFresh reports whether the registry and the partitions are fresh now, with
// no more proof than there is.
func (f *Feed) allFresh(partitions []events.Partition) bool {
	feds := []*follower{f.registryFed}
	for _, p := range partitions {
		feds = append(feds, f.followed.Load().partitions[p].follower)
	}
	return !slices.ContainsFunc(feds, func(fed *follower) bool {
		age, err := fed.age()
		return err != nil || age >= fed.cfg.Bound
	})
}

// Wait waits until the feed has taken in everything of a stream up to seq, the
// sequence of a receipt, so that whoever changed something sees it changed.
// The error is ErrStale when ctx ends first.
func (f *Feed) Wait(ctx context.Context, stream string, seq uint64) error {
	fed, ok := f.followed.Load().followers[stream]
	if !ok {
		return fmt.Errorf("%w: no stream %.64q", ErrStale, stream)
	}
	return fed.wait(ctx, seq)
}

// Now is the time to decide by in a partition: the local clock's, or the
// newest server timestamp seen there or in the registry if that is later, so
// that a clock that is stepped back revives nothing. Of a partition the feed
// sees no grants, so where nobody introspects only the registry's ticks go on.
func (f *Feed) Now(p events.Partition) time.Time {
	now := latest(f.cfg.Clock().UTC(), f.registryFed.newestStored())
	if fed, ok := f.followed.Load().partitions[p]; ok {
		now = latest(now, fed.newestStored())
	}
	return now
}

// LogTime is the newest server timestamp of the registry, once that is proved
// fresh: the log's own time, in which no clock of a replica has a part. It is
// behind rather than ahead.
func (f *Feed) LogTime(ctx context.Context) (time.Time, error) {
	if err := f.RegistryFresh(ctx); err != nil {
		return time.Time{}, err
	}
	return f.registryFed.newestStored(), nil
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// ClockSkew is how far the local clock is off the log's, at least: positive if
// the local one is behind. It is the largest of those seen with the newest tick
// of every stream. A replica that is more than a second off is not ready.
func (f *Feed) ClockSkew() time.Duration {
	var largest time.Duration
	for _, fed := range f.followed.Load().followers {
		if skew := fed.clockSkew(); skew.Abs() > largest.Abs() {
			largest = skew
		}
	}
	return largest
}

// Err is why a stream can be followed no more, so that the feed stays stale
// until the process is started again. It is nil while all is well.
func (f *Feed) Err() error {
	var err error
	for _, fed := range f.followed.Load().followers {
		err = errors.Join(err, fed.broken())
	}
	return err
}
