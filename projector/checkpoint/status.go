package checkpoint

import "time"

// Status is how a keeper stands with one stream.
type Status struct {
	Stream string
	// Size is that of the newest checkpoint that holds, 0 if there is none, and
	// Since when it became that, as this process has seen it.
	Size  uint64
	Since time.Time
	// Compared is when the stream was last held against what was signed of it, and
	// found to be that. Zero is never.
	Compared time.Time
	// Scrubbed is the sequence up to which the present scrub has read, or the last
	// one, and ScrubEnded when one last came to the end. Mismatch says that one has
	// found another message than was folded.
	Scrubbed   uint64
	ScrubEnded time.Time
	Mismatch   bool
}

// Status is that of every stream.
func (k *Keeper) Status() []Status {
	var all []Status
	for _, s := range k.all() {
		s.mu.Lock()
		status := s.status
		status.Stream, status.Size = s.stream, s.newest.Size
		s.mu.Unlock()
		all = append(all, status)
	}
	return all
}

// did notes what has come of a stream.
func (s *kept) did(note func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	note(&s.status)
}
