package backchannel

import (
	"context"
	"fmt"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

// readPause is between reads of a model that is behind the log.
const readPause = 20 * time.Millisecond

// ended is who is to be told of an end: those that took part in its sessions,
// and were neither told nor given up before. What it is asked of is everything
// that was in the log when the end is worked on, so nobody is left out who got a
// grant before it.
func (d *Deliverer) ended(ctx context.Context, e end) ([]fold.Participant, error) {
	switch f := e.Fact.(type) {
	case events.SessionEnded:
		return d.untold(ctx, e, func(p events.Partition, after uint64) (projector.Participants, error) {
			return d.cfg.Reader.Participants(ctx, p, f.Session, after)
		})
	case events.UserRegistered, events.UserEnabled, events.UserErased:
		return nil, nil
	}
	if e.Subject.Kind() != "user" {
		return nil, nil
	}
	user := e.Subject.ID()
	epoch, raised, err := d.epochBefore(ctx, e)
	if err != nil || !raised {
		return nil, err
	}
	all, err := d.untold(ctx, e, func(p events.Partition, after uint64) (projector.Participants, error) {
		return d.cfg.Reader.UserParticipants(ctx, p, user, after)
	})
	return upTo(epoch, all), err
}

// epochBefore is the user's epoch up to the event, and whether that raised it
// and so ended all of the user's sessions.
func (d *Deliverer) epochBefore(ctx context.Context, e end) (epoch uint64, raised bool, err error) {
	all, err := d.cfg.Log.After(ctx, e.Subject, 0)
	if err != nil {
		return 0, false, fmt.Errorf("read the user: %w", err)
	}
	var u fold.User
	for _, r := range all {
		epoch = u.Epoch
		if u, err = u.Apply(r); err != nil {
			return 0, false, fmt.Errorf("fold the user: %w", err)
		}
		if r.Seq == e.Seq {
			return epoch, u.Epoch > epoch, nil
		}
	}
	return 0, false, fmt.Errorf("read the user: sequence %d is not there", e.Seq)
}

// upTo leaves out those of sessions that were opened since.
func upTo(epoch uint64, all []fold.Participant) (those []fold.Participant) {
	for _, p := range all {
		if p.UserEpoch <= epoch {
			those = append(those, p)
		}
	}
	return those
}

// pair is a client of a session, which is told once.
type pair struct {
	session events.SessionID
	client  string
}

func (d *Deliverer) untold(ctx context.Context, e end, read func(events.Partition, uint64) (projector.Participants, error)) ([]fold.Participant, error) {
	newest := map[pair]fold.Participant{}
	told := map[pair]bool{}
	// A grant of the session may be in a partition that this replica has not heard of.
	partitions, err := d.cfg.Feed.Everywhere(ctx)
	if err != nil {
		return nil, fmt.Errorf("find partitions: %w", err)
	}
	for _, p := range partitions {
		stream := d.cfg.Log.Realm().PartitionStream(p)
		head, err := d.cfg.Log.Head(ctx, stream)
		if err != nil {
			return nil, fmt.Errorf("read the head of %s: %w", stream, err)
		}
		least := head.Seq
		if e.Subject == d.cfg.Log.Realm().RevokedSubject(p) {
			least = max(least, e.Seq)
		}
		err = eachPage(ctx, least, func(after uint64) (projector.Participants, error) { return read(p, after) }, func(got projector.Participants) {
			for _, one := range got.Participants {
				newest[pair{one.Session, one.Client}] = one
			}
			for _, l := range got.Logouts {
				told[pair{l.Session, l.Client}] = true
			}
		})
		if err != nil {
			return nil, fmt.Errorf("read who took part, from %s: %w", stream, err)
		}
	}
	var left []fold.Participant
	for who, one := range newest {
		if !told[who] {
			left = append(left, one)
		}
	}
	return left, nil
}

// eachPage reads all pages of a model that has folded at least so much, and
// waits for it.
func eachPage(ctx context.Context, least uint64, read func(after uint64) (projector.Participants, error), take func(projector.Participants)) error {
	after := uint64(0)
	for {
		got, err := read(after)
		if err != nil {
			return err
		}
		if got.Position < least {
			select {
			case <-time.After(readPause):
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		take(got)
		if len(got.Participants) < projector.MaxParticipants {
			return nil
		}
		after = got.Participants[len(got.Participants)-1].Seq
	}
}
