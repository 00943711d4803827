// Package grow makes the store of an authority that has many live grants, to measure what they cost and whether anything
// depends on their number.
//
// The store is what chancery serve makes of its own: the same keys, sealed as there, and the same events, decided by the
// same rules and appended in the same way. Whoever has a refresh token of it refreshes it over HTTP once chancery serve
// runs on the directory. Only two things are left out: HTTP, and the records of people, so nobody of them can sign in.
package grow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded"
	"github.com/chancery-authority/chancery/events/eventlog"
)

const (
	// ClientID is the client of all grants.
	ClientID = "grow"
	// grantsPerUser is how many grants each user has given.
	grantsPerUser = 10
	// workers is how many events are on their way at once, so that what comes together is grouped into whole batches.
	workers = 1024
	// keyRingFile is where chancery serve looks for the key-encryption keys in its data directory.
	keyRingFile = "key-encryption-keys"
	// appendTimeout is how long an append may take on a machine that does much else.
	appendTimeout = time.Minute
	// stopTimeout bounds how long the embedded server may take to close the store.
	stopTimeout = time.Minute
)

// Config says what to make and where.
type Config struct {
	// Dir is the data directory that is made. It must not have a log yet.
	Dir string
	// Issuer is that of the authority, as it will be told to chancery serve.
	Issuer string
	// Grants is how many there will be, and Partitions over how many streams they are spread.
	Grants, Partitions int
	// TokensFile gets Sample refresh tokens, one a line, of grants taken evenly from all and in random order. It must
	// not be there yet.
	TokensFile string
	Sample     int
	// SecretFile gets the secret of ClientID. It must not be there yet.
	SecretFile string
	// Progress, if not nil, is told how many events are in the log, and of how many, as it goes. It is called by many
	// goroutines, one at a time.
	Progress func(done, total uint64)
}

func (c Config) check() error {
	switch {
	case c.Grants < 1:
		return errors.New("want at least one grant")
	case c.Partitions < 1 || c.Partitions > events.MaxPartitions:
		return fmt.Errorf("want 1 to %d partitions", events.MaxPartitions)
	case c.Sample < 0 || c.Sample > c.Grants:
		return errors.New("cannot sample more tokens than there are grants")
	case filepath.Clean(c.TokensFile) == filepath.Clean(c.SecretFile):
		return errors.New("refresh tokens and secret cannot be in one file")
	}
	if _, err := os.Stat(filepath.Join(c.Dir, "nats")); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has a log already, or cannot be looked at: %w", c.Dir, errors.Join(err, fs.ErrExist))
	}
	return nil
}

// users is how many there are.
func (c Config) users() int { return (c.Grants + grantsPerUser - 1) / grantsPerUser }

// Run makes the store. A directory in which it has failed is of no use.
func Run(ctx context.Context, cfg Config) (err error) {
	if err := cfg.check(); err != nil {
		return err
	}
	to, err := createOutputs(cfg.TokensFile, cfg.SecretFile)
	if err != nil {
		return fmt.Errorf("make a file to write to: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, to.remove())
		}
	}()
	ns, err := embedded.Start(embedded.Options{Dir: cfg.Dir})
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err = errors.Join(err, ns.Shutdown(stopping))
	}()
	nc, err := ns.Connect(nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	ring, _, err := secret.OpenRing(filepath.Join(cfg.Dir, keyRingFile))
	if err != nil {
		return err
	}
	log, err := eventlog.Open(ctx, nc, eventlog.Config{Realm: events.DefaultRealm, Partitions: cfg.Partitions})
	if err != nil {
		return err
	}
	a, err := openAuthority(ctx, cfg.Issuer, log, ring)
	if err != nil {
		return err
	}
	defer a.feed.Close()
	return fill(ctx, cfg, a, to)
}

// fill registers the client and users, opens the grants, and writes what is needed to use them.
func fill(ctx context.Context, cfg Config, a *authority, to outputs) error {
	text, err := a.registerClient(ctx)
	if err != nil {
		return fmt.Errorf("register the client: %w", err)
	}
	c := &counter{total: uint64(cfg.users() + 2*cfg.Grants), tell: cfg.Progress} //nolint:gosec // both are positive
	users := make([]owner, cfg.users())
	err = each(ctx, len(users), func(ctx context.Context, i int) (err error) {
		users[i], err = a.registerUser(ctx)
		c.add(1)
		return err
	})
	if err != nil {
		return fmt.Errorf("register users: %w", err)
	}
	tokens := make([]string, cfg.Sample)
	err = each(ctx, cfg.Grants, func(ctx context.Context, i int) error {
		token, err := a.grant(ctx, events.Partition(i%cfg.Partitions), users[i%len(users)]) //nolint:gosec // at most 256
		c.add(2)
		if n, ok := sampled(i, cfg.Grants, cfg.Sample); ok {
			tokens[n] = token
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("open grants: %w", err)
	}
	return to.write(tokens, text.Reveal())
}

// sampled reports whether item i of all is one of a sample of that size, taken evenly, and which.
func sampled(i, all, sample int) (n int, ok bool) {
	n = i * sample / all
	return n, (i+1)*sample/all > n
}

// each does something for 0 to n-1, many at a time, until one fails.
func each(ctx context.Context, n int, do func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var working sync.WaitGroup
	for range min(workers, n) {
		working.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	working.Wait()
	return context.Cause(ctx)
}

// A counter counts the events that are in the log.
type counter struct {
	mu          sync.Mutex
	done, total uint64
	tell        func(done, total uint64)
}

func (c *counter) add(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done += n; c.tell != nil {
		c.tell(c.done, c.total)
	}
}
