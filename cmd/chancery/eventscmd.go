package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// maxEvent bounds one line of the stream of events, in bytes.
const maxEvent = 4 << 20

type eventsCmd struct {
	adminFlags `group:"admin"`

	Follow bool   `short:"f" help:"Go on with new events until interrupted."`
	Grant  string `placeholder:"ID" help:"Only the events of one grant."`
	From   uint64 `placeholder:"SEQ" help:"Start at this sequence of each stream."`
	Ticks  bool   `help:"Also the ticks with which replicas prove that they are fresh."`
	JSON   bool   `name:"json" help:"Print one JSON object a line."`
}

// Help is the detail of chancery events --help.
func (*eventsCmd) Help() string {
	return `Examples:

    chancery events --follow
    chancery events --grant 00b51bd1... --json | jq .type
    chancery events --json | jq 'select(.type == "request.refused.v1" and .data.user == "0e3329c8-...")'`
}

// Run prints events until there are no more, or, with --follow, until ctx
// ends.
func (c *eventsCmd) Run(ctx context.Context, t terminal) error {
	a, err := c.client()
	if err != nil {
		return err
	}
	body, err := a.open(ctx, http.MethodGet, nil, c.query(), "events")
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		if err := c.print(t, lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("reading the events: %w", err)
	}
	return nil
}

func (c *eventsCmd) query() url.Values {
	q := url.Values{}
	if c.From > 0 {
		q.Set("from", strconv.FormatUint(c.From, 10))
	}
	if c.Grant != "" {
		q.Set("grant", c.Grant)
	}
	if c.Follow {
		q.Set("follow", "true")
	}
	if c.Ticks {
		q.Set("ticks", "true")
	}
	return q
}

// streamed is one event in the admin API's stream, or the reason why it was
// cut short.
type streamed struct {
	adminError
	Stream  string          `json:"stream"`
	Seq     uint64          `json:"seq"`
	Stored  time.Time       `json:"stored"`
	Type    string          `json:"type"`
	Subject string          `json:"subject"`
	Data    json.RawMessage `json:"data"`
}

func (c *eventsCmd) print(t terminal, line []byte) error {
	var e streamed
	if err := json.Unmarshal(line, &e); err != nil {
		return fmt.Errorf("reading the events: %w", err)
	}
	if e.Code != "" {
		return fmt.Errorf("the events were cut short: %w", &e.adminError)
	}
	if c.JSON {
		_, err := fmt.Fprintf(t.out, "%s\n", line)
		return err
	}
	_, err := fmt.Fprintln(t.out, printable(fmt.Sprintf("%s %-14s %5d  %-28s %s %s",
		e.Stored.UTC().Format("2006-01-02T15:04:05.000Z"), e.Stream, e.Seq, e.Type, e.Subject, e.Data)))
	return err
}
