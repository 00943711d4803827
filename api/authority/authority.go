// Package authority is the token authority behind every dialect: it reads
// state, asks a rule, appends the event and renders the answer. It knows the
// log and the read models, and nothing of HTTP.
package authority

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/api/keys"
	"github.com/chancery-authority/chancery/api/limit"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/api/telemetry"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

// Reasons that the authority adds to those of the rules.
const (
	ClientAuthenticationFailed rules.Reason = "client_authentication_failed"
	NoSuchClient               rules.Reason = "no_such_client"
	NoSuchUser                 rules.Reason = "no_such_user"
	// RequestExpired and RequestUsed are of pending authorization requests.
	RequestExpired   rules.Reason = "request_expired"
	RequestUsed      rules.Reason = "request_used"
	NoSession        rules.Reason = "no_session"
	WrongCredentials rules.Reason = "wrong_credentials" //nolint:gosec // a reason, no credential
	AccountDisabled  rules.Reason = "account_disabled"
	UsernameTaken    rules.Reason = "username_taken"
	InvalidToken     rules.Reason = "invalid_token"
	Unavailable      rules.Reason = "unavailable"
	ServerError      rules.Reason = "server_error"
	Busy             rules.Reason = "busy"
	// StreamDenied and StreamRefused are of a partition that cannot be added.
	StreamDenied  rules.Reason = "stream_denied"
	StreamRefused rules.Reason = "stream_refused"
)

// Config is what an Authority is made of. Every field but Telemetry is required.
type Config struct {
	// Issuer is the iss of every token (RFC 8414 §2).
	Issuer string
	// Policy is the installation's at present; a client may have its own.
	Policy func() rules.Policy
	// SigningAlgs are the algorithms that there are keys for; the first is the
	// default.
	SigningAlgs []string

	Log       *eventlog.Log
	Reader    projector.Reader
	Feed      *projector.Feed
	Keys      *keys.Manager
	Secrets   *secret.ClientSecrets
	Addresses *secret.Addresses
	// OriginKeys encrypts the private halves of origin keys.
	OriginKeys *secret.Sealer
	// TokenUsers encrypts the ids of users in tokens with pairwise subjects.
	TokenUsers *secret.Sealer
	Passwords  *secret.Passwords
	// Pending encrypts authorization requests that wait for a person.
	Pending *secret.Sealer
	// Devices encrypts the requests of devices that wait for a person, and
	// UserCodes makes what they are found by.
	Devices   *secret.Sealer
	UserCodes *secret.UserCodes
	// Failures slows down who guesses the secrets of clients and users.
	Failures *limit.Failures
	// Polls slows down devices.
	Polls  *limit.Limiter
	Logger *slog.Logger
	// Telemetry counts what is decided. It may be nil.
	Telemetry *telemetry.Telemetry
}

// An Authority decides and appends. It holds no state that matters, so any
// number of them run side by side on one log.
type Authority struct {
	Config
	records *records
	devices *devices
	// lastOrigin is the hash of the address that a client last came from, by
	// its id. It saves work and decides nothing.
	lastOrigin sync.Map
	written    written
	refusals   *refusals
	inUse      inUse
	stop       context.CancelFunc
	done       sync.WaitGroup
}

// New returns an Authority on what cfg holds. Close it.
func New(ctx context.Context, cfg Config) (*Authority, error) {
	bucket, waiting, err := OpenBuckets(ctx, cfg.Log)
	if err != nil {
		return nil, err
	}
	a := &Authority{
		Config: cfg, records: &records{bucket: bucket},
		devices: &devices{bucket: waiting, sealer: cfg.Devices, codes: cfg.UserCodes},
	}
	a.written.grants.Size = maxWritten
	a.refusals = newRefusals(a.refusalEvent, a.appendRefusal, cfg.Logger)
	a.refusals.start(ctx)
	a.takeIntoUse(ctx)
	ctx, a.stop = context.WithCancel(context.WithoutCancel(ctx))
	a.done.Go(func() { a.eraser(ctx) })
	a.done.Go(func() { a.followPartitions(ctx) })
	return a, nil
}

// The buckets of what is known of people, and of devices that wait for one.
const (
	RecordsBucket = "RECORDS"
	DevicesBucket = "DEVICES"
)

// OpenBuckets opens the buckets of the authority, or creates them.
func OpenBuckets(ctx context.Context, log *eventlog.Log) (*eventlog.ErasableBucket, jetstream.KeyValue, error) {
	people, err := log.ErasableBucket(ctx, RecordsBucket)
	if err != nil {
		return nil, nil, fmt.Errorf("open the directory's bucket: %w", err)
	}
	waiting, err := log.ExpiringBucket(ctx, DevicesBucket, deviceRecordAge)
	if err != nil {
		return nil, nil, fmt.Errorf("open the bucket of devices: %w", err)
	}
	return people, waiting, nil
}

// Close writes the refusals that are not in the log yet, for two seconds at
// most.
func (a *Authority) Close() {
	a.stop()
	a.done.Wait()
	a.refusals.close()
}

// A Caller is the request that something is decided for.
type Caller struct {
	// Request is the request's id, Trace its W3C traceparent if it has one.
	Request string
	Trace   string
	// Address is the client's, as the edge determined it.
	Address netip.Addr
	// UserAgent is what the client calls itself.
	UserAgent string
}

func (c Caller) meta(actor string) events.Meta {
	return events.Meta{Request: c.Request, Trace: c.Trace, Actor: actor}
}

const adminActor = "admin"

// AdminMeta is what an event of an administrator's call has beside its fact.
func (c Caller) AdminMeta() events.Meta { return c.meta(adminActor) }

func userActor(id string) string { return "user:" + id }

func clientActor(id string) string { return "client:" + id }

// event puts a fact in an envelope.
func (a *Authority) event(s events.Subject, m events.Meta, f events.Fact) events.Event {
	return events.Event{
		ID:      rand.Text(),
		Source:  a.Issuer,
		Time:    a.Feed.Now(0),
		Subject: s,
		Meta:    m,
		Fact:    f,
	}
}

// unavailable is the answer to everything that may be otherwise in a moment:
// an outcome that is not known, a read model or a feed that cannot answer.
func unavailable(doing string, err error) error {
	return fmt.Errorf("%s: %w", doing, errors.Join(err, &rules.Refusal{Reason: Unavailable, Cause: doing}))
}

// requireFreshRegistry makes sure that what this replica knows of clients and
// users is no older than the bound. Nothing is issued without it.
func (a *Authority) requireFreshRegistry(ctx context.Context) error {
	if err := a.Feed.RegistryFresh(ctx); err != nil {
		return unavailable("prove the registry fresh", err)
	}
	return nil
}

// user is what is known of a resource owner. One that the feed has not seen
// may have registered at another replica a moment ago, so the log is asked.
func (a *Authority) user(ctx context.Context, id string) (fold.User, error) {
	if u, ok := a.Feed.User(id); ok {
		return u, nil
	}
	u, err := catchUp(ctx, a.Log, a.Log.Realm().UserSubject(id), fold.User{}, 0)
	if err != nil {
		return fold.User{}, unavailable("read the user", err)
	}
	return u, nil
}

// User is a registered user, as user tells. The refusal is rules.NotFound.
func (a *Authority) User(ctx context.Context, id string) (u fold.User, err error) {
	if events.ValidID(id) {
		u, err = a.user(ctx, id)
	}
	if err == nil && !u.Exists() {
		err = &rules.Refusal{Reason: rules.NotFound, Parameter: "user_id"}
	}
	return u, err
}

// newest is a user with what this replica has not heard of yet. Who logs in
// gets the epoch of a cut-off elsewhere, or what they get would end with it.
func (a *Authority) newest(ctx context.Context, u fold.User) (fold.User, error) {
	u, err := catchUp(ctx, a.Log, a.Log.Realm().UserSubject(u.ID), u, u.Seq)
	return u, wrapUnavailable("read the user", err)
}

// client is what is known of the client of a token, which a replica that has
// not heard of it yet reads from the log, as in user.
func (a *Authority) client(ctx context.Context, id string) (fold.Client, error) {
	if c, ok := a.Feed.Client(id); ok {
		return c, nil
	}
	c, err := catchUp(ctx, a.Log, a.Log.Realm().ClientSubject(id), fold.Client{}, 0)
	if err != nil {
		return fold.Client{}, unavailable("read the client", err)
	}
	return c, nil
}

// newestClient is the same of a client whose epoch is fixed for long, by a grant or
// a device's request: they get that of a cut-off elsewhere too. One that was disabled
// elsewhere is refused for reason: enabling it again must revive nothing.
func (a *Authority) newestClient(ctx context.Context, c fold.Client, reason rules.Reason) (fold.Client, error) {
	c, err := catchUp(ctx, a.Log, a.Log.Realm().ClientSubject(c.ID), c, c.Seq)
	if err == nil && c.Disabled {
		return c, &rules.Refusal{Reason: reason, Detail: "disabled client"}
	}
	return c, wrapUnavailable("read the client", err)
}

// A folder is a state that folds the events of its subject.
type folder[S any] interface {
	Apply(r events.Recorded) (S, error)
}

// foldable keeps an event off the log that cannot follow the state it was
// decided on: it would stop every projector. None should get this far. The state
// that it gives has a sequence and times that are not yet the log's.
func foldable[S folder[S]](state S, seq uint64, e events.Event) (next S, err error) {
	if next, err = state.Apply(events.Recorded{Event: e, Seq: seq + 1, Stored: e.Time}); err != nil {
		return next, fmt.Errorf("check the event before it is appended: %w", err)
	}
	return next, nil
}

// catchUp folds what the leader of the log has on a subject after seq.
func catchUp[S folder[S]](ctx context.Context, log *eventlog.Log, s events.Subject, state S, seq uint64) (S, error) {
	reading, span := telemetry.Start(ctx, "read log "+s.Kind())
	recorded, err := log.After(reading, s, seq)
	telemetry.End(span, err)
	if err != nil {
		return state, fmt.Errorf("read %s after %d: %w", s.Kind(), seq, err)
	}
	for _, r := range recorded {
		if state, err = state.Apply(r); err != nil {
			return state, fmt.Errorf("fold %s: %w", s.Kind(), err)
		}
	}
	return state, nil
}
