package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/credential"
	"github.com/chancery-authority/chancery/events"
)

// maxTokenLine bounds what is read for a token, in bytes.
const maxTokenLine = 32 << 10

// tokenCmd are the commands about tokens.
type tokenCmd struct {
	Explain tokenExplainCmd `cmd:"" help:"Say whether a token was active at a moment, and which events decided it."`
}

type tokenExplainCmd struct {
	adminCall
	Token string  `arg:"" name:"token|jti|grant" help:"The text of an access token, refresh token or code, or the id of an access token or a grant; - reads it from standard input."`
	At    string  `xor:"moment" placeholder:"TIME" help:"As of this time (RFC 3339), or this long ago: 90m."`
	Seq   *uint64 `xor:"moment" placeholder:"N" help:"As of this sequence, right after its event, in the stream of the token or grant."`
}

// Help is the detail of chancery token explain --help.
func (*tokenExplainCmd) Help() string {
	return `Give a token that can still be used as -, on standard input: arguments are seen by everybody on the machine, and a shell keeps them. Ids are no secrets.

What ended it is marked with >. The exit status is 0 whether it was active or not.

Examples:

    chancery token explain 00b51bd1... --at 2h
    chancery token explain - --at 2026-11-22T18:00:00Z <refresh-token
    chancery token explain HZB7FVUVPZ3DOGJWA2VNNC6MEN --seq 17 --json`
}

// Run asks and prints the verdict.
func (c *tokenExplainCmd) Run(ctx context.Context, t terminal) error {
	text := c.Token
	if text == "-" {
		line, err := bufio.NewReader(io.LimitReader(t.in, maxTokenLine)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading the token: %w", err)
		}
		text = strings.TrimSpace(line)
	}
	if text == "" {
		return errors.New("no token was given")
	}
	body := map[string]any{askedFor(text): text}
	if c.Seq != nil {
		body["seq"] = *c.Seq
	}
	at, err := timeOf(c.At, time.Now())
	if err != nil {
		return err
	}
	if at != "" {
		body["at"] = at
	}
	answer, err := c.call(ctx, http.MethodPost, body, "introspect")
	if err != nil {
		return err
	}
	return show(c.output, t, answer, func(e authority.Explanation) error { return printExplanation(t.out, e) })
}

// askedFor is the member that a text is sent as. Ids have no dots and are
// shorter than any token.
func askedFor(text string) string {
	if _, ok := credential.KindOf(text); ok || strings.Contains(text, ".") {
		return "token"
	}
	if _, err := events.ParseGrantID(text); err == nil {
		return "grant"
	}
	return "jti"
}

func printExplanation(w io.Writer, e authority.Explanation) error {
	lines := []string{verdict(e)}
	if e.Token != nil {
		lines = append(lines, facts(e))
	}
	for _, one := range e.Events {
		mark := " "
		if e.DecidedBy != nil && one.Stream == e.DecidedBy.Stream && one.Seq == e.DecidedBy.Seq {
			mark = ">"
		}
		lines = append(lines, fmt.Sprintf("%s %s  %-14s %5d  %-26s %s%s", mark, instant(one.Time), one.Stream, one.Seq, one.Type, one.Text,
			pairs("reason", one.Reason, "actor", one.Actor, "request", one.Request)))
	}
	if len(e.Refusals) > 0 {
		lines = append(lines, "", "Refused for the grant, the newest first:")
	}
	for _, r := range e.Refusals {
		lines = append(lines, fmt.Sprintf("  %s  %-14s %5d  %s x%d: %s%s", instant(r.Time), r.Stream, r.Seq, r.What, r.Count, r.Reason,
			pairs("detail", r.Detail, "client", r.Client, "request", r.Request)))
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, printable(line)); err != nil {
			return err
		}
	}
	return nil
}

// verdict is the first line: whether, since when, by what and why.
func verdict(e authority.Explanation) string {
	text, codes := "ACTIVE", ""
	if !e.Active {
		text, codes = "NOT "+text, string(e.Reason)
	}
	if !e.Since.IsZero() {
		text += " since " + instant(e.Since)
	}
	if d := e.DecidedBy; d != nil {
		text += ": " + d.Text + ", by event " + d.Stream + " " + strconv.FormatUint(d.Seq, 10)
		if d.Reason != "" {
			codes += ", reason " + d.Reason
		}
	}
	if a := e.Ancestor; a != nil {
		codes += ", of token " + a.JTI + " of client " + a.Client
	}
	if codes == "" {
		return text
	}
	return text + " (" + codes + ")"
}

// facts are what it is, and as of when.
func facts(e authority.Explanation) string {
	f := e.Token
	generation, grant := "", ""
	if f.Generation > 0 {
		generation = strconv.FormatUint(uint64(f.Generation), 10)
	}
	if !f.Grant.IsZero() {
		grant = f.Grant.String()
	}
	return strings.ReplaceAll(string(e.Kind), "_", " ") + ", as of " + instant(e.AsOf.Time) + pairs(
		"client", f.Client, "user", f.User, "grant", grant, "jti", f.JTI, "generation", generation,
		"expires", moment(time.Unix(f.Expires, 0)), "scope", strings.Join(f.Scope, ","),
	)
}

// pairs are names and values, in turn, where there are values.
func pairs(namesAndValues ...string) string {
	var b strings.Builder
	for pair := range slices.Chunk(namesAndValues, 2) {
		if value := pair[1]; value != "" {
			b.WriteString(" " + pair[0] + "=" + value)
		}
	}
	return b.String()
}

// instant is a time to the millisecond, as in the lists of events.
func instant(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }
