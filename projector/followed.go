package projector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

const (
	// openPatience bounds one try to follow one more partition.
	openPatience = 5 * time.Second
	// openTries is how often a start looks for the stream of a partition that was
	// added, because the server that is asked may be behind.
	openTries = 10
)

// followed is what a feed follows. It is never changed, but replaced by another.
type followed struct {
	partitions map[events.Partition]*partitionFeed
	followers  map[string]*follower // by stream, the registry's too
}

// partitionFeed is what a feed knows of one partition.
type partitionFeed struct {
	*follower
	*revocations
}

// An opening is a partition that is about to be followed.
type opening struct {
	// done is closed when it is, or could not be for err.
	done chan struct{}
	err  error
}

// open opens what there is when the feed begins.
func (f *Feed) open(ctx context.Context) error {
	realm := f.log.Realm()
	f.registryFed = newFollower(f.log, f.cfg, realm.RegistryStream(), realm.RegistryTickSubject(), f.registry.apply)
	f.followed.Store(&followed{
		partitions: map[events.Partition]*partitionFeed{}, followers: map[string]*follower{f.registryFed.stream: f.registryFed},
	})
	f.done.Go(func() { f.registryFed.run(f.running) })
	if err := f.registryFed.catchUp(ctx); err != nil {
		return err
	}
	for _, p := range f.log.Partitions() {
		if err := f.Announce(ctx, p, events.Meta{Actor: "system"}); err != nil {
			return err
		}
	}
	added := f.registry.allPartitions()
	for _, p := range added {
		f.opening(p.Number) // all at once
	}
	for _, p := range added {
		if err := f.openAtStart(ctx, p.Number); err != nil {
			return err
		}
	}
	f.done.Go(func() { f.followAdded(f.running) })
	return nil
}

// openAtStart opens a partition, for as long as ctx allows.
func (f *Feed) openAtStart(ctx context.Context, p events.Partition) error {
	for tries := 1; ; tries++ {
		err := f.Open(ctx, p)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, eventlog.ErrNoPartition) && tries == openTries:
			return fmt.Errorf("partition %d was added and its stream is gone: restore the log: %w", p, err)
		case !wait(ctx, pause):
			return err
		}
	}
}

// followAdded opens what is added, until ctx ends.
func (f *Feed) followAdded(ctx context.Context) {
	for ctx.Err() == nil {
		more, again := f.registry.additions.next(), false
		for _, p := range f.registry.allPartitions() {
			if err := f.Open(ctx, p.Number); err != nil && ctx.Err() == nil {
				f.cfg.Logger.Warn("a partition that was added is not followed yet", "partition", int(p.Number), "reason", err)
				again = true
			}
		}
		f.changed.notify()
		if again {
			wait(ctx, pause)
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
		}
	}
}

// Added are all partitions that were added, as far as the feed knows, and the
// first one, by their numbers.
func (f *Feed) Added() []fold.Partition { return f.registry.allPartitions() }

// Partitions are those of Added that are followed. In others nothing may be issued.
func (f *Feed) Partitions() []events.Partition {
	var all []events.Partition
	now := f.followed.Load()
	for _, p := range f.registry.allPartitions() {
		if _, ok := now.partitions[p.Number]; ok {
			all = append(all, p.Number)
		}
	}
	return all
}

// PartitionsChanged is closed when Partitions may have more. Take it first.
func (f *Feed) PartitionsChanged() <-chan struct{} { return f.changed.next() }

// Everywhere are all partitions in which anything may have been issued before the
// call, by whichever replica. All of them are followed then. It proves that by a
// tick of the registry: nothing is issued in a partition before the event that
// added it. The error is ErrStale.
func (f *Feed) Everywhere(ctx context.Context) ([]events.Partition, error) {
	proving, cancel := context.WithTimeout(ctx, f.cfg.Bound)
	defer cancel()
	if err := f.registryFed.current(proving); err != nil {
		return nil, err
	}
	var all []events.Partition
	for _, p := range f.registry.allPartitions() {
		if err := f.Open(ctx, p.Number); err != nil {
			return nil, err
		}
		all = append(all, p.Number)
	}
	return all, nil
}

// Announce adds a partition that is open in the log, unless it was added before,
// and returns when the feed knows it. From then on others open it, and things may
// be issued in it.
func (f *Feed) Announce(ctx context.Context, p events.Partition, meta events.Meta) error {
	subject := f.log.Realm().PartitionSubject(p)
	if _, ok := lookup(f.registry, f.registry.partitions, subject.ID()); ok || p == 0 {
		return nil
	}
	_, err := f.log.Append(ctx, eventlog.Unit{Event: events.Event{
		ID: f.cfg.NewID(), Source: f.cfg.Source, Time: f.Now(p), Subject: subject, Meta: meta, Fact: events.PartitionAdded{},
	}})
	if err != nil && !errors.Is(err, eventlog.ErrConflict) { // others may be faster
		return fmt.Errorf("announce partition %d: %w", p, err)
	}
	return f.registryFed.current(ctx)
}

// Open follows a partition, if the feed does not yet, and returns when it is fresh.
// It is for what a token has proved to be there, maybe ahead of the registry. The
// error is ErrStale.
func (f *Feed) Open(ctx context.Context, p events.Partition) error {
	if _, ok := f.followed.Load().partitions[p]; ok {
		return nil
	}
	o := f.opening(p)
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		return fmt.Errorf("%w: partition %d: %w", ErrStale, p, ctx.Err())
	}
}

// opening begins to open a partition, or joins who does.
func (f *Feed) opening(p events.Partition) *opening {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o, ok := f.openings[p]; ok {
		return o
	}
	o := &opening{done: make(chan struct{})}
	if err := f.running.Err(); err != nil {
		o.err = fmt.Errorf("%w: partition %d: %w", ErrStale, p, err)
		close(o.done)
		return o
	}
	f.openings[p] = o
	f.done.Go(func() {
		if err := f.follow(f.running, p); err != nil {
			o.err = fmt.Errorf("%w: partition %d: %w", ErrStale, p, err)
		}
		f.mu.Lock()
		delete(f.openings, p)
		f.mu.Unlock()
		close(o.done)
	})
	return o
}

// follow follows a partition from now on, once it is fresh.
func (f *Feed) follow(ctx context.Context, p events.Partition) error { //nolint:contextcheck // it is followed until Close
	if _, ok := f.followed.Load().partitions[p]; ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	if err := f.log.OpenPartition(ctx, p); err != nil {
		return err
	}
	fed, err := f.newPartitionFeed(ctx, p)
	if err != nil {
		return err
	}
	running, end := context.WithCancel(f.running)
	f.done.Go(func() {
		defer end()
		fed.run(running)
	})
	if err := fed.catchUp(ctx); err != nil {
		end()
		return err
	}
	f.mu.Lock()
	old := f.followed.Load()
	next := &followed{maps.Clone(old.partitions), maps.Clone(old.followers)}
	next.partitions[p], next.followers[fed.stream] = fed, fed.follower
	f.followed.Store(next)
	f.mu.Unlock()
	f.changed.notify()
	return nil
}

func (f *Feed) newPartitionFeed(ctx context.Context, p events.Partition) (*partitionFeed, error) {
	realm, known := f.log.Realm(), newRevocations()
	fed := newFollower(f.log, f.cfg, realm.PartitionStream(p), realm.RevokedSubject(p), known.apply)
	head, err := firstHead(ctx, f.log, fed.stream)
	if err != nil {
		return nil, err
	}
	// By the log's own time, not by a local clock that may be ahead of it.
	fed.from.Subjects = []string{string(realm.RevokedSubject(p))}
	if head.Seq > 0 {
		fed.from.Time = head.Time.Add(-revocationReach)
		fed.newest = head.Time
	}
	return &partitionFeed{follower: fed, revocations: known}, nil
}

// firstHead waits for a stream's head. A cluster may just be looking for a
// leader.
func firstHead(ctx context.Context, log *eventlog.Log, stream string) (eventlog.Head, error) {
	for {
		head, err := log.Head(ctx, stream)
		if err == nil || !wait(ctx, pause) {
			return head, err
		}
	}
}
