package authority

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

const (
	// partitionPatience is how long a request waits until a partition that is new
	// here can be read.
	partitionPatience = 3 * time.Second
	// partitionPause is between two looks whether it can.
	partitionPause = 50 * time.Millisecond
	// probeTimeout bounds one look at all of them.
	probeTimeout = 2 * time.Second
)

// inUse are the partitions that this replica opens new grants in: those that were
// added, whose revocations it hears of, and that a read model has answered for. A
// partition stays in use once it is.
type inUse struct {
	of atomic.Pointer[[]events.Partition]
}

// Partitions are those in use, sorted. Where no read model has answered yet, they
// are all that this replica hears of.
func (a *Authority) Partitions() []events.Partition {
	if in := a.inUse.of.Load(); in != nil && len(*in) > 0 {
		return *in
	}
	return a.Feed.Partitions()
}

// followPartitions takes partitions into use as they can be read, until ctx ends.
func (a *Authority) followPartitions(ctx context.Context) {
	for ctx.Err() == nil {
		changed := a.Feed.PartitionsChanged()
		if !a.takeIntoUse(ctx) {
			pause(ctx, partitionPause)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// takeIntoUse reports whether all partitions that were added are in use.
func (a *Authority) takeIntoUse(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var in []events.Partition
	if old := a.inUse.of.Load(); old != nil {
		in = *old
	}
	all := a.Feed.Partitions()
	answered := make([]bool, len(all))
	var asking sync.WaitGroup
	for i, p := range all {
		if answered[i] = slices.Contains(in, p); !answered[i] {
			asking.Go(func() { answered[i] = a.answers(ctx, p) == nil })
		}
	}
	asking.Wait()
	var now []events.Partition
	for i, p := range all {
		if answered[i] {
			now = append(now, p)
		}
	}
	if a.inUse.of.Store(&now); len(in) > 0 && len(now) > len(in) {
		a.Logger.Info("grants are opened in more partitions", "partitions", len(now))
	}
	return len(now) == len(a.Feed.Added())
}

// answers asks for a grant that cannot be.
func (a *Authority) answers(ctx context.Context, p events.Partition) error {
	_, err := a.Reader.Grant(ctx, events.NewGrantID(p, [16]byte{}))
	return err
}

// partition makes sure that this replica hears of a partition's revocations, and
// that its grants can be read. A token or a request has proved that it is there,
// maybe before the registry has told. Nothing of a partition is accepted and
// nothing is issued in it before that.
func (a *Authority) partition(ctx context.Context, p events.Partition) error {
	if slices.Contains(a.Partitions(), p) {
		return nil
	}
	if err := a.follow(ctx, p); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, partitionPatience)
	defer cancel()
	for {
		err := a.answers(ctx, p)
		if err == nil {
			return nil
		}
		if pause(ctx, partitionPause); ctx.Err() != nil {
			return unavailable("read the partition", fmt.Errorf("partition %d: %w", p, err))
		}
	}
}

// follow is partition for what takes no read.
func (a *Authority) follow(ctx context.Context, p events.Partition) error {
	return wrapUnavailable("follow the partition", a.Feed.Open(ctx, p))
}

// hasPartition reports whether there is a partition, for ids that no token has
// proved.
func (a *Authority) hasPartition(ctx context.Context, p events.Partition) (bool, error) {
	if slices.Contains(a.Log.Partitions(), p) {
		return true, nil
	}
	all, err := a.Everywhere(ctx)
	return slices.Contains(all, p), err
}

// Everywhere are all partitions in which anything may have been issued before the
// call, by any replica: to end all of something, or to say that there is none.
func (a *Authority) Everywhere(ctx context.Context) ([]events.Partition, error) {
	all, err := a.Feed.Everywhere(ctx)
	return all, wrapUnavailable("prove which partitions there are", err)
}

// known are all partitions that were added up to the bound ago.
func (a *Authority) known(ctx context.Context) ([]events.Partition, error) {
	if err := a.requireFreshRegistry(ctx); err != nil {
		return nil, err
	}
	var all []events.Partition
	for _, p := range a.Feed.Added() {
		if err := a.follow(ctx, p.Number); err != nil {
			return nil, err
		}
		all = append(all, p.Number)
	}
	return all, nil
}

// spread is the partition of a client's grant-less tokens and refusals.
func (a *Authority) spread(client string) events.Partition {
	return events.SpreadPartition(client, a.Partitions())
}

// A PartitionState is a partition as this replica sees it.
type PartitionState struct {
	Partition events.Partition
	Stream    string
	// AddedAt is the log's time, zero for the first one.
	AddedAt time.Time
	// Head is the sequence of the newest message.
	Head uint64
	// InUse says that this replica opens grants in it, and Reason why not.
	InUse  bool
	Reason string
}

// PartitionStates are all partitions that were added.
func (a *Authority) PartitionStates(ctx context.Context) ([]PartitionState, error) {
	if _, err := a.Everywhere(ctx); err != nil {
		return nil, err
	}
	var all []PartitionState
	for _, p := range a.Feed.Added() {
		s := PartitionState{
			Partition: p.Number, Stream: a.Log.Realm().PartitionStream(p.Number), AddedAt: p.AddedAt,
			InUse: slices.Contains(a.Partitions(), p.Number),
		}
		head, err := a.Log.Head(ctx, s.Stream)
		if err == nil && !s.InUse {
			err = a.answers(ctx, p.Number)
		}
		if err = cmp.Or(a.Log.Failed(s.Stream), err); err != nil {
			s.Reason = err.Error()
		}
		s.Head = head.Seq
		all = append(all, s)
	}
	return all, nil
}

// AddPartitions adds partitions until there are that many, those with the lowest
// numbers that there are not. It waits until grants are opened in them here, as
// long as ctx allows: others follow. To ask again adds none twice, and finishes
// what was begun: first is the stream, then the event. The refusal is
// rules.BadParameter.
func (a *Authority) AddPartitions(ctx context.Context, total int, caller Caller) ([]PartitionState, error) {
	if total < 1 || total > events.MaxPartitions {
		return nil, &rules.Refusal{Reason: rules.BadParameter, Parameter: "total"}
	}
	there, err := a.Everywhere(ctx)
	if err != nil {
		return nil, err
	}
	for p := 0; len(there) < total; p++ {
		if n := events.Partition(p); !slices.Contains(there, n) {
			if err := a.addPartition(ctx, n, caller); err != nil {
				return nil, err
			}
			there = append(there, n)
		}
	}
	a.waitInUse(ctx)
	return a.PartitionStates(ctx)
}

func (a *Authority) addPartition(ctx context.Context, p events.Partition, caller Caller) error {
	ctx, cancel := context.WithTimeout(ctx, foldPatience)
	defer cancel()
	err := a.Log.CreatePartition(ctx, p)
	if err == nil {
		err = a.Feed.Announce(ctx, p, caller.meta(adminActor))
	}
	var refusal *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		return &rules.Refusal{Reason: StreamDenied, Cause: err.Error()}
	case errors.Is(err, eventlog.ErrContract), errors.As(err, &refusal) && refusal.Code < 500:
		return &rules.Refusal{Reason: StreamRefused, Cause: err.Error()}
	case err != nil:
		return unavailable("add a partition", err)
	}
	a.Logger.Info("a partition was added", "partition", int(p), "request", caller.Request)
	return nil
}

// waitInUse waits until all partitions that were added are in use here.
func (a *Authority) waitInUse(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, foldPatience)
	defer cancel()
	for len(a.Partitions()) < len(a.Feed.Added()) && ctx.Err() == nil {
		pause(ctx, partitionPause/5)
	}
}
