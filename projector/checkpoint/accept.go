package checkpoint

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// clockSkew is how far the clock of a replica that issues may be off the log's. What
// a loss ends is told by the second in which it was issued.
const clockSkew = time.Second

// acceptLosses makes the losses that an operator names facts of the log, and puts
// what was signed of the streams aside. The event comes first: a stream that has not
// got it stays failed. A loss that was accepted before is left alone, so that it does
// no harm to start that way again, but for the file of a process that has not done so
// yet. Who else runs has still failed, until it is started again.
func (k *Keeper) acceptLosses(ctx context.Context) error {
	lost := map[string]uint64{}
	for stream, size := range k.cfg.Accept {
		accepted, err := k.accepted(ctx, stream, size)
		if err != nil {
			return err
		}
		if !accepted {
			lost[stream] = size
			continue
		}
		if _, err := os.Stat(k.aside(stream, size)); errors.Is(err, fs.ErrNotExist) {
			if err := k.putFileAside(stream, size); err != nil {
				return err
			}
		}
	}
	if len(lost) == 0 {
		return nil
	}
	failed := func(stream string) bool { return k.cfg.Log.Failed(stream) != nil }
	if slices.ContainsFunc(k.cfg.Log.Streams(), failed) { // for more than was named
		return nil
	}
	if err := k.record(ctx, lost); err != nil {
		return err
	}
	for stream, size := range lost {
		if err := k.putAside(ctx, stream, size); err != nil {
			return err
		}
	}
	return nil
}

// accepted reports whether the log says that the loss was accepted, and nothing that
// the stream has failed again since.
func (k *Keeper) accepted(ctx context.Context, stream string, size uint64) (bool, error) {
	if !slices.Contains(k.cfg.Log.Streams(), stream) {
		return false, fmt.Errorf("there is no stream %s", stream)
	}
	have, _, err := k.read(ctx, stream)
	if err != nil || have.Failed != "" {
		return false, err
	}
	before, err := k.cfg.Log.After(ctx, k.cfg.Log.Realm().RestoredSubject(), 0)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(before, func(r events.Recorded) bool {
		f, ok := r.Fact.(events.LogRestored)
		if !ok {
			return false
		}
		of, ok := f.Of(stream)
		return ok && of.Signed == size
	}), nil
}

// record appends the losses to every stream that they end something in, and to the
// registry last: what counts is there. Nothing is issued in the second of the event,
// by whoever's clock.
func (k *Keeper) record(ctx context.Context, lost map[string]uint64) error {
	fact, err := k.restored(ctx, lost)
	if err != nil {
		return err
	}
	realm := k.cfg.Log.Realm()
	subjects := []events.Subject{}
	for _, p := range k.cfg.Log.Partitions() {
		if _, ok := fact.Of(realm.PartitionStream(p)); ok {
			subjects = append(subjects, realm.RevokedSubject(p))
		}
	}
	if err := pause(ctx, clockSkew); err != nil {
		return err
	}
	for _, s := range append(subjects, realm.RestoredSubject()) {
		_, err := k.cfg.Log.Append(ctx, eventlog.Unit{Event: events.Event{
			ID: rand.Text(), Source: k.cfg.Source, Time: time.Now().UTC(), Subject: s,
			Meta: events.Meta{Actor: "admin"}, Fact: fact,
		}})
		if err != nil {
			return fmt.Errorf("append %s: %w", fact.Type(), err)
		}
	}
	return pause(ctx, clockSkew)
}

// restored says what the streams have, of which something is lost. Access tokens end
// by the second of the event, so a clock that is behind the log would spare some.
func (k *Keeper) restored(ctx context.Context, lost map[string]uint64) (fact events.LogRestored, err error) {
	registry := k.cfg.Log.Realm().RegistryStream()
	_, all := lost[registry]
	for _, stream := range k.cfg.Log.Streams() {
		signed, ok := lost[stream]
		if !ok && !all {
			continue
		}
		head, err := k.cfg.Log.Head(ctx, stream)
		if err != nil {
			return fact, err
		}
		if ahead := time.Until(head.Time); ahead > clockSkew {
			return fact, fmt.Errorf("%s has a message of %v from now: set the clocks, of the log's servers too, before a loss is accepted", stream, ahead)
		}
		fact.Streams = append(fact.Streams, events.RestoredStream{Stream: stream, Signed: signed, Size: head.Seq})
	}
	fact.Keep = k.cfg.Keep
	return fact, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// putAside puts what was signed up to a size aside, in the file as evidence, and
// takes it from the record, with what it says of a failure.
func (k *Keeper) putAside(ctx context.Context, stream string, size uint64) error {
	have, revision, err := k.read(ctx, stream)
	if err != nil {
		return err
	}
	theirs, err := k.parse([]byte(have.Checkpoint))
	if err != nil {
		return err
	}
	if have != (record{}) && (theirs == nil || theirs.Size <= size) {
		err := k.write(ctx, stream, record{}, revision)
		if errors.Is(err, errRaced) {
			return k.putAside(ctx, stream, size)
		}
		if err != nil {
			return err
		}
	}
	k.cfg.Logger.Error("a loss is accepted: what was there before has ended, and what was signed is set aside",
		"stream", stream, "size", size, "checkpoint", have.Checkpoint, "failed", have.Failed, "file", k.aside(stream, size))
	return k.putFileAside(stream, size)
}

// aside is where the file goes that has what was signed up to a size.
func (k *Keeper) aside(stream string, size uint64) string {
	return fmt.Sprintf("%s.lost-%d", k.path(stream), size)
}

func (k *Keeper) putFileAside(stream string, size uint64) error {
	if k.cfg.Dir == "" {
		return nil
	}
	aside := k.aside(stream, size)
	ours, err := k.readFile(stream)
	if err != nil {
		return err
	}
	if ours != nil && ours.Size <= size {
		return os.Rename(k.path(stream), aside)
	}
	return writeFile(k.cfg.Dir, filepath.Base(aside), nil)
}
