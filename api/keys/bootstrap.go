package keys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chancery-authority/chancery/projector/fold"
)

// adoptWithin is how old a private part without events may be to be taken up: it
// is that of a replica that starts at the same time, or of one that died while
// it started. An older one may belong to a log that was lost, and its key must
// not make tokens twice.
const adoptWithin = 10 * time.Minute

// bootstrap makes the keys that are missing. The private part is in the bucket
// before the log speaks of the key, and creating the record decides between
// replicas that do this together; any of them can append the events.
func (m *Manager) bootstrap(ctx context.Context) error {
	states := m.cfg.Keys()
	var newest uint64
	for _, f := range m.families() {
		seq, err := m.ensure(ctx, states, f)
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		newest = max(newest, seq)
	}
	if newest == 0 {
		return nil
	}
	return m.cfg.Wait(ctx, newest)
}

// ensure gives the sequence of the last event on a new key, 0 if none was
// needed.
func (m *Manager) ensure(ctx context.Context, states []fold.Key, f Family) (uint64, error) {
	if _, ok := f.find(states, fold.KeyActive); ok {
		return 0, nil
	}
	if k, ok := f.find(states, fold.KeyAnnounced); ok {
		return m.establish(ctx, k.ID, f)
	}
	kid, err := m.pick(ctx, states, f, adopt)
	if err != nil {
		return 0, err
	}
	return m.establish(ctx, kid, f)
}

// establish announces and activates a key, from wherever another replica, or an
// earlier start, has left it. It gives the sequence of the last event.
func (m *Manager) establish(ctx context.Context, kid string, f Family) (uint64, error) {
	for {
		k, err := m.current(ctx, kid)
		if err != nil {
			return 0, err
		}
		var seq uint64
		switch k.State {
		case "":
			seq, err = m.announce(ctx, system(), kid, f)
		case fold.KeyAnnounced:
			seq, err = m.step(ctx, system(), k, Activate)
		default:
			return k.Seq, nil
		}
		if err != nil && !errors.Is(err, errTaken) {
			return seq, err
		}
	}
}
