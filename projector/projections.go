package projector

import (
	"context"
	"time"
)

// A Projection is how one read model stands: the one that is read and, while there
// is one, the one beside it.
type Projection struct {
	Stream, Model string
	Live          Slot
	Beside        *Slot
	// Diff is the newest comparison of the two.
	Diff *Diff
}

// States of a slot.
const (
	SlotLive = "live"
	// SlotBuilding is one that has not caught up; a live one is not read then.
	SlotBuilding = "building"
	// SlotBuilt has caught up and can become the live one.
	SlotBuilt = "built"
	// SlotPrevious was live before, and can be again.
	SlotPrevious = "previous"
	SlotStopped  = "stopped"
)

// A Slot is one of the two files of a read model.
type Slot struct {
	Status
	Slot  int
	State string
	// Rate is the limit of events a second while it is built, 0 for none.
	Rate int
	// Speed is how many were folded in each of the last seconds, and Left how long
	// it takes to catch up at that, 0 if that cannot be told.
	Speed float64
	Left  time.Duration
}

// Projections are all read models, states first.
func (l *Local) Projections() []Projection {
	var all []Projection
	for _, p := range l.all() {
		all = append(all, p.view())
	}
	return all
}

// Projection is one of them. The error is ErrNoModel.
func (l *Local) Projection(model string) (Projection, error) {
	p, err := l.projection(model)
	if err != nil {
		return Projection{}, err
	}
	return p.view(), nil
}

// Rebuild begins to build a read model from the log, beside the live one, which is
// read as before. No more than limit events a second are folded until it has
// caught up, any number if that is 0. While it is built, Rebuild changes the limit.
// Where what was live before, or has stopped, is still there, it is ErrPrevious.
func (l *Local) Rebuild(ctx context.Context, model string, limit int) error {
	p, err := l.projection(model)
	if err != nil {
		return err
	}
	return p.rebuild(ctx, limit)
}

// Diff begins to compare a read model with the one beside it, row by row at one
// position, while both go on; Projection tells how that goes. No more than limit
// rows are compared in a second, any number if that is 0. If the log turns out not
// to be the one that was folded before, the partition fails.
func (l *Local) Diff(model string, limit int) error {
	p, err := l.projection(model)
	if err != nil {
		return err
	}
	return p.compare(limit)
}

// Switch makes what was built the live one, if the newest comparison has found them
// to be the same or if force. No read fails. The other one follows on and can be
// switched to again, until Drop.
func (l *Local) Switch(ctx context.Context, model string, force bool) error {
	p, err := l.projection(model)
	if err != nil {
		return err
	}
	return p.swap(ctx, force)
}

// Drop deletes what is beside the live one, when the reads in flight are done.
func (l *Local) Drop(model string) error {
	p, err := l.projection(model)
	if err != nil {
		return err
	}
	return p.drop()
}

func (p *projection) view() Projection {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := Projection{Stream: p.stream, Model: p.name(), Live: p.live.Load().slotView(SlotLive), Diff: p.diff}
	if p.beside != nil {
		state := SlotBuilt
		if p.previous {
			state = SlotPrevious
		}
		beside := p.beside.slotView(state)
		v.Beside = &beside
	}
	return v
}

// slotView is how a worker stands, in that state if nothing else is to be said.
func (w *worker) slotView(state string) Slot {
	v := Slot{Status: w.status(), Slot: int(w.slot), State: state}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.stopped:
		v.State = SlotStopped
	case !w.caughtUp:
		v.State, v.Left = SlotBuilding, w.meter.left()
		if w.beside.Load() {
			v.Rate = w.brake.rate()
		}
	}
	v.Speed = w.meter.speed
	return v
}
