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

// countEvents counts the events of a client that were stored after a time, by their
// types. An empty time is from the beginning on.
func countEvents(ctx context.Context, call AdminCall, client, after string, types []string, counted func(int64)) (map[string]int64, error) {
	q := url.Values{"client": {client}, "type": {strings.Join(types, ",")}, "format": {"ndjson"}}
	if after != "" {
		at, err := time.Parse(time.RFC3339Nano, after)
		if err != nil {
			return nil, fmt.Errorf("counting events: %w", err)
		}
		q.Set("since", at.Add(time.Nanosecond).Format(time.RFC3339Nano))
	}
	body, err := call(ctx, http.MethodGet, nil, q, "events")
	if err != nil {
		return nil, fmt.Errorf("counting events: %w", err)
	}
	defer body.Close()
	counts, n := map[string]int64{}, int64(0)
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e struct {
			Type  string `json:"type"`
			Error string `json:"error"`
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("counting events: %w", err)
		}
		if e.Error != "" {
			return nil, errors.New("counting events: they were cut short")
		}
		counts[e.Type]++
		if n++; n%1000 == 0 {
			counted(n)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("counting events: %w", err)
	}
	return counts, nil
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
