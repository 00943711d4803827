package projector

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/chancery-authority/chancery/projector/fold"
)

// trailPause is between two looks at an index that is behind.
const trailPause = 10 * time.Millisecond

// trailEnd is a place behind every row that there will ever be.
const trailEnd = 1 << 62

// A Trail is what the audits of several streams have for one query, as one: by
// the log's time, then by stream, then by sequence, or all of that backwards. It
// is not safe for concurrent use.
type Trail struct {
	reader Reader
	query  AuditQuery
	heads  []*trailHead
	// Keep, if not nil, says which of the rows that were found are told.
	Keep func(Traced) bool
}

// A Traced event is a row with the stream that it is of.
type Traced struct {
	Stream string `json:"stream"`
	fold.Audit
}

// trailHead is where a trail stands in one stream.
type trailHead struct {
	stream string
	// place is that of the last row handed over, or behind it where nothing that
	// was found is left, and begun says that there is one.
	place uint64
	begun bool
	// need is the sequence that must be indexed before an answer counts.
	need uint64
	// rows were found and not handed over, and behind is the place after them.
	rows   []fold.Audit
	behind uint64
	done   bool
}

// NewTrail reads streams from places on, as Places gave them; a stream without
// one is read from its start. For the newest first it is read from its end, but
// left out if there are any places: it was not there when those were taken, so all
// it has was stored since. Nothing that needed has for a stream, a sequence, is
// left out because the index is behind.
func NewTrail(r Reader, q AuditQuery, streams []string, places, needed map[string]uint64) *Trail {
	t := &Trail{reader: r, query: q}
	for _, s := range streams {
		place, begun := places[s]
		if q.Newest && places != nil && !begun {
			continue
		}
		t.heads = append(t.heads, &trailHead{stream: s, place: place, begun: begun, need: needed[s]})
	}
	return t
}

// Places are where the trail stands in every stream.
func (t *Trail) Places() map[string]uint64 {
	places := map[string]uint64{}
	for _, h := range t.heads {
		places[h.stream] = h.place
		if t.query.Newest && !h.begun {
			places[h.stream] = trailEnd
		}
	}
	return places
}

// Join has streams read, too, that were not there before, once their audits can be
// read. It is for trails of the oldest first.
func (t *Trail) Join(ctx context.Context, streams []string) {
	for _, s := range streams {
		if slices.ContainsFunc(t.heads, func(h *trailHead) bool { return h.stream == s }) {
			continue
		}
		if _, err := t.reader.Audit(ctx, s, t.query, 0, 1); err == nil {
			t.heads = append(t.heads, &trailHead{stream: s})
		}
	}
}

// Page gives the next rows, at most limit of them. More says that there may be
// more, and there may be although there are fewer rows than limit: it looks
// until enough are found or patience ends, whichever is first. The error is
// ErrUnavailable where an index cannot be read or is behind.
func (t *Trail) Page(ctx context.Context, limit int, patience time.Duration) (rows []Traced, more bool, err error) {
	ends := time.Now().Add(patience)
	for len(rows) < limit {
		next, err := t.next(ctx, limit, ends)
		if err != nil {
			return rows, true, err
		}
		if next == nil {
			return rows, !t.done(), nil
		}
		row := Traced{next.stream, next.take()}
		if t.Keep == nil || t.Keep(row) {
			rows = append(rows, row)
		}
		if time.Now().After(ends) {
			break
		}
	}
	return rows, !t.done(), nil
}

// Again looks for what was stored since the end was reached. It is for trails of
// the oldest first.
func (t *Trail) Again() {
	for _, h := range t.heads {
		h.done = false
	}
}

func (t *Trail) done() bool {
	for _, h := range t.heads {
		if !h.done || len(h.rows) > 0 {
			return false
		}
	}
	return true
}

// next is the stream whose next row comes first. It is nil at the end of all of
// them, or when the time is over before that is known.
func (t *Trail) next(ctx context.Context, limit int, ends time.Time) (first *trailHead, err error) {
	for _, h := range t.heads {
		for len(h.rows) == 0 && !h.done {
			if err := t.fill(ctx, h, limit, ends); err != nil {
				return nil, err
			}
			if len(h.rows) == 0 && !h.done && time.Now().After(ends) {
				return nil, nil
			}
		}
		if len(h.rows) > 0 && (first == nil || t.before(h, first)) {
			first = h
		}
	}
	return first, nil
}

// before reports whether the next row of a comes before that of b. Streams are
// in the order of their names.
func (t *Trail) before(a, b *trailHead) bool {
	x, y := Traced{a.stream, a.rows[0]}, Traced{b.stream, b.rows[0]}
	if t.query.Newest {
		x, y = y, x
	}
	if !x.Time.Equal(y.Time) {
		return x.Time.Before(y.Time)
	}
	return x.Stream < y.Stream
}

// fill reads the next rows of a stream.
func (t *Trail) fill(ctx context.Context, h *trailHead, limit int, ends time.Time) error {
	for {
		page, err := t.reader.Audit(ctx, h.stream, t.query, h.place, min(limit, MaxAuditPage))
		if err != nil {
			return fmt.Errorf("audit of %s: %w", h.stream, err)
		}
		if page.Position >= h.need {
			h.found(page, t.query.Newest)
			return nil
		}
		if time.Now().After(ends) || !wait(ctx, trailPause) {
			return fmt.Errorf("%w: the audit of %s is behind", ErrUnavailable, h.stream)
		}
	}
}

func (h *trailHead) found(page AuditPage, newest bool) {
	if newest && !h.begun {
		// What is stored from now on is no part of it.
		h.place = page.Position + 1
	}
	h.begun = true
	h.rows, h.behind, h.done = page.Rows, page.Place, page.Done
	if len(h.rows) == 0 {
		h.leave()
	}
}

// leave moves the place behind the rows, all of which were handed over.
func (h *trailHead) leave() {
	if h.behind != 0 {
		h.place = h.behind
	}
}

func (h *trailHead) take() fold.Audit {
	row := h.rows[0]
	h.rows, h.place = h.rows[1:], row.Seq
	if len(h.rows) == 0 {
		h.leave()
	}
	return row
}
