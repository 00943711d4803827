package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// maxLine bounds a line of the stream of events, in bytes.
const maxLine = 4 << 20

// An EventCount holds the log against the answers, for one type of event.
type EventCount struct {
	Type string `json:"type"`
	// Acknowledged are the answers that mean such an event.
	Acknowledged int64 `json:"acknowledged"`
	// Unknown are requests without an answer, or with one of 5xx: of each there may
	// be an event, or not.
	Unknown int64 `json:"unknown"`
	InLog   int64 `json:"in_log"`
}

// holds reports whether the log is what answers say.
func (c EventCount) holds() bool {
	return c.InLog >= c.Acknowledged && c.InLog <= c.Acknowledged+c.Unknown
}

// logClocks is how far the clocks of the servers that lead streams may be apart.
const logClocks = time.Minute

// A mark is how far the events of a client went. Those of one stream are in order; the
// times of several are by different clocks.
type mark struct {
	// since is earlier than all that comes; zero is the beginning.
	since time.Time
	// last are the sequences of the last events from since on, by their streams.
	last map[string]uint64
}

// event is what is looked at of an event.
type event struct {
	Stream string    `json:"stream"`
	Seq    uint64    `json:"seq"`
	Time   time.Time `json:"time"`
	Type   string    `json:"type"`
	Error  string    `json:"error"`
}

// findMark finds the mark of the client's events that are there.
func findMark(ctx context.Context, call AdminCall, client string) (m mark, err error) {
	body, err := call(ctx, http.MethodGet, nil, url.Values{"client": {client}, "limit": {"1"}}, "events")
	if err != nil {
		return m, fmt.Errorf("finding the newest event of the client: %w", err)
	}
	var page struct {
		Events []event `json:"events"`
	}
	if err := readAnswer(body, &page); err != nil {
		return m, fmt.Errorf("finding the newest event of the client: %w", err)
	}
	if len(page.Events) == 0 {
		return m, nil
	}
	m = mark{page.Events[0].Time.Add(-logClocks), map[string]uint64{}}
	err = eachEvent(ctx, call, client, m.since, nil, func(e event) { m.last[e.Stream] = max(m.last[e.Stream], e.Seq) })
	return m, err
}

// countEvents counts the events of a client after a mark, by their types.
func countEvents(ctx context.Context, call AdminCall, client string, after mark, types []string, counted func(int64)) (map[string]int64, error) {
	counts, n := map[string]int64{}, int64(0)
	err := eachEvent(ctx, call, client, after.since, types, func(e event) {
		if e.Seq <= after.last[e.Stream] {
			return
		}
		counts[e.Type]++
		if n++; n%1000 == 0 {
			counted(n)
		}
	})
	return counts, err
}

// eachEvent reads the events of a client since a time, of some types or all.
func eachEvent(ctx context.Context, call AdminCall, client string, since time.Time, types []string, do func(event)) error {
	q := url.Values{"client": {client}, "format": {"ndjson"}}
	if len(types) > 0 {
		q.Set("type", strings.Join(types, ","))
	}
	if !since.IsZero() {
		q.Set("since", since.Format(time.RFC3339Nano))
	}
	body, err := call(ctx, http.MethodGet, nil, q, "events")
	if err != nil {
		return fmt.Errorf("counting events: %w", err)
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("counting events: %w", err)
		}
		if e.Error != "" {
			return errors.New("counting events: they were cut short")
		}
		do(e)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("counting events: %w", err)
	}
	return nil
}

// compare holds counts against the tally, in the order of the types' names.
func (t *tally) compare(counts map[string]int64) (all []EventCount) {
	acknowledged, unknown := t.counts()
	for _, typ := range t.types() {
		all = append(all, EventCount{typ, acknowledged[typ], unknown[typ], counts[typ]})
	}
	return all
}

// types are those of events that there should or may be.
func (t *tally) types() (all []string) {
	acknowledged, unknown := t.counts()
	for typ := range acknowledged {
		all = append(all, typ)
	}
	for typ := range unknown {
		if acknowledged[typ] == 0 {
			all = append(all, typ)
		}
	}
	slices.Sort(all)
	return all
}
