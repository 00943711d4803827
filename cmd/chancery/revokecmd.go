package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/api/revocations"
)

const (
	// watchPause is between two looks at a revocation.
	watchPause = 300 * time.Millisecond
	// watchPatience is how long the admin API may fail to answer meanwhile.
	watchPatience = time.Minute
	// countTimeout bounds a dry run.
	countTimeout = 10 * time.Minute
)

// revokeCmd ends what was issued.
type revokeCmd struct {
	adminCall

	Client  string     `placeholder:"ID" help:"Client that it was issued to."`
	User    string     `placeholder:"ID" help:"Resource owner."`
	KID     string     `name:"kid" placeholder:"ID" help:"Key that signed."`
	Grant   string     `placeholder:"ID" help:"Grant."`
	JTI     string     `name:"jti" placeholder:"ID" help:"Access token. Of one from a grant, the grant ends."`
	Address netip.Addr `placeholder:"IP" help:"Address that it was issued to. Needs one of --client, --user, --grant, --jti, --since."`
	Since   string     `placeholder:"TIME" help:"Issued from this time on (RFC 3339), or this long ago: 90m."`
	Until   string     `placeholder:"TIME" help:"Issued before this time, or this long ago. Default: before now."`

	DryRun bool   `help:"Only count what would end."`
	Yes    bool   `short:"y" help:"Do not ask."`
	NoWait bool   `help:"Do not wait until all of it is done."`
	Resume string `placeholder:"JOB" help:"Watch a revocation that goes on."`
}

// Help is the detail of chancery revoke --help.
func (*revokeCmd) Help() string {
	return `Everything that was issued and of which all holds that is given is ended: a grant with all that came of it, and access tokens outside of grants with what was made from them. A user or a client alone is cut off by one event. It is counted first.

The revocation goes on at the servers until all of it is done, whether or not anybody watches.

Examples:

    chancery revoke --client demo-web --since 2026-11-22T14:00:00Z --until 2026-11-22T15:00:00Z --dry-run
    chancery revoke --user 0e3329c8-...
    chancery revoke --address 192.0.2.7 --since 24h --yes
    chancery revoke --resume 5YKMQZJ4MGVFGKZHTQS6ZKVB6O
    chancery audit list --request 5YKMQZJ4MGVFGKZHTQS6ZKVB6O`
}

// Run counts, asks, begins the revocation and watches it.
func (c *revokeCmd) Run(ctx context.Context, t terminal) error {
	if c.Resume != "" {
		return c.watch(ctx, t, c.Resume)
	}
	body, err := c.selection(time.Now())
	if err != nil {
		return err
	}
	if goOn, err := c.ask(ctx, t, body); err != nil || !goOn {
		return err
	}
	id := rand.Text()
	body["id"] = id
	answer, err := c.begin(ctx, body)
	if err != nil {
		return err
	}
	if !c.NoWait {
		return c.watch(ctx, t, id)
	}
	if c.JSON {
		return printJSON(t.out, answer)
	}
	_, err = fmt.Fprintf(t.out, "revocation %s goes on; look at it with: chancery revoke --resume %s\n", id, id)
	return err
}

// ask counts what would end, and asks whether it shall. With --yes a count that
// fails keeps nothing back: in an emergency there may be no index to count in.
func (c *revokeCmd) ask(ctx context.Context, t terminal, body map[string]any) (goOn bool, err error) {
	counts, answer, err := c.count(ctx, body)
	switch {
	case err != nil && c.Yes && !c.DryRun:
		_, err = fmt.Fprintf(t.err, "not counted: %v\n", err)
		return true, err
	case err != nil:
		return false, err
	case c.DryRun && c.JSON:
		return false, printJSON(t.out, answer)
	}
	told := t.out
	if c.JSON {
		told = t.err
	}
	if err := printCounts(told, counts); err != nil || c.DryRun {
		return false, err
	}
	if counts.CutOff == "" && counts.Grants+counts.Tokens == 0 {
		_, err := fmt.Fprintln(told, "There is nothing to revoke.")
		return false, err
	}
	return true, c.confirm(t)
}

func (c *revokeCmd) selection(now time.Time) (map[string]any, error) {
	since, err := timeOf(c.Since, now)
	until, err2 := timeOf(c.Until, now)
	body := map[string]any{}
	for name, value := range map[string]string{
		"client": c.Client, "user": c.User, "kid": c.KID, "grant": c.Grant, "jti": c.JTI, "since": since, "until": until,
	} {
		if value != "" {
			body[name] = value
		}
	}
	if c.Address.IsValid() {
		body["address"] = c.Address.String()
	}
	if len(body) == 0 && err == nil && err2 == nil {
		return nil, errors.New("say what to revoke: --client, --user, --kid, --grant, --jti, --address, --since or --until")
	}
	return body, errors.Join(err, err2)
}

// count is a dry run.
func (c *revokeCmd) count(ctx context.Context, body map[string]any) (counts revocations.Counts, answer json.RawMessage, err error) {
	body["dry_run"] = true
	defer delete(body, "dry_run")
	if answer, err = c.callFor(ctx, countTimeout, body, "revocations"); err != nil {
		return counts, nil, err
	}
	err = json.Unmarshal(answer, &counts)
	if err != nil {
		return counts, nil, fmt.Errorf("reading the counts: %w", err)
	}
	return counts, answer, nil
}

func printCounts(w io.Writer, c revocations.Counts) error {
	about := ""
	if c.Estimated {
		about = "about "
	}
	number := func(n int64) string { return about + fmt.Sprint(n) }
	rows := [][]string{
		{"grants", number(c.Grants)},
		{"tokens outside of grants", fmt.Sprint(c.Tokens)},
		{"made from those", fmt.Sprint(c.Derived)},
		{"of users", number(c.Users)},
		{"of clients", number(c.Clients)},
		{"ended already", number(c.AlreadyEnded)},
	}
	if !c.Oldest.IsZero() {
		rows = append(rows, []string{"issued", moment(c.Oldest) + " to " + moment(c.Newest)})
	}
	if c.CutOff != "" {
		rows = append(rows, []string{"by", "one event, which cuts off the " + c.CutOff})
	}
	return table(w, rows...)
}

// confirm asks, unless that is settled.
func (c *revokeCmd) confirm(t terminal) error {
	return confirm(t, c.Yes, "Revoke this?", "nothing was revoked")
}

// begin begins the revocation. By its id it may be asked for again, when it is
// not known whether it was begun.
func (c *revokeCmd) begin(ctx context.Context, body map[string]any) (answer json.RawMessage, err error) {
	for range 3 {
		answer, err = c.call(ctx, http.MethodPost, body, "revocations")
		if err == nil || !mayPass(err) || !sleep(ctx, time.Second) {
			break
		}
	}
	if err != nil && mayPass(err) {
		err = fmt.Errorf("%w; it may have begun all the same: chancery revoke --resume %s", err, body["id"])
	}
	return answer, err
}

// mayPass reports whether a call that failed says nothing of what it was about.
func mayPass(err error) bool {
	told := (*adminError)(nil)
	return !errors.As(err, &told) || told.Status == http.StatusServiceUnavailable || told.Status == http.StatusBadGateway
}

// watch shows the progress of a revocation until it is over.
func (c *revokeCmd) watch(ctx context.Context, t terminal, id string) error {
	show := newProgress(t.err)
	answered := time.Now()
	for {
		answer, err := c.call(ctx, http.MethodGet, nil, "revocations", id)
		var job revocations.Job
		if err == nil {
			err = json.Unmarshal(answer, &job)
		}
		switch {
		case ctx.Err() != nil:
			show.end()
			return interrupted(id)
		case err != nil && (!mayPass(err) || time.Since(answered) > watchPatience):
			show.end()
			return err
		case err == nil:
			answered = time.Now()
			show.tell(stateOfJob(job))
			if job.State != revocations.Running {
				show.end()
				return c.over(t, job, answer)
			}
		}
		if !sleep(ctx, watchPause) {
			show.end()
			return interrupted(id)
		}
	}
}

func (c *revokeCmd) over(t terminal, job revocations.Job, answer json.RawMessage) error {
	if c.JSON {
		if err := printJSON(t.out, answer); err != nil {
			return err
		}
	}
	if job.State == revocations.Failed {
		return fmt.Errorf("revocation %s failed: %s", job.ID, printable(job.Reason))
	}
	if c.JSON {
		return nil
	}
	did := fmt.Sprintf("%d grants and %d tokens revoked", job.GrantsRevoked, job.TokensRevoked)
	if job.CutOff != "" {
		did = job.CutOff + " cut off"
	}
	_, err := fmt.Fprintf(t.out, "revocation %s done: %s\n", job.ID, did)
	return err
}

// stateOfJob says how a revocation goes.
func stateOfJob(job revocations.Job) string {
	var at, heads uint64
	for stream, head := range job.Heads {
		if strings.Contains(stream, "_EVENTS_") {
			at, heads = at+min(job.Positions[stream], head), heads+head
		}
	}
	text := fmt.Sprintf("%s: position %d of %d, %d examined, %d grants and %d tokens revoked, %d ended already",
		job.State, at, heads, job.Examined, job.GrantsRevoked, job.TokensRevoked, job.AlreadyEnded)
	if job.CutOff != "" {
		text = job.State + ": cuts off the " + job.CutOff
	}
	if job.Trouble != "" {
		text += ", waiting: " + job.Trouble
	}
	return text
}

// interrupted is told who does not look any longer.
func interrupted(id string) error {
	return fmt.Errorf("the revocation goes on; look at it again with: chancery revoke --resume %s", id)
}

// sleep is false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
