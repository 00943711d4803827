package resource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-authority/chancery/api/endings"
	"github.com/chancery-authority/chancery/api/jose"
)

const (
	// minKeysAge is how often keys are asked for at most: tokens with invented kids
	// reach the authority no more often than that.
	minKeysAge = 10 * time.Second
	// outdatedAge and outdatedTries are for when the feed says that there are others:
	// the replica that is asked may not have them yet, and a proxy may never have.
	outdatedAge   = time.Second
	outdatedTries = 5
	// defaultKeysAge is where Cache-Control says nothing.
	defaultKeysAge = 5 * time.Minute
)

// keys are the issuer's, as far as they are known.
type keys struct {
	http   *authority
	issuer string
	algs   []string
	logger *slog.Logger
	// wanted asks the background for them before their time.
	wanted chan struct{}
	known  atomic.Pointer[keySet]
	// inForce is the digest of the set in force, as the feed told last.
	inForce atomic.Pointer[endings.Digest]

	// asking lets one request be under way, asked is when the last was sent and
	// failed what became of it.
	asking sync.Mutex
	asked  time.Time
	failed error
	// outdated is the digest of the set in force that the last tries answers were not.
	outdated endings.Digest
	tries    int
}

// A keySet is one answer of the authority.
type keySet struct {
	*jose.Verifier
	digest endings.Digest
	// asked is when it was asked for, fresh how long it is used without asking
	// again.
	asked time.Time
	fresh time.Duration
}

func newKeys(a *authority, cfg Config) *keys {
	return &keys{http: a, issuer: cfg.Issuer, algs: cfg.Algs, logger: cfg.Logger, wanted: make(chan struct{}, 1)}
}

// now is the set to verify by, or nil if there is none that may be used.
func (k *keys) now() *keySet {
	set := k.known.Load()
	if set == nil || since(set.asked) > set.fresh+KeysStaleIfError {
		return nil
	}
	return set
}

// announced takes in what the feed tells of the keys.
func (k *keys) announced(digest endings.Digest) {
	k.inForce.Store(&digest)
	if set := k.known.Load(); set != nil && set.digest != digest {
		k.want()
	}
}

func (k *keys) want() {
	select {
	case k.wanted <- struct{}{}:
	default: // it is asked for already
	}
}

// run keeps the keys until ctx ends.
func (k *keys) run(ctx context.Context) {
	for {
		if err := k.ask(ctx); err != nil && ctx.Err() == nil {
			k.logger.Warn("the authority's keys cannot be had", "reason", err)
		}
		timer := time.NewTimer(k.next())
		select {
		case <-timer.C:
		case <-k.wanted:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// next is how long the answer to the last request is good for.
func (k *keys) next() time.Duration {
	k.asking.Lock()
	defer k.asking.Unlock()
	if set := k.known.Load(); set != nil && k.failed == nil && !k.isOutdated() {
		return set.fresh
	}
	return k.pace()
}

// pace is how long to wait between two requests. The caller holds asking.
func (k *keys) pace() time.Duration {
	if k.isOutdated() {
		return outdatedAge
	}
	return minKeysAge
}

// isOutdated reports whether the authority has said that it has other keys, and
// asking for them may help. The caller holds asking.
func (k *keys) isOutdated() bool {
	set, inForce := k.known.Load(), k.inForce.Load()
	if set == nil || inForce == nil || set.digest == *inForce {
		return false
	}
	return *inForce != k.outdated || k.tries < outdatedTries
}

// again is a set that is newer than one where a token's key was not found, or that
// one if it is good still. The error is ErrUnavailable, where nobody can tell.
func (k *keys) again(ctx context.Context, than *keySet) (*keySet, error) {
	if than != nil {
		if d := k.inForce.Load(); d != nil && *d == than.digest {
			return than, nil // the authority says that there are no others
		}
	}
	if err := k.ask(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	set := k.now()
	if set == nil {
		return nil, fmt.Errorf("%w: no keys", ErrUnavailable)
	}
	return set, nil
}

// ask asks for the keys, unless that was done a moment ago: then it is what came of
// it.
func (k *keys) ask(ctx context.Context) error {
	k.asking.Lock()
	defer k.asking.Unlock()
	if !k.asked.IsZero() && time.Since(k.asked) < k.pace() {
		if k.failed == nil && k.isOutdated() {
			return errors.New("there are others, which were not to be had")
		}
		return k.failed
	}
	k.asked = time.Now()
	set, err := k.fetch(ctx)
	if k.failed = err; err == nil {
		k.known.Store(set)
		k.compare(set)
	}
	return err
}

// compare counts the answers that are not what is in force. The caller holds asking.
func (k *keys) compare(set *keySet) {
	inForce := k.inForce.Load()
	if inForce == nil || *inForce == set.digest {
		return
	}
	if k.outdated != *inForce {
		k.outdated, k.tries = *inForce, 0
	}
	k.tries++
}

func (k *keys) fetch(ctx context.Context) (*keySet, error) {
	// What is asked for is for everybody who waits, whoever asked first.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	asked := time.Now()
	m, err := k.http.endpoints(ctx)
	if err != nil {
		return nil, err
	}
	body, control, err := k.http.get(ctx, m.JWKS)
	if err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	verifier, err := parseJWKS(k.issuer, body, k.algs)
	if err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	return &keySet{Verifier: verifier, digest: endings.DigestOfKeys(body), asked: asked, fresh: keysAge(control)}, nil
}

// parseJWKS reads a JWK Set (RFC 7517 §5). Keys that are not for this are left out,
// as §5 wants it.
func parseJWKS(issuer string, body []byte, algs []string) (*jose.Verifier, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, err
	}
	var usable []jose.PublicKey
	for _, raw := range set.Keys {
		key, err := jose.ParseJWK(raw)
		if err == nil && (len(algs) == 0 || slices.Contains(algs, string(key.Alg))) {
			usable = append(usable, key)
		}
	}
	if len(usable) == 0 {
		return nil, errors.New("none of them can be used")
	}
	return jose.NewVerifier(issuer, usable)
}

// keysAge is the max-age of a Cache-Control (RFC 9111 §5.2.2.1), within our bounds.
func keysAge(control string) time.Duration {
	age := defaultKeysAge
	for directive := range strings.SplitSeq(control, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); {
		case strings.EqualFold(name, "no-store"), strings.EqualFold(name, "no-cache"):
			return minKeysAge
		case strings.EqualFold(name, "max-age") && err == nil:
			age = time.Duration(seconds) * time.Second
		}
	}
	return min(max(age, minKeysAge), MaxKeysAge)
}
