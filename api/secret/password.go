package secret

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
)

// ErrBusy is returned when as many hashes are waiting as may. The caller answers 429 or 503.
var ErrBusy = errors.New("too many passwords are being hashed")

// PasswordConfig says what hashing may cost. Zero fields are defaults.
type PasswordConfig struct {
	Cost PasswordCost
	// Concurrent is how many hashes run at once, by default one a core: more
	// would only make all of them slower, and each takes Cost.Memory.
	Concurrent int
	// Queue is how many may wait for their turn, by default 16 for each that
	// runs: about half a second of work.
	Queue int
}

// Passwords hashes passwords with argon2id, a bounded number at a time. It may
// be used from many goroutines.
type Passwords struct {
	cost    PasswordCost
	admit   chan struct{} // one for each that runs or waits
	running chan struct{}
	// nobody is hashed against for an unknown user.
	nobody  passwordHash
	refused atomic.Uint64
}

// A PoolStatus is how busy hashing is.
type PoolStatus struct {
	// Running and Waiting are how many hashes there are, Concurrent and Queue how
	// many of each there may be.
	Running, Waiting, Concurrent, Queue int
	// Refused is how many got ErrBusy.
	Refused uint64
}

// Status is how the pool stands now.
func (p *Passwords) Status() PoolStatus {
	running := len(p.running)
	return PoolStatus{
		Running: running, Waiting: max(0, len(p.admit)-running),
		Concurrent: cap(p.running), Queue: cap(p.admit) - cap(p.running), Refused: p.refused.Load(),
	}
}

// NewPasswords starts with an empty pool. It fails for a cost out of bounds.
func NewPasswords(cfg PasswordConfig) (*Passwords, error) {
	if cfg.Cost == (PasswordCost{}) {
		cfg.Cost = DefaultPasswordCost()
	}
	if cfg.Concurrent == 0 {
		cfg.Concurrent = runtime.GOMAXPROCS(0)
	}
	if cfg.Queue == 0 {
		cfg.Queue = 16 * cfg.Concurrent
	}
	if err := cfg.Cost.check(); err != nil {
		return nil, fmt.Errorf("password hashing: %w", err)
	}
	if cfg.Concurrent < 0 || cfg.Queue < 0 {
		return nil, errors.New("password hashing: negative bound")
	}
	return &Passwords{
		cost:    cfg.Cost,
		admit:   make(chan struct{}, cfg.Concurrent+cfg.Queue),
		running: make(chan struct{}, cfg.Concurrent),
		nobody:  passwordHash{cost: cfg.Cost, salt: make([]byte, saltSize), sum: make([]byte, passwordSumSize)},
	}, nil
}

// Hash gives the PHC string of password under a fresh salt. The error is
// ErrBusy, or ctx's while waiting.
func (p *Passwords) Hash(ctx context.Context, password Secret) (string, error) {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt)
	h, err := p.run(ctx, p.cost, salt, password)
	if err != nil {
		return "", fmt.Errorf("hashing a password: %w", err)
	}
	return h.String(), nil
}

// Verify compares password with a stored PHC string. For an unknown user stored
// is empty: it is never right and takes as long. outdated says that the password
// is right and should be hashed anew, because the cost has changed since. The
// error is ErrBusy, ctx's while waiting, or says that stored is malformed.
func (p *Passwords) Verify(ctx context.Context, stored string, password Secret) (ok, outdated bool, err error) {
	want := p.nobody
	if stored != "" {
		if want, err = parsePasswordHash(stored); err != nil {
			return false, false, fmt.Errorf("verifying a password: %w", err)
		}
	}
	got, err := p.run(ctx, want.cost, want.salt, password)
	if err != nil {
		return false, false, fmt.Errorf("verifying a password: %w", err)
	}
	ok = subtle.ConstantTimeCompare(want.sum, got.sum) == 1 && stored != ""
	return ok, ok && want.cost != p.cost, nil
}

// run hashes when it is its turn. A hash that runs is not stopped: it is short.
func (p *Passwords) run(ctx context.Context, cost PasswordCost, salt []byte, password Secret) (passwordHash, error) {
	select {
	case p.admit <- struct{}{}:
		defer func() { <-p.admit }()
	default:
		p.refused.Add(1)
		return passwordHash{}, ErrBusy
	}
	select {
	case p.running <- struct{}{}:
		defer func() { <-p.running }()
	case <-ctx.Done():
		return passwordHash{}, ctx.Err()
	}
	return hashPassword(cost, salt, password.Reveal()), nil
}
