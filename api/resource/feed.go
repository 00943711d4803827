package resource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/chancery-authority/chancery/api/endings"
	"github.com/chancery-authority/chancery/api/rules"
)

const (
	// firstPause and maxPause are how long to wait before a feed that was cut is opened
	// again, where the authority does not say.
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
	// maxStep is how far the wall clock may be put while a feed is open: by it, what
	// is known would look older than it is until the feed is opened again.
	maxStep = 250 * time.Millisecond
)

// A feed is the authority's, over HTTP.
type feed struct {
	http      *authority
	logger    *slog.Logger
	announced func(keys endings.Digest)
	// patience is how long a feed may prove nothing until another is opened.
	patience time.Duration
	set      endings.Set
	// lastID is where to go on. It belongs to run.
	lastID string

	mu sync.RWMutex
	// asOf is the moment up to which everything is known of the partitions.
	asOf       time.Time
	partitions []int
	// stored is the authority's time, as it was told last.
	stored time.Time
}

func newFeed(a *authority, cfg Config, announced func(endings.Digest)) *feed {
	return &feed{http: a, logger: cfg.Logger, announced: announced, patience: max(cfg.MaxAge, 2*time.Second)}
}

// Now is described at Revocations.
func (f *feed) Now() time.Time {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if now := time.Now(); now.After(f.stored) {
		return now
	}
	return f.stored
}

// Ended is described at Revocations.
func (f *feed) Ended(_ context.Context, kid string, links []rules.Link) (rules.Why, time.Time) {
	asOf := f.knownAsOf(links) // first: what ends meanwhile is not missed
	return f.set.Ended(kid, links), asOf
}

// knownAsOf is zero if nothing is known of the partition of one of the links.
func (f *feed) knownAsOf(links []rules.Link) time.Time {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if slices.ContainsFunc(links, func(l rules.Link) bool { return !slices.Contains(f.partitions, int(l.Partition)) }) {
		return time.Time{}
	}
	return f.asOf
}

// run follows until ctx ends.
func (f *feed) run(ctx context.Context) {
	pause := firstPause
	for {
		retry, err := f.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		f.logger.Info("the revocation feed is opened again", "reason", err)
		if retry >= 0 { // it was open
			pause = max(firstPause, min(retry, maxPause))
		}
		timer := time.NewTimer(pause/2 + rand.N(pause)) //nolint:gosec // spreads readers, no secret
		pause = min(2*pause, maxPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// errSilent is why a feed was given up.
var errSilent = errors.New("it proved nothing for too long")

// follow reads one feed to its end, and tells when to come back: negative if it
// could not be opened.
func (f *feed) follow(ctx context.Context) (retry time.Duration, err error) {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	silent := time.AfterFunc(f.patience, func() { giveUp(errSilent) })
	defer silent.Stop()
	sent := time.Now()
	response, err := f.http.open(ctx, f.lastID)
	if err != nil {
		return -1, fmt.Errorf("open: %w", errors.Join(err, context.Cause(ctx)))
	}
	defer response.Body.Close()
	decoder, marked := endings.NewDecoder(response.Body), false
	for {
		e, err := decoder.Next()
		if err != nil {
			return max(0, decoder.Retry), fmt.Errorf("read: %w", errors.Join(err, context.Cause(ctx)))
		}
		switch e.Name {
		case endings.Ended:
			if err = f.take(e.Data); err == nil && !marked {
				silent.Reset(f.patience) // all there is may take a while, and is not begun anew
			}
		case endings.Fresh:
			if err = f.mark(e.Data, sent); err == nil {
				f.lastID, marked = decoder.LastID, true
				silent.Reset(f.patience)
			}
		}
		if err != nil {
			return max(0, decoder.Retry), fmt.Errorf("read %s: %w", e.Name, err)
		}
	}
}

func (f *feed) take(data []byte) error {
	var entries []endings.Entry
	if err := json.Unmarshal(data, &entries); err != nil {
		return err
	}
	f.set.Add(entries...)
	return nil
}

// mark takes in how fresh a feed is that was asked for at sent. All that a mark
// covers came before it.
func (f *feed) mark(data []byte, sent time.Time) error {
	var m endings.Mark
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	const day = 24 * time.Hour
	since := time.Duration(m.AsOf) * time.Millisecond
	if m.AsOf > day.Milliseconds() || m.AsOf < -day.Milliseconds() || sent.Add(since).After(time.Now()) {
		return errors.New("as of a moment that has not come yet, or is long over")
	}
	if now := time.Now(); (now.Round(0).Sub(sent.Round(0)) - now.Sub(sent)).Abs() > maxStep {
		return errors.New("the clock was stepped since it was opened")
	}
	f.mu.Lock()
	if asOf := sent.Add(since); asOf.After(f.asOf) {
		f.asOf, f.partitions = asOf, m.Partitions
	}
	if stored := time.Unix(m.Time, 0); stored.After(f.stored) {
		f.stored = stored
	}
	f.mu.Unlock()
	f.set.Forget(m.Time)
	f.announced(m.Keys)
	return nil
}
