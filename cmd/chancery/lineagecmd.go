package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/api/lineage"
)

// auditLineageCmd shows what came of what.
type auditLineageCmd struct {
	adminCall

	Grant   string     `placeholder:"ID" help:"Of a grant."`
	JTI     string     `name:"jti" placeholder:"ID" help:"Of an access token: what was made from it."`
	Client  string     `placeholder:"ID" help:"Of what was issued to a client."`
	User    string     `placeholder:"ID" help:"Of what was issued in a user's name."`
	KID     string     `name:"kid" placeholder:"ID" help:"Of what a key signed."`
	Address netip.Addr `placeholder:"IP" help:"Of what was issued to an address. Needs one of --grant, --client, --user, --since."`
	Since   string     `placeholder:"TIME" help:"Issued from this time on (RFC 3339), or this long ago: 90m."`
	Until   string     `placeholder:"TIME" help:"Issued before this time, or this long ago."`
	Limit   int        `short:"n" default:"1000" help:"How many grants and tokens at most, up to 10,000."`
}

// Help is the detail of chancery audit lineage --help.
func (*auditLineageCmd) Help() string {
	return `A grant is shown with all that it issued, generation by generation, and each token with what was made from it by token exchange, at any depth.

Examples:

    chancery audit lineage --grant 00b51bd1...
    chancery audit lineage --client demo-web --since 24h
    chancery audit lineage --jti 5YKMQZJ4MGVFGKZHTQS6ZKVB6O --json`
}

func (c *auditLineageCmd) query(now time.Time) (url.Values, error) {
	q := url.Values{"limit": {strconv.Itoa(c.Limit)}}
	since, err := timeOf(c.Since, now)
	until, err2 := timeOf(c.Until, now)
	for name, value := range map[string]string{
		"grant": c.Grant, "jti": c.JTI, "client": c.Client, "user": c.User, "kid": c.KID, "since": since, "until": until,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if c.Address.IsValid() {
		q.Set("address", c.Address.String())
	}
	return q, errors.Join(err, err2)
}

// lineageAnswer is the admin API's.
type lineageAnswer struct {
	Root        *lineage.Node `json:"root"`
	Nodes       int           `json:"nodes"`
	Truncated   bool          `json:"truncated"`
	LeftOut     int           `json:"left_out"`
	LeftOutMore bool          `json:"left_out_more"`
}

// Run prints the tree.
func (c *auditLineageCmd) Run(ctx context.Context, t terminal) error {
	q, err := c.query(time.Now())
	if err != nil {
		return err
	}
	answer, err := c.find(ctx, q, "lineage")
	if err != nil {
		return err
	}
	return show(c.output, t, answer, func(l lineageAnswer) error { return l.print(t.out) })
}

func (l lineageAnswer) print(w io.Writer) error {
	if l.Root == nil {
		return errors.New("reading the answer: there is no tree in it")
	}
	var b strings.Builder
	printNode(&b, l.Root, &lineage.Node{}, "", "")
	if l.Truncated {
		more := fmt.Sprint(l.LeftOut)
		if l.LeftOutMore {
			more = "more than " + more
		}
		fmt.Fprintf(&b, "%d shown; left out are %s events: narrow it, or give a larger --limit\n", l.Nodes, more)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// printNode prints a node behind its branch, and what is below it indented.
func printNode(b *strings.Builder, n, above *lineage.Node, branch, indent string) {
	b.WriteString(branch + printable(nodeText(n, above)) + "\n")
	for i, child := range n.Children {
		if i < len(n.Children)-1 || n.Cut {
			printNode(b, child, n, indent+"├── ", indent+"│   ")
		} else {
			printNode(b, child, n, indent+"└── ", indent+"    ")
		}
	}
	if n.Cut {
		b.WriteString(indent + "└── …\n")
	}
}

// nodeText is a node in a line, without what the one above it says already.
func nodeText(n, above *lineage.Node) string {
	text := n.Kind + " " + n.ID
	add := func(name, value string) {
		if value != "" {
			text += "  " + name + " " + value
		}
	}
	if n.State != "" {
		text += "  " + n.State
		if n.Reason != "" {
			text += " (" + n.Reason + ")"
		}
	}
	if n.Generation > 0 {
		add("generation", strconv.Itoa(int(n.Generation)))
	}
	if strings.HasPrefix(n.Type, "token.exchanged.") {
		text += "  exchanged"
	}
	if n.Client != above.Client {
		add("client", n.Client)
	}
	if n.User != above.User {
		add("user", n.User)
	}
	if !n.Time.IsZero() {
		add("issued", moment(n.Time))
	}
	if n.Expires > 0 {
		add("expires", moment(time.Unix(n.Expires, 0)))
	}
	return text
}
