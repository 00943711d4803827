package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// projection is the admin API's form of a read model.
type projection struct {
	Model  string          `json:"model"`
	Live   projectionSlot  `json:"live"`
	Beside *projectionSlot `json:"beside"`
	Diff   *projectionDiff `json:"diff"`
}

type projectionSlot struct {
	Slot     int     `json:"slot"`
	State    string  `json:"state"`
	Position uint64  `json:"position"`
	Head     uint64  `json:"head"`
	Lag      float64 `json:"lag_seconds"`
	Hash     string  `json:"hash"`
	Speed    float64 `json:"events_per_second"`
	Left     float64 `json:"seconds_left"`
	Error    string  `json:"error"`
}

type projectionDiff struct {
	Running     bool   `json:"running"`
	Same        bool   `json:"same"`
	Rows        int    `json:"rows"`
	Position    uint64 `json:"position"`
	Live        string `json:"live_hash"`
	Beside      string `json:"beside_hash"`
	Differences []struct {
		Table string `json:"table"`
		ID    string `json:"id"`
		In    string `json:"in"`
	} `json:"differences"`
	Error string `json:"error"`
}

// projectionList is the admin API's list of them.
type projectionList struct {
	Projections []projection `json:"projections"`
}

func (a *adminClient) projections(ctx context.Context) (list projectionList, err error) {
	answer, err := a.call(ctx, http.MethodGet, nil, "projections")
	if err == nil {
		err = json.Unmarshal(answer, &list)
	}
	return list, err
}

func (a *adminClient) projection(ctx context.Context, model string) (projection, error) {
	list, err := a.projections(ctx)
	if err != nil {
		return projection{}, err
	}
	for _, p := range list.Projections {
		if p.Model == model {
			return p, nil
		}
	}
	return projection{}, fmt.Errorf("there is no read model %s any more", model)
}

func (l projectionList) print(t terminal) error {
	rows := [][]string{{"READ MODEL", "FILE", "STATE", "POSITION", "HEAD", "LAG", "HASH", "COMPARED", "ERROR"}}
	for _, p := range l.Projections {
		rows = append(rows, p.Live.row(p.Model, "-"))
		if p.Beside != nil {
			rows = append(rows, p.Beside.row("", p.Diff.verdict()))
		}
	}
	return table(t.out, rows...)
}

func (s projectionSlot) row(model, compared string) []string {
	return []string{
		model, strconv.Itoa(s.Slot), s.State, strconv.FormatUint(s.Position, 10), strconv.FormatUint(s.Head, 10),
		seconds(s.Lag).Round(time.Millisecond).String(), short(s.Hash), compared, cmp.Or(s.Error, "-"),
	}
}

// verdict is a comparison in a word or two.
func (d *projectionDiff) verdict() string {
	switch {
	case d == nil:
		return "-"
	case d.Running:
		return fmt.Sprintf("running, %d rows", d.Rows)
	case d.Error != "":
		return "failed: " + d.Error
	case d.Same:
		return fmt.Sprintf("same at %d", d.Position)
	}
	return fmt.Sprintf("different at %d", d.Position)
}

// print says how a comparison has ended. A difference is an error.
func (d projectionDiff) print(t terminal, model string) error {
	if d.Same {
		_, err := fmt.Fprintf(t.out, "%s: same at position %d, %d rows, state hash %s\n", model, d.Position, d.Rows, short(d.Live))
		return err
	}
	rows := [][]string{{"TABLE", "ID", "IN"}}
	for _, one := range d.Differences {
		rows = append(rows, []string{one.Table, one.ID, one.In})
	}
	if err := table(t.out, rows...); err != nil {
		return err
	}
	return fmt.Errorf("%s: different at position %d: state hash %s, and %s beside it", model, d.Position, short(d.Live), short(d.Beside))
}

// short is enough of a hash to compare by eye.
func short(hash string) string { return hash[:min(12, len(hash))] }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
