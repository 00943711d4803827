// Package recent remembers what was written a moment ago, until others that read
// the log can be expected to know it too.
package recent

import "sync"

// A Map has at least the newest Size of what was put into it, and at most twice as
// many. It is safe for concurrent use, and ready when it has a Size.
type Map[K comparable, V any] struct {
	Size int

	mu         sync.Mutex
	young, old map[K]V
}

// Put remembers v.
func (m *Map[K, V]) Put(k K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.young == nil || len(m.young) >= m.Size {
		m.young, m.old = make(map[K]V), m.young
	}
	m.young[k] = v
}

// Get is what was put there last, unless it was forgotten.
func (m *Map[K, V]) Get(k K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.young[k]; ok {
		return v, true
	}
	v, ok := m.old[k]
	return v, ok
}

// Delete forgets.
func (m *Map[K, V]) Delete(k K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.young, k)
	delete(m.old, k)
}
