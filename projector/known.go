package projector

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// registry is the clients, users and keys of a realm, in memory.
type registry struct {
	keysChanged signal
	// deletions tells of users that were deleted, and additions of partitions that
	// were added.
	deletions signal
	additions signal

	mu      sync.RWMutex
	clients map[string]fold.Client
	users   map[string]fold.User
	keys    map[string]fold.Key
	// partitions are those that were added, by their numbers as subjects have them.
	partitions map[string]fold.Partition
	// unerased are the users that are deleted and not erased.
	unerased map[string]struct{}
	// restored are the losses that were accepted, by streams.
	restored map[string][]fold.Restoration
	// origins counts the clients in force that allow each web origin.
	origins map[string]int
	registryEndings
}

func newRegistry() *registry {
	return &registry{
		clients: map[string]fold.Client{}, users: map[string]fold.User{}, keys: map[string]fold.Key{},
		partitions: map[string]fold.Partition{},
		unerased:   map[string]struct{}{}, origins: map[string]int{}, restored: map[string][]fold.Restoration{},
		registryEndings: registryEndings{ended: map[string]Ending{}, sectors: map[string]struct{}{}},
	}
}

func lookup[S any](r *registry, m map[string]S, id string) (S, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok := m[id]
	return s, ok
}

func (r *registry) allKeys() []fold.Key {
	return sorted(r, r.keys, func(k fold.Key) string { return k.ID })
}

// allPartitions are those that were added, and the first one.
func (r *registry) allPartitions() []fold.Partition {
	added := sorted(r, r.partitions, func(p fold.Partition) int { return int(p.Number) })
	return append([]fold.Partition{{}}, added...)
}

func (r *registry) allClients() []fold.Client {
	return sorted(r, r.clients, func(c fold.Client) string { return c.ID })
}

// sorted is everything in one of the registry's maps, by id.
func sorted[S any, ID cmp.Ordered](r *registry, states map[string]S, id func(S) ID) []S {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.SortedFunc(maps.Values(states), func(a, b S) int { return cmp.Compare(id(a), id(b)) })
}

// apply folds the next event of the registry.
func (r *registry) apply(e events.Recorded, _ time.Time) error {
	client, _ := lookup(r, r.clients, e.Subject.ID())
	user, _ := lookup(r, r.users, e.Subject.ID())
	if err := r.fold(e); err != nil {
		return err
	}
	r.takeEnding(e, client, user)
	return nil
}

func (r *registry) fold(e events.Recorded) error {
	switch e.Subject.Kind() {
	case "client":
		return r.applyClient(e)
	case "user":
		return r.applyUser(e)
	case "key":
		defer r.keysChanged.notify()
		return applyIn(r, r.keys, e)
	case "partition":
		defer r.additions.notify()
		return applyIn(r, r.partitions, e)
	case "consent": // read where it is needed: there are too many to hold
		_, err := fold.Consent{}.Apply(e)
		return err
	case "tick":
		if _, ok := e.Fact.(events.FeedTicked); ok {
			return nil
		}
	case "restored":
		return r.applyRestored(e)
	}
	return fmt.Errorf("%w: sequence %d, %s: no event of the registry", fold.ErrPoison, e.Seq, e.Fact.Type())
}

func (r *registry) applyClient(e events.Recorded) error {
	before, _ := lookup(r, r.clients, e.Subject.ID())
	if err := applyIn(r, r.clients, e); err != nil {
		return err
	}
	after, _ := lookup(r, r.clients, e.Subject.ID())
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, origin := range originsOf(after) {
		r.origins[origin]++
	}
	for _, origin := range originsOf(before) {
		if r.origins[origin]--; r.origins[origin] == 0 {
			delete(r.origins, origin)
		}
	}
	return nil
}

func (r *registry) applyUser(e events.Recorded) error {
	if err := applyIn(r, r.users, e); err != nil {
		return err
	}
	switch e.Fact.(type) {
	case events.UserDeleted:
		r.mu.Lock()
		r.unerased[e.Subject.ID()] = struct{}{}
		r.mu.Unlock()
		r.deletions.notify()
	case events.UserErased:
		r.mu.Lock()
		delete(r.unerased, e.Subject.ID())
		r.mu.Unlock()
	}
	return nil
}

// applyRestored takes in a loss that was accepted. It closes every MAC key.
func (r *registry) applyRestored(e events.Recorded) error {
	f, ok := e.Fact.(events.LogRestored)
	if !ok {
		return fmt.Errorf("%w: sequence %d, %s: no loss that was accepted", fold.ErrPoison, e.Seq, e.Fact.Type())
	}
	r.mu.Lock()
	defer r.keysChanged.notify()
	defer r.mu.Unlock()
	for _, s := range f.Ended(e.Subject.Realm()) {
		x, _, err := fold.Restored(e, s.Stream)
		if err != nil {
			return err
		}
		r.restored[s.Stream] = x.After(r.restored[s.Stream])
	}
	for id, k := range r.keys {
		r.keys[id] = k.Restored()
	}
	return nil
}

// toErase are the ids of the users that are deleted and not erased, sorted.
func (r *registry) toErase() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.unerased))
}

// originsOf are the web origins that a client allows while it is in force.
func originsOf(c fold.Client) []string {
	if c.Disabled {
		return nil
	}
	return c.AllowedOrigins
}

func applyIn[S interface {
	Apply(events.Recorded) (S, error)
}](r *registry, m map[string]S, e events.Recorded) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, err := m[e.Subject.ID()].Apply(e)
	if err == nil {
		m[e.Subject.ID()] = next
	}
	return err
}

// revocations are the markers of a partition that still matter, in memory.
type revocations struct {
	mu       sync.RWMutex
	grants   map[events.GrantID]int64
	sessions map[events.SessionID]int64
	tokens   map[string]int64
	// due has what ends in each minute, so that the end of one does not take a
	// walk over all. An entry that was extended is in several.
	due map[int64][]fold.Revocation
	// swept is the minute up to which what is due has been dropped.
	swept   int64
	journal journal
}

func newRevocations() *revocations {
	return &revocations{
		grants: map[events.GrantID]int64{}, sessions: map[events.SessionID]int64{}, tokens: map[string]int64{},
		due: map[int64][]fold.Revocation{},
	}
}

// has reports whether one of the maps of r has id.
func has[K comparable](r *revocations, m map[K]int64, id K) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := m[id]
	return ok
}

// apply takes in a marker or a tick, and drops what is finished at clock, the
// newest of the log's timestamps: the local clock may be ahead, and when it is
// put right what was dropped by it would be revived.
func (r *revocations) apply(e events.Recorded, clock time.Time) error {
	revocation, ok, err := fold.Revoked(e)
	if err != nil {
		return err
	}
	var ended []Ending
	r.mu.Lock()
	if ok {
		r.add(revocation)
		ended = endingsOf(revocation)
	}
	r.sweep(clock)
	r.mu.Unlock()
	r.journal.add(e, ended...)
	return nil
}

// learn takes in a revocation ahead of its marker, which changes nothing then.
func (r *revocations) learn(v fold.Revocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(v)
}

func (r *revocations) add(v fold.Revocation) {
	switch {
	case !v.Grant.IsZero():
		r.grants[v.Grant] = max(r.grants[v.Grant], v.Until)
	case !v.Session.IsZero():
		r.sessions[v.Session] = max(r.sessions[v.Session], v.Until)
	default:
		r.tokens[v.JTI] = max(r.tokens[v.JTI], v.Until)
	}
	minute := v.Until / 60
	r.due[minute] = append(r.due[minute], v)
}

// sweep looks at most once a minute, at the minutes that have something due.
func (r *revocations) sweep(clock time.Time) {
	over := (clock.Unix() - fold.Slack) / 60
	if over <= r.swept {
		return
	}
	r.swept = over
	for minute, due := range r.due {
		if minute >= over {
			continue
		}
		delete(r.due, minute)
		for _, v := range due {
			r.drop(v)
		}
	}
}

// drop forgets a revocation, unless a later marker extended it.
func (r *revocations) drop(v fold.Revocation) {
	dropFrom(r.grants, v.Grant, v.Until)
	dropFrom(r.sessions, v.Session, v.Until)
	dropFrom(r.tokens, v.JTI, v.Until)
}

func dropFrom[K comparable](m map[K]int64, id K, until int64) {
	if last, ok := m[id]; ok && last <= until {
		delete(m, id)
	}
}
