package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// RotateMAC makes a new MAC key, and returns its id once it renders all that is
// new here. It takes Settle, so that no replica meets what it cannot verify. The
// private part is made by this call: none that is left of a lost log is taken.
func (m *Manager) RotateMAC(ctx context.Context) (id uint8, err error) {
	k, err := m.replace(ctx, system(), macFamily())
	return k.MACKey, err
}

// replace makes a new key of a family the active one, as soon as all replicas
// know it. The one before it stays active, and makes nothing any more.
func (m *Manager) replace(ctx context.Context, by events.Meta, f Family) (fold.Key, error) {
	kid, err := m.introduce(ctx, by, f, ignore)
	if err != nil {
		return fold.Key{}, fmt.Errorf("new %s: %w", f, err)
	}
	if err := pause(ctx, m.cfg.Settle); err != nil {
		return fold.Key{}, fmt.Errorf("new %s %s is announced, and not active: %w", f, kid, err)
	}
	return m.change(ctx, by, kid, Activate)
}

// introduce makes and announces a key of the family, and gives its kid.
func (m *Manager) introduce(ctx context.Context, by events.Meta, f Family, s strangers) (kid string, err error) {
	if kid, err = m.pick(ctx, m.cfg.Keys(), f, s); err != nil {
		return "", err
	}
	seq, err := m.announce(ctx, by, kid, f)
	if err != nil {
		return "", err
	}
	return kid, m.follow(ctx, seq)
}

// change takes a step that a key may already have taken, and returns its state
// once this replica goes by it.
func (m *Manager) change(ctx context.Context, by events.Meta, kid string, a Action) (fold.Key, error) {
	for {
		k, err := m.current(ctx, kid)
		if err != nil {
			return k, err
		}
		if a.done(k) {
			return k, m.follow(ctx, k.Seq)
		}
		if err := a.allowed(k); err != nil {
			return k, err
		}
		if _, err = m.step(ctx, by, k, a); err != nil && !errors.Is(err, errTaken) {
			return k, err
		}
	}
}

// follow waits until this replica goes by what is at seq in the registry.
func (m *Manager) follow(ctx context.Context, seq uint64) error {
	if err := m.cfg.Wait(ctx, seq); err != nil {
		return err
	}
	return m.Reload(ctx)
}

// done reports whether k is where the step leads to.
func (a Action) done(k fold.Key) bool {
	return k.State == map[Action]fold.KeyState{Activate: fold.KeyActive, Retire: fold.KeyRetired, Drop: fold.KeyDropped}[a]
}

// allowed is nil where the step leads from k's state.
func (a Action) allowed(k fold.Key) error {
	from := map[Action][]fold.KeyState{
		Activate: {fold.KeyAnnounced},
		Retire:   {fold.KeyActive},
		Drop:     {fold.KeyAnnounced, fold.KeyActive, fold.KeyRetired},
	}
	if slices.Contains(from[a], k.State) {
		return nil
	}
	return fmt.Errorf("%w: %s is %s", ErrState, k.ID, k.State)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
