package keys

import (
	"cmp"
	"slices"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// A Policy is when keys take their steps by themselves.
type Policy struct {
	// Rotate is how long a signing key is the active one before another takes its
	// place, RotateMAC the same of the MAC key. 0 is for ever.
	Rotate, RotateMAC time.Duration
	// Announce is how long a new key is published before it makes anything. It must
	// outlast the JWK Sets that others keep.
	Announce time.Duration
	// Keep is how long a retired signing key verifies: as long as the last token
	// that it signed. KeepMAC is the same of a MAC key, and of grants and sessions.
	Keep, KeepMAC time.Duration
}

func (p Policy) rotate(f Family) time.Duration {
	if f.Use == events.KeyUseMAC {
		return p.RotateMAC
	}
	return p.Rotate
}

func (p Policy) keep(f Family) time.Duration {
	if f.Use == events.KeyUseMAC {
		return p.KeepMAC
	}
	return p.Keep
}

// A Step is what comes next for a key, or for a family that is to have a new one.
type Step struct {
	Action Action
	Family Family
	// Key is the one that takes the step, as it is before. It is zero for Announce.
	Key fold.Key
	// At is when it is due, by the log's time.
	At time.Time
}

// Plan is what comes next for all keys, the earliest first. Of families that are
// not among those given none becomes active and none is followed by another.
func Plan(states []fold.Key, families []Family, p Policy) []Step {
	var steps []Step
	for _, k := range states {
		if s, ok := nextOf(k, states, families, p); ok {
			steps = append(steps, s)
		}
	}
	for _, f := range families {
		if s, ok := successor(f, states, p); ok {
			steps = append(steps, s)
		}
	}
	slices.SortStableFunc(steps, func(a, b Step) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Key.ID, b.Key.ID))
	})
	return steps
}

// nextOf is the next step of a key. What is followed by a newer active one
// retires at once: it makes nothing any more.
func nextOf(k fold.Key, states []fold.Key, families []Family, p Policy) (Step, bool) {
	f := familyOf(k)
	newest, _ := f.find(states, fold.KeyActive)
	switch {
	case k.State == fold.KeyAnnounced && k.Closed: // it is never used
		return Step{Drop, f, k, k.ChangedAt}, true
	case k.State == fold.KeyAnnounced && slices.Contains(families, f):
		return Step{Activate, f, k, k.ChangedAt.Add(p.Announce)}, true
	case k.State == fold.KeyActive && newest.ID != k.ID:
		return Step{Retire, f, k, newest.ChangedAt}, true
	case k.State == fold.KeyRetired:
		return Step{Drop, f, k, k.ChangedAt.Add(p.keep(f))}, true
	}
	return Step{}, false
}

// successor is the announcement of the key that takes the active one's place. It
// is announced early enough to do so in time.
func successor(f Family, states []fold.Key, p Policy) (Step, bool) {
	active, ok := f.find(states, fold.KeyActive)
	_, announced := f.find(states, fold.KeyAnnounced)
	usedUp := f.Use == events.KeyUseMAC && macID(states) == MaxMACKeys
	if !ok || announced || usedUp || p.rotate(f) == 0 {
		return Step{}, false
	}
	return Step{Action: Announce, Family: f, At: active.ChangedAt.Add(max(0, p.rotate(f)-p.Announce))}, true
}
