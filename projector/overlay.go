package projector

import (
	"context"
	"encoding/json"
	"fmt"
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
	state S
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
	r := &row[S]{stored: state != nil}
	if state != nil {
		if err := json.Unmarshal(state, &r.state); err != nil {
			return nil, fmt.Errorf("read %s: %w: %w", id, errDisposable, err)
		}
	}
	o.rows[id] = r
	return r, nil
}

// put makes s the state of the row.
func (r *row[S]) put(s S) { r.state, r.dirty = s, true }

// flush hands every changed row to write, with its state as JSON.
func (o overlay[S]) flush(write func(r *row[S], state []byte) error) error {
	for id, r := range o.rows {
		if !r.dirty {
			continue
		}
		state, err := json.Marshal(r.state)
		if err != nil {
			return fmt.Errorf("encode %s: %w", id, err)
		}
		if err := write(r, state); err != nil {
			return fmt.Errorf("write %s: %w", id, err)
		}
	}
	return nil
}
