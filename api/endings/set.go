package endings

import (
	"maps"
	"strconv"
	"sync"

	"github.com/chancery-authority/chancery/api/rules"
)

// slack is how many seconds an entry is kept past its end.
const slack = 60

// A Set is the endings that still matter, in memory. The zero value is empty. It is
// safe for concurrent use.
type Set struct {
	mu      sync.RWMutex
	entries map[name]state
	swept   int64
}

type name struct {
	kind Kind
	id   Digest
}

type state struct {
	epoch uint64
	until int64
}

// Add takes in entries.
func (s *Set) Add(entries ...Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries == nil {
		s.entries = map[name]state{}
	}
	for _, e := range entries {
		n := name{e.Kind, e.ID}
		had := s.entries[n]
		s.entries[n] = state{max(had.epoch, e.Epoch), max(had.until, e.Until)}
	}
}

// Forget drops what is over at a time of the log, in Unix seconds. It looks once a
// minute. The local clock will not do: if it was ahead and is put right, tokens
// would come back.
func (s *Set) Forget(time int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time < s.swept+slack {
		return
	}
	s.swept = time
	maps.DeleteFunc(s.entries, func(_ name, e state) bool { return e.until+slack < time })
}

// Len is how many entries there are.
func (s *Set) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.entries)
}

// Ended says what has ended a token before its time, by the id of the key that
// signed it and its lineage, or nothing.
func (s *Set) Ended(kid string, links []rules.Link) rules.Why {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.has(Key, kid) {
		return rules.WhyKeyDropped
	}
	for _, l := range links {
		if why := l.Ended(s.state(l)); why != "" {
			return why
		}
	}
	return ""
}

// state is what is known of a link. To disable a client or a user raises the epoch,
// and nobody issues anything to who is disabled, so the epoch is all that is told.
func (s *Set) state(l rules.Link) rules.LinkState {
	return rules.LinkState{
		Lost:         int64(s.epoch(Lost, strconv.Itoa(int(l.Partition)))) > l.IssuedAt, //nolint:gosec // seconds
		TokenRevoked: s.has(Token, l.JTI), GrantRevoked: !l.Grant.IsZero() && s.has(Grant, l.Grant.String()),
		Client: rules.Party{Epoch: s.epoch(Client, l.Client)}, User: rules.Party{Epoch: s.epoch(User, l.User)},
	}
}

func (s *Set) has(k Kind, id string) bool {
	if len(s.entries) == 0 {
		return false
	}
	_, ok := s.entries[name{k, DigestOf(k, id)}]
	return ok
}

func (s *Set) epoch(k Kind, id string) uint64 {
	if len(s.entries) == 0 || id == "" {
		return 0
	}
	return s.entries[name{k, DigestOf(k, id)}].epoch
}
