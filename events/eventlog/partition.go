package eventlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events"
)

// ErrNoPartition is returned for a partition whose stream the server does not
// show. One that is cut off from the others does not show the newest.
var ErrNoPartition = errors.New("no such partition")

// followPause is how long after a failure the partitions are followed again.
const followPause = 500 * time.Millisecond

// opened is what a Log has open. It is never changed, but replaced by another.
type opened struct {
	partitions []events.Partition // sorted
	streams    map[string]*stream // by name
	// replaced is closed when there is another.
	replaced chan struct{}
}

// Partitions are those that are open here, sorted: all that there were when the
// log was opened, and those that were opened since.
func (l *Log) Partitions() []events.Partition { return slices.Clone(l.opened.Load().partitions) }

// PartitionsChanged is closed when one more partition is open. Take it before
// Partitions, so that none is missed.
func (l *Log) PartitionsChanged() <-chan struct{} { return l.opened.Load().replaced }

// Streams are the names of all streams that are open: the registry's and the
// partitions'.
func (l *Log) Streams() []string {
	names := []string{l.cfg.Realm.RegistryStream()}
	for _, p := range l.opened.Load().partitions {
		names = append(names, l.cfg.Realm.PartitionStream(p))
	}
	return names
}

// stream finds an open stream by name.
func (l *Log) stream(name string) (*stream, error) {
	s, ok := l.opened.Load().streams[name]
	if !ok {
		return nil, fmt.Errorf("realm %s has no stream %.64q", l.cfg.Realm, name)
	}
	return s, nil
}

func (l *Log) openStreams(ctx context.Context) error {
	ctx, cancel := withDefaultTimeout(ctx, openTimeout)
	defer cancel()
	var partitions []events.Partition
	err := retry(ctx, func(ctx context.Context) (err error) {
		partitions, err = l.findPartitions(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("find partitions: %w", err)
	}
	registry, err := l.openStream(ctx, l.registryConfig())
	name := l.cfg.Realm.RegistryStream()
	if err != nil {
		return fmt.Errorf("stream %s: %w", name, err)
	}
	l.opened.Store(&opened{streams: map[string]*stream{name: newStream(l, name, registry)}, replaced: make(chan struct{})})
	for _, p := range partitions {
		if err := l.CreatePartition(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// findPartitions are the configured partitions and all that exist, sorted.
func (l *Log) findPartitions(ctx context.Context) ([]events.Partition, error) {
	found := make([]events.Partition, l.cfg.Partitions)
	for i := range found {
		found[i] = events.Partition(i)
	}
	names := l.js.StreamNames(ctx)
	for name := range names.Name() {
		if p, ok := l.cfg.Realm.PartitionOf(name); ok && int(p) >= l.cfg.Partitions {
			found = append(found, p)
		}
	}
	if err := names.Err(); err != nil {
		return nil, err
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// FindPartitions opens all partitions whose streams the server shows. As with every
// read, that it shows none proves nothing.
func (l *Log) FindPartitions(ctx context.Context) error {
	ctx, cancel := withDefaultTimeout(ctx, readTimeout)
	defer cancel()
	var found []events.Partition
	err := retry(ctx, func(ctx context.Context) (err error) {
		found, err = l.findPartitions(ctx)
		return err
	})
	for _, p := range found {
		if err == nil {
			err = l.OpenPartition(ctx, p)
		}
	}
	if err != nil {
		return fmt.Errorf("find partitions: %w", err)
	}
	return nil
}

// CreatePartition opens a partition, and creates its stream if there is none, with
// as many replicas as the registry has. That is no leave to store anything in it:
// others do not know it before events.PartitionAdded is in the registry. Errors are
// those of Open.
func (l *Log) CreatePartition(ctx context.Context, p events.Partition) error {
	return l.openPartition(ctx, p, func(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
		registry, err := l.stream(l.cfg.Realm.RegistryStream())
		if err != nil {
			return nil, err
		}
		info, err := registry.info(ctx)
		if err != nil {
			return nil, err
		}
		// What one process is told of replicas may be less than what others are.
		c.Replicas = max(c.Replicas, info.Config.Replicas)
		return l.js.CreateStream(ctx, c)
	})
}

// OpenPartition opens a partition that exists. The error is ErrNoPartition if the
// server does not show it, else one of Open's.
func (l *Log) OpenPartition(ctx context.Context, p events.Partition) error {
	return l.openPartition(ctx, p, func(context.Context, jetstream.StreamConfig) (jetstream.Stream, error) {
		return nil, fmt.Errorf("%w: %w", ErrNoPartition, jetstream.ErrStreamNotFound)
	})
}

func (l *Log) openPartition(ctx context.Context, p events.Partition, missing func(context.Context, jetstream.StreamConfig) (jetstream.Stream, error)) error {
	if slices.Contains(l.opened.Load().partitions, p) {
		return nil
	}
	ctx, cancel := withDefaultTimeout(ctx, openTimeout)
	defer cancel()
	c := l.partitionConfig(p)
	s, err := l.findStream(ctx, c, missing)
	if err == nil {
		s, err = l.checked(ctx, s, c)
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", c.Name, err)
	}
	l.opens(p, newStream(l, c.Name, s))
	return nil
}

// opens replaces what is open by the same with one more partition.
func (l *Log) opens(p events.Partition, s *stream) {
	l.adding.Lock()
	defer l.adding.Unlock()
	old := l.opened.Load()
	if slices.Contains(old.partitions, p) { // somebody else was faster
		return
	}
	streams := maps.Clone(old.streams)
	streams[s.name] = s
	l.opened.Store(&opened{
		partitions: slices.Sorted(slices.Values(append(slices.Clone(old.partitions), p))),
		streams:    streams, replaced: make(chan struct{}),
	})
	close(old.replaced)
}

// FollowPartitions opens every partition that was added, and those that will be,
// until ctx ends.
func (l *Log) FollowPartitions(ctx context.Context) {
	from := From{Subjects: []string{string(l.cfg.Realm) + ".partition.*"}}
	for ctx.Err() == nil {
		err := l.Follow(ctx, l.cfg.Realm.RegistryStream(), from, func(batch []Entry) error {
			for _, e := range batch {
				p, ok := events.ParsePartition(events.Subject(e.Message.Subject).ID())
				if !ok {
					continue // whoever folds the registry stops there
				}
				if err := l.OpenPartition(ctx, p); err != nil {
					return err
				}
			}
			return nil
		})
		if ctx.Err() != nil {
			return
		}
		l.cfg.Logger.Warn("partitions that were added are not open yet", "reason", err)
		select {
		case <-ctx.Done():
		case <-time.After(followPause):
		}
	}
}
