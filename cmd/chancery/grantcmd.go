package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/projector/fold"
)

// grantCmd are the commands about grants.
type grantCmd struct {
	Show   grantShowCmd   `cmd:"" help:"Show one grant."`
	Revoke grantRevokeCmd `cmd:"" help:"End a grant and everything issued from it."`
}

type grantShowCmd struct {
	adminCall
	ID string `arg:"" name:"grant-id" help:"Id of the grant, in every token issued from it."`
}

// Run shows the grant.
func (c *grantShowCmd) Run(ctx context.Context, t terminal) error {
	answer, err := c.call(ctx, http.MethodGet, nil, "grants", c.ID)
	if err != nil {
		return err
	}
	return show(c.output, t, answer, func(g fold.Grant) error { return printGrant(t, g) })
}

func printGrant(t terminal, g fold.Grant) error {
	state := "open"
	switch {
	case g.Revoked():
		state = fmt.Sprintf("revoked: %s, %s", g.RevokedReason, moment(g.RevokedAt))
	case !g.Redeemed():
		state = "code not redeemed"
	}
	return table(
		t.out,
		[]string{"grant", g.ID.String()},
		[]string{"state", state},
		[]string{"client", g.Client},
		[]string{"user", g.User},
		[]string{"scope", cmp.Or(strings.Join(g.Scope, " "), "-")},
		[]string{"audience", cmp.Or(strings.Join(g.Audience, " "), "-")},
		[]string{"opened", moment(g.OpenedAt)},
		[]string{"generation", fmt.Sprint(g.Current.Generation)},
		[]string{"issued", moment(g.IssuedAt)},
		[]string{"expires", moment(time.Unix(g.Expires, 0))},
		[]string{"sequence", fmt.Sprint(g.Seq)},
	)
}

type grantRevokeCmd struct {
	adminCall
	ID string `arg:"" name:"grant-id" help:"Id of the grant."`
}

// Run revokes the grant.
func (c *grantRevokeCmd) Run(ctx context.Context, t terminal) error {
	return c.report(ctx, t, "revoked", "grants", c.ID, "revoke")
}
