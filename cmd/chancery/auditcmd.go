package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/projector"
)

const (
	// maxEvent bounds one line of the stream of events, in bytes.
	maxEvent = 4 << 20
	// auditPage is how many events are asked for at once.
	auditPage = 500
)

// auditCmd are the commands about what happened.
type auditCmd struct {
	List   auditListCmd   `cmd:"" help:"List events, the newest first."`
	Tail   auditTailCmd   `cmd:"" help:"Print events as they happen."`
	Show   auditShowCmd   `cmd:"" help:"Show one event whole."`
	Export auditExportCmd `cmd:"" help:"Write all events that match, the oldest first."`

	Verify     auditVerifyCmd     `cmd:"" help:"Hold the log, an export or a proof against signed checkpoints."`
	Prove      auditProveCmd      `cmd:"" help:"Write an event with the proof that it is in the log."`
	ExportLog  auditExportLogCmd  `cmd:"" name:"export-log" help:"Write the whole log with its proofs, to be verified or replayed elsewhere."`
	Checkpoint auditCheckpointCmd `cmd:"" help:"Print the newest signed checkpoints."`
	Keygen     auditKeygenCmd     `cmd:"" help:"Make a key that signs checkpoints."`
	Lineage    auditLineageCmd    `cmd:"" help:"Show what came of a grant, token, client, user, key or address, as a tree."`
}

// auditFilter says which events.
type auditFilter struct {
	Type     []string   `placeholder:"TYPE" help:"Event types or beginnings of them: refresh_token.*, grant.opened."`
	Client   string     `placeholder:"ID" help:"Client that it is about or was issued to."`
	User     string     `placeholder:"ID" help:"Resource owner."`
	Grant    string     `placeholder:"ID" help:"Grant."`
	Session  string     `placeholder:"ID" help:"Session, with the grants that were opened in it."`
	JTI      string     `name:"jti" placeholder:"ID" help:"Access token."`
	Ancestor string     `placeholder:"ID" help:"Access token that the event's was made from by token exchange, at any depth."`
	KID      string     `name:"kid" placeholder:"ID" help:"Key."`
	Actor    string     `placeholder:"WHO" help:"Who acted: client:ID, user:ID, admin or system."`
	Request  string     `placeholder:"ID" help:"HTTP request."`
	Outcome  string     `placeholder:"done|refused|failed" help:"How it ended."`
	Reason   string     `placeholder:"REASON" help:"Why it was refused, or something was ended."`
	Address  netip.Addr `placeholder:"IP" help:"Address that tokens were issued to. Needs one of --grant, --client, --user, --session, --jti, --ancestor, --request, --since."`
	Since    string     `placeholder:"TIME" help:"From this time on (RFC 3339), or this long ago: 90m."`
	Until    string     `placeholder:"TIME" help:"Before this time, or this long ago."`
}

func (f auditFilter) query(now time.Time) (url.Values, error) {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	set("type", strings.Join(f.Type, ","))
	set("client", f.Client)
	set("user", f.User)
	set("grant", f.Grant)
	set("session", f.Session)
	set("jti", f.JTI)
	set("ancestor", f.Ancestor)
	set("kid", f.KID)
	set("actor", f.Actor)
	set("request", f.Request)
	set("outcome", f.Outcome)
	set("reason", f.Reason)
	if f.Address.IsValid() {
		set("address", f.Address.String())
	}
	since, err := timeOf(f.Since, now)
	until, err2 := timeOf(f.Until, now)
	set("since", since)
	set("until", until)
	return q, errors.Join(err, err2)
}

// timeOf is a time as the API takes it.
func timeOf(text string, now time.Time) (string, error) {
	if text == "" {
		return "", nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago).UTC().Format(time.RFC3339Nano), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return "", fmt.Errorf("%.40q is neither an RFC 3339 time nor a duration", text)
	}
	return at.UTC().Format(time.RFC3339Nano), nil
}

// auditFlags are those of every command that finds events.
type auditFlags struct {
	adminFlags  `group:"admin"`
	auditFilter `embed:""`

	Whole bool `help:"Also what is only in the log, which takes a read of it for each event."`
}

func (f auditFlags) query() (url.Values, error) {
	q, err := f.auditFilter.query(time.Now())
	if f.Whole {
		q.Set("data", "true")
	}
	return q, err
}

type auditListCmd struct {
	auditFlags

	Limit  int  `short:"n" default:"100" help:"How many at most."`
	Oldest bool `help:"The oldest first."`
	JSON   bool `name:"json" help:"Print one JSON object a line."`
}

// Help is the detail of chancery audit list --help.
func (*auditListCmd) Help() string {
	return `Examples:

    chancery audit list --grant 00b51bd1...
    chancery audit list --user 0e3329c8-... --outcome refused --since 24h
    chancery audit list --type 'refresh_token.*' --client demo-web --json | jq .jti`
}

// Run prints pages until there are no more or enough.
func (c *auditListCmd) Run(ctx context.Context, t terminal) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	if c.Oldest {
		q.Set("order", "oldest")
	}
	a, err := c.client()
	if err != nil {
		return err
	}
	for left := c.Limit; left > 0; {
		q.Set("limit", strconv.Itoa(min(left, auditPage)))
		page, err := listPage(ctx, a, q)
		if err != nil {
			return err
		}
		for _, line := range page.Events {
			if err := printEvent(t.out, c.JSON, line); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		left -= len(page.Events)
		q.Set("cursor", page.Next)
	}
	return nil
}

// eventPage is the admin API's page of events.
type eventPage struct {
	Events []json.RawMessage `json:"events"`
	Next   string            `json:"next"`
}

func listPage(ctx context.Context, a *adminClient, q url.Values) (page eventPage, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	body, err := a.open(ctx, http.MethodGet, nil, q, "events")
	if err != nil {
		return page, err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&page); err != nil {
		return page, fmt.Errorf("reading the events: %w", err)
	}
	return page, nil
}

type auditTailCmd struct {
	auditFlags

	JSON bool `name:"json" help:"Print one JSON object a line."`
}

// Run prints events until ctx ends. With --since it begins with earlier ones.
func (c *auditTailCmd) Run(ctx context.Context, t terminal) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	q.Set("follow", "true")
	return streamEvents(ctx, c.adminFlags, q, func(line []byte) error { return printEvent(t.out, c.JSON, line) })
}

// streamEvents hands over events line by line. The end of ctx is no error.
func streamEvents(ctx context.Context, f adminFlags, q url.Values, each func(line []byte) error) error {
	q.Set("format", "ndjson")
	a, err := f.client()
	if err != nil {
		return err
	}
	body, err := a.open(ctx, http.MethodGet, nil, q, "events")
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		var cut adminError
		if err := json.Unmarshal(lines.Bytes(), &cut); err != nil {
			return fmt.Errorf("reading the events: %w", err)
		}
		if cut.Code != "" {
			return fmt.Errorf("the events were cut short: %w", &cut)
		}
		if err := each(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("reading the events: %w", err)
	}
	return nil
}

// printEvent writes one event as it is, or as a line for a person.
func printEvent(w io.Writer, asJSON bool, line []byte) error {
	if asJSON {
		_, err := fmt.Fprintf(w, "%s\n", line)
		return err
	}
	var e struct {
		projector.Traced
		Event struct {
			Data json.RawMessage `json:"data"`
		} `json:"event"`
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return fmt.Errorf("reading the events: %w", err)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s %-14s %5d  %-26s", e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), e.Stream, e.Seq, e.Type)
	if e.Outcome != "done" {
		text.WriteString(" " + e.Outcome)
	}
	if e.Count > 1 {
		text.WriteString(" x" + strconv.FormatInt(e.Count, 10))
	}
	for _, f := range [][2]string{
		{"reason", e.Reason},
		{"actor", e.Actor},
		{"client", e.Client},
		{"user", e.User},
		{"grant", e.Grant},
		{"session", e.Session},
		{"jti", e.JTI},
		{"parent", e.Parent},
		{"kid", e.KID},
		{"request", e.Request},
		{"data", string(e.Event.Data)},
	} {
		if f[1] != "" {
			text.WriteString(" " + f[0] + "=" + f[1])
		}
	}
	_, err := fmt.Fprintln(w, printable(text.String()))
	return err
}

type auditShowCmd struct {
	adminCall

	Stream   string `arg:"" help:"Stream, as audit list prints it."`
	Sequence uint64 `arg:"" help:"Sequence in the stream."`
}

// Run shows the event as it is in the log.
func (c *auditShowCmd) Run(ctx context.Context, t terminal) error {
	answer, err := c.call(ctx, http.MethodGet, nil, "events", c.Stream, strconv.FormatUint(c.Sequence, 10))
	if err != nil {
		return err
	}
	return printJSON(t.out, answer)
}

type auditExportCmd struct {
	auditFlags

	Format string `enum:"ndjson,csv" default:"ndjson" help:"ndjson or csv."`
	Output string `short:"o" type:"path" placeholder:"FILE" help:"File to write, which must not be there. Default: standard output."`
}

// Help is the detail of chancery audit export --help.
func (*auditExportCmd) Help() string {
	return `An export that could not be finished ends with status 1.

Examples:

    chancery audit export --since 2026-11-01T00:00:00Z --until 2026-12-01T00:00:00Z -o november.ndjson
    chancery audit export --user 0e3329c8-... --format csv -o user.csv`
}

// Run writes all that match.
func (c *auditExportCmd) Run(ctx context.Context, t terminal) (err error) {
	q, err := c.query()
	if err != nil {
		return err
	}
	out := t.out
	if c.Output != "" {
		f, err := os.OpenFile(c.Output, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("writing the export: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out = f
	}
	w := bufio.NewWriter(out)
	if err := c.write(ctx, q, w); err != nil {
		return errors.Join(err, w.Flush())
	}
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), w.Flush())
	}
	return w.Flush()
}

func (c *auditExportCmd) write(ctx context.Context, q url.Values, w *bufio.Writer) error {
	if c.Format == "ndjson" {
		return streamEvents(ctx, c.adminFlags, q, func(line []byte) error { return printEvent(w, true, line) })
	}
	q.Set("format", "csv")
	a, err := c.client()
	if err != nil {
		return err
	}
	body, err := a.open(ctx, http.MethodGet, nil, q, "events")
	if err != nil {
		return err
	}
	defer body.Close()
	// A table that was cut short comes over a connection that was.
	if _, err := io.Copy(w, body); err != nil {
		return fmt.Errorf("reading the events: %w", err)
	}
	return nil
}
