package projector

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// sourceOf hands over entries, 500 at a time.
func sourceOf(entries []eventlog.Entry) func(func([]eventlog.Entry) error) error {
	return func(each func([]eventlog.Entry) error) error {
		for chunk := range slices.Chunk(entries, 500) {
			if err := each(slices.Clone(chunk)); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestReplay replays a log up to moments of its past, each of which has the rows
// of a read model that has folded so much and no more.
func TestReplay(t *testing.T) {
	log := partitionLog(3, 6000)
	for _, n := range []int{1, 499, 500, 501, 5999, 6000} {
		r, err := Replay(t.Context(), t.TempDir(), realm, stream, Until{Seq: uint64(n)}, sourceOf(log), nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Position != uint64(n) || r.State != replayed(t, log[:n]) {
			t.Errorf("replayed until %d it is at %d, or has other rows", n, r.Position)
		}
		var chain events.Hash
		for _, e := range log[:n] {
			chain = chain.Next(e.Seq, e.Message)
		}
		if r.Hash != chain {
			t.Errorf("the chain up to %d is another", n)
		}
	}
	r, err := Replay(t.Context(), t.TempDir(), realm, stream, Until{}, sourceOf(log), nil)
	if err != nil || r.Position != uint64(len(log)) {
		t.Errorf("replayed to the end it is at %d: %v", r.Position, err)
	}
	// The server's clock wavers; the log's never goes back.
	var clock time.Time
	for i, e := range log[:3000] {
		if e.Stored.After(clock) {
			clock = e.Stored
		}
		if i%1000 != 7 {
			continue
		}
		r, err := Replay(t.Context(), t.TempDir(), realm, stream, Until{Time: clock}, sourceOf(log), nil)
		last := i
		for ; last+1 < len(log) && !log[last+1].Stored.After(clock); last++ {
		}
		if err != nil || r.Position != uint64(last+1) {
			t.Errorf("until the time of %d it is at %d, want %d: %v", i+1, r.Position, last+1, err)
		}
	}
}

// TestReplayFails is what ends a replay before its end.
func TestReplayFails(t *testing.T) {
	log := partitionLog(3, 12_000)
	failure := errors.New("cannot be read further")
	for name, c := range map[string]struct {
		source func(func([]eventlog.Entry) error) error
		want   error
	}{
		"a source that fails": {func(each func([]eventlog.Entry) error) error {
			return errors.Join(each(log[:100]), failure)
		}, failure},
		"a gap":  {sourceOf(slices.Delete(slices.Clone(log), 5000, 5001)), errDiverged},
		"poison": {sourceOf(append(slices.Clone(log[:5000]), eventlog.Entry{Seq: 5001})), nil},
	} {
		_, err := Replay(t.Context(), t.TempDir(), realm, stream, Until{}, c.source, nil)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Replay(ctx, t.TempDir(), realm, stream, Until{}, sourceOf(log), func(uint64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("told to stop: %v", err)
	}
	dir := t.TempDir()
	if _, err := Replay(t.Context(), dir, realm, stream, Until{Seq: 3}, sourceOf(log), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Replay(t.Context(), dir, realm, stream, Until{Seq: 3}, sourceOf(log), nil); err == nil {
		t.Error("a read model was folded over")
	}
}
