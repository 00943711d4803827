// Package resource is for resource servers: it verifies the authority's access
// tokens (RFC 9068) without asking anybody, and refuses revoked ones within
// milliseconds, because it is told of everything that ends tokens before their time.
//
// It says how fresh what it knows is, and accepts nothing on knowledge that is older
// than Config.MaxAge unless the caller chose otherwise.
package resource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/chancery-authority/chancery/api/endings"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/rules"
)

// Claims are those of an access token.
type Claims = jose.Claims

// Errors of Verify. Neither tells more than is safe to log.
var (
	// ErrInvalid is of a token that is malformed, expired, ended, for another
	// audience, or not the authority's (RFC 6750 §3.1, invalid_token).
	ErrInvalid = errors.New("invalid access token")
	// ErrUnavailable is returned where nobody can tell: what is known is too old, or
	// there are no keys yet. Answer 503, never 401.
	ErrUnavailable = errors.New("access tokens cannot be verified at the moment")
)

// Defaults and bounds of Config.
const (
	// DefaultMaxAge outlives the change from one replica to another.
	DefaultMaxAge = 5 * time.Second
	// MaxKeysAge is how long keys are used without asking again, whatever
	// Cache-Control says, and KeysStaleIfError how much longer while the authority
	// cannot be asked. A key that is dropped is refused at once if the feed lives.
	MaxKeysAge       = time.Hour
	KeysStaleIfError = time.Hour
)

// Config says whose tokens to accept, and for what.
type Config struct {
	// Issuer is the authority's identifier: https, or on loopback.
	Issuer string
	// Audience is what tokens must be for: one of these. At least one is required
	// (RFC 9068 §4).
	Audience []string
	// Algs are the JWS algorithms to accept; empty is all that the authority has.
	Algs []string
	// ClientID and ClientSecret are those of a confidential client that may
	// introspect or is in tokens' audience.
	ClientID, ClientSecret string

	// MaxAge is how old knowledge of revocations may be, DefaultMaxAge if zero. A
	// revocation is refused at the latest so long after it was acknowledged.
	MaxAge time.Duration
	// Grace is how much older it may be before tokens are accepted no more: what is
	// known to have ended is refused still. Zero is none.
	Grace time.Duration
	// Introspect asks the authority about a token (RFC 7662) when knowledge is too
	// old. Without it, and when it fails, the answer is ErrUnavailable.
	Introspect bool

	// Revocations replaces the feed over HTTP, as natsresource does.
	Revocations Revocations
	// HTTPClient makes the requests, http.DefaultClient if nil. Its Timeout is not
	// used for the feed, which never ends.
	HTTPClient *http.Client
	// Logger is told when the authority cannot be reached. Nil discards it.
	Logger *slog.Logger
}

// Revocations know what has ended tokens before their time.
type Revocations interface {
	// Now is the time to judge tokens by: the local clock's, or the authority's if
	// that is later, so that a clock which is stepped back revives nothing.
	Now() time.Time
	// Ended says what has ended a token, by the id of the key that signed it and its
	// lineage, and as of when nothing else had. asOf has a monotonic reading; it is
	// zero while nothing is known of one of the partitions.
	Ended(ctx context.Context, kid string, lineage []rules.Link) (why rules.Why, asOf time.Time)
}

// A Verifier verifies access tokens. It is safe for concurrent use. Close it.
type Verifier struct {
	cfg     Config
	http    *authority
	keys    *keys
	feed    *feed // nil with Config.Revocations
	revoked Revocations
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// Open checks a configuration and begins to follow the authority, which need not
// be there yet: Wait waits for it, and until then Verify returns ErrUnavailable.
func Open(ctx context.Context, cfg Config) (*Verifier, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("verifying access tokens: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = DefaultMaxAge
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	v := &Verifier{cfg: cfg, http: newAuthority(cfg), stop: stop, revoked: cfg.Revocations}
	v.keys = newKeys(v.http, cfg)
	v.done.Go(func() { v.keys.run(ctx) })
	if v.revoked == nil {
		v.feed = newFeed(v.http, cfg, v.keys.announced)
		v.revoked = v.feed
		v.done.Go(func() { v.feed.run(ctx) })
	}
	return v, nil
}

// Close stops following the authority.
func (v *Verifier) Close() {
	v.stop()
	v.done.Wait()
}

func (c Config) check() error {
	u, err := url.Parse(c.Issuer)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return errors.New("issuer: want an https URL, or one on loopback")
	case len(c.Audience) == 0 || slices.Contains(c.Audience, ""):
		return errors.New("audience: what are tokens for?")
	case c.MaxAge < 0 || c.Grace < 0:
		return errors.New("max age and grace cannot be negative")
	case (c.Revocations == nil || c.Introspect) && (c.ClientID == "" || c.ClientSecret == ""):
		return errors.New("client: its id and secret are required")
	}
	for _, alg := range c.Algs {
		if _, err := jose.ParseAlg(alg); err != nil {
			return err
		}
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Freshness is how old what is known of revocations is. ok is false while nothing
// is known.
func (v *Verifier) Freshness(ctx context.Context) (age time.Duration, ok bool) {
	_, asOf := v.revoked.Ended(ctx, "", nil)
	return since(asOf), !asOf.IsZero()
}

// Ready is nil if tokens can be verified by what is known.
func (v *Verifier) Ready(ctx context.Context) error {
	age, ok := v.Freshness(ctx)
	switch {
	case v.keys.now() == nil:
		return fmt.Errorf("%w: no keys", ErrUnavailable)
	case !ok:
		return fmt.Errorf("%w: nothing is known of revocations", ErrUnavailable)
	case age > v.cfg.MaxAge:
		return fmt.Errorf("%w: what is known of revocations is %v old", ErrUnavailable, age.Round(time.Millisecond))
	}
	return nil
}

// Wait returns when Ready does not complain, or with its complaint when ctx ends.
func (v *Verifier) Wait(ctx context.Context) error {
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		err := v.Ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return err
		}
	}
}

// Verify is what an access token says that is good now: signed by a key in force,
// of the issuer, for the audience, neither expired nor from the future (with 2 s for
// clocks that are ahead of ours, and none for exp), and ended by nothing. The error
// is ErrInvalid or ErrUnavailable.
func (v *Verifier) Verify(ctx context.Context, token string) (*Claims, error) {
	claims, kid, err := v.read(ctx, token)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(claims.Audience, func(a string) bool { return slices.Contains(v.cfg.Audience, a) }) {
		return nil, fmt.Errorf("%w: for another audience", ErrInvalid)
	}
	why, asOf := v.revoked.Ended(ctx, kid, rules.Lineage(endings.Presented(claims)))
	if why != "" {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, why)
	}
	if !asOf.IsZero() && since(asOf) <= v.cfg.MaxAge+v.cfg.Grace {
		return &claims, nil
	}
	if !v.cfg.Introspect {
		return nil, fmt.Errorf("%w: what is known of revocations is too old", ErrUnavailable)
	}
	active, err := v.http.introspect(ctx, token)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case !active:
		return nil, fmt.Errorf("%w: not active", ErrInvalid)
	}
	return &claims, nil
}

// read verifies a token by the keys, which are asked for again if its key is not
// among them.
func (v *Verifier) read(ctx context.Context, token string) (c Claims, kid string, err error) {
	now := v.revoked.Now()
	known := v.keys.now()
	if known == nil {
		if known, err = v.keys.again(ctx, nil); err != nil {
			return c, "", err
		}
	}
	if c, kid, err = known.VerifyBy(token, now); errors.Is(err, jose.ErrUnknownKey) {
		if known, err = v.keys.again(ctx, known); err != nil {
			return c, "", err
		}
		c, kid, err = known.VerifyBy(token, now)
	}
	if err != nil {
		return c, "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return c, kid, nil
}

// since is by the monotonic clock, and by the wall clock where that shows more: the
// monotonic one stands still while the machine sleeps.
func since(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}
