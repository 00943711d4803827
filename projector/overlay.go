package projector

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"
)

// An overlay is the rows of one table that a batch touches: each is read from
// the file once and written back once, however many events it has.
type overlay[S any] struct {
	w *writer
	// query reads the state of one id.
	query string
	rows  map[string]*row[S]
}

type row[S any] struct {
	id    string
	state S
	// touched is the row's place in the order in which a batch came to its rows.
	touched int
	// stored says that the row is in the file.
	stored bool
	dirty  bool
}

func newOverlay[S any](w *writer, query string) overlay[S] {
	return overlay[S]{w: w, query: query, rows: map[string]*row[S]{}}
}

// get is the row of id; its state is zero if there is none.
func (o overlay[S]) get(ctx context.Context, id string) (*row[S], error) {
	if r, ok := o.rows[id]; ok {
		return r, nil
	}
	state, err := o.w.state(ctx, o.query, id)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", id, err)
	}
	r := &row[S]{id: id, stored: state != nil, touched: len(o.rows)}
	if state != nil {
		if err := jsonv2.Unmarshal(state, &r.state); err != nil {
			return nil, fmt.Errorf("read %s: %w: %w", id, errDisposable, err)
		}
	}
	o.rows[id] = r
	return r, nil
}

// put makes s the state of the row.
func (r *row[S]) put(s S) { r.state, r.dirty = s, true }

// flush hands every changed row to write, with its state as JSON. New rows come
// in the order of their events, so that a file's rows are in the log's order.
func (o overlay[S]) flush(write func(r *row[S], state []byte) error) error {
	inOrder := func(a, b *row[S]) int { return cmp.Compare(a.touched, b.touched) }
	for _, r := range slices.SortedFunc(maps.Values(o.rows), inOrder) {
		if !r.dirty {
			continue
		}
		state, err := json.Marshal(r.state)
		if err != nil {
			return fmt.Errorf("encode %s: %w", r.id, err)
		}
		if err := write(r, state); err != nil {
			return fmt.Errorf("write %s: %w", r.id, err)
		}
	}
	return nil
}
