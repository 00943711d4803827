package keys

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Bounds of the time between two looks at what is due.
const (
	tendOften = 100 * time.Millisecond
	tendEvery = time.Minute
)

// Tend has the keys take the steps that their policy asks for, until ctx ends.
// Every replica does this. That each step is taken once the log sees to: it is
// appended to the key's subject on the condition that nothing came in between.
func (m *Manager) Tend(ctx context.Context) {
	for wait := time.Duration(0); pause(ctx, wait) == nil; {
		next, err := m.tend(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			m.cfg.Logger.WarnContext(ctx, "keys were not tended", "error", err)
			wait = tendEvery
		default:
			wait = min(max(next, tendOften), tendEvery)
		}
	}
}

// tend takes the steps that are due, and says how long it is until the next one.
func (m *Manager) tend(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, tendEvery)
	defer cancel()
	now, err := m.cfg.LogTime(ctx)
	if err != nil {
		return 0, fmt.Errorf("learning the log's time: %w", err)
	}
	if err := m.Err(); err != nil { // it would let others use what it cannot
		return 0, err
	}
	next := tendEvery
	for _, s := range m.Plan() {
		if s.At.After(now) {
			return min(next, s.At.Sub(now)), nil
		}
		if err := m.take(ctx, s); err != nil {
			return 0, fmt.Errorf("%s %s %s: %w", s.Action, s.Family, s.Key.ID, err)
		}
		next = 0 // more may be due after it
	}
	return next, nil
}

// take takes a step, unless another replica has.
func (m *Manager) take(ctx context.Context, s Step) error {
	if s.Action == Announce {
		_, err := m.introduce(ctx, system(), s.Family, await)
		return untaken(err)
	}
	seq, err := m.step(ctx, system(), s.Key, s.Action)
	if err != nil {
		return untaken(err)
	}
	return m.follow(ctx, seq)
}

// untaken is err, if it is more than that another replica was faster.
func untaken(err error) error {
	if errors.Is(err, errTaken) {
		return nil
	}
	return err
}

// Plan is what comes next for the keys as this replica knows them.
func (m *Manager) Plan() []Step { return Plan(m.cfg.Keys(), m.families(), m.policy()) }

// policy is the configured one, within what is safe.
func (m *Manager) policy() Policy {
	p := m.cfg.Policy()
	p.Announce = max(p.Announce, m.cfg.Settle)
	return p
}
