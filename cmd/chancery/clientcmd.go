package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/chancery-authority/chancery/events"
)

// clientCmd are the commands about clients.
type clientCmd struct {
	Create  clientCreateCmd  `cmd:"" help:"Register a client. The secret of a confidential one is shown once."`
	List    clientListCmd    `cmd:"" help:"List all clients."`
	Show    clientShowCmd    `cmd:"" help:"Show one client."`
	Update  clientUpdateCmd  `cmd:"" help:"Change what is given of a client's settings."`
	Disable clientDisableCmd `cmd:"" help:"Stop a client. Everything issued to it dies."`
	Enable  clientEnableCmd  `cmd:"" help:"Let a client start again. What it held stays dead."`
	CutOff  clientCutOffCmd  `cmd:"" help:"End everything issued to a client, which may ask for tokens again at once."`
	Secret  secretCmd        `cmd:"" help:"Add and drop secrets; two may be valid at once."`
}

// registration is what creates a client.
type registration struct {
	ID string `json:"client_id,omitempty"`
	events.ClientSettings
}

type clientCreateCmd struct {
	adminCall
	ID string `arg:"" optional:"" name:"client-id" help:"Id of the client. Default: one is made."`
	clientFlags
}

// Help is the detail of chancery client create --help.
func (*clientCreateCmd) Help() string {
	return `Examples:

    chancery client create billing --grant-type client_credentials --scope "read write"
    chancery client create spa --public --grant-type authorization_code,refresh_token \
        --redirect-uri https://app.example/callback --scope "read offline_access"`
}

// Run registers the client.
func (c *clientCreateCmd) Run(ctx context.Context, t terminal) error {
	in := registration{ID: c.ID}
	c.apply(&in.ClientSettings)
	return c.printClient(ctx, t, http.MethodPost, in, "clients")
}

type clientListCmd struct{ adminCall }

// Run lists the clients.
func (c *clientListCmd) Run(ctx context.Context, t terminal) error {
	answer, err := c.call(ctx, http.MethodGet, nil, "clients")
	if err != nil {
		return err
	}
	return show(c.output, t, answer, func(list clientList) error {
		rows := [][]string{{"CLIENT", "NAME", "TYPE", "STATE", "GRANT TYPES", "SCOPE"}}
		for _, c := range list.Clients {
			rows = append(rows, []string{
				c.ID, cmp.Or(c.Name, "-"), c.kind(), c.state(),
				cmp.Or(strings.Join(c.GrantTypes, " "), "-"), cmp.Or(strings.Join(c.Scope, " "), "-"),
			})
		}
		return table(t.out, rows...)
	})
}

type clientShowCmd struct {
	adminCall
	ID string `arg:"" name:"client-id" help:"Id of the client."`
}

// Run shows the client.
func (c *clientShowCmd) Run(ctx context.Context, t terminal) error {
	return c.printClient(ctx, t, http.MethodGet, nil, "clients", c.ID)
}

type clientUpdateCmd struct {
	adminCall
	ID string `arg:"" name:"client-id" help:"Id of the client."`
	clientFlags
}

// Help is the detail of chancery client update --help.
func (*clientUpdateCmd) Help() string {
	return `A list is replaced whole; an empty one clears it.

Example:

    chancery client update billing --scope "read" --audience ""`
}

// Run reads the settings, changes what was given and replaces them.
func (c *clientUpdateCmd) Run(ctx context.Context, t terminal) error {
	answer, err := c.call(ctx, http.MethodGet, nil, "clients", c.ID)
	if err != nil {
		return err
	}
	var now client
	if err := json.Unmarshal(answer, &now); err != nil {
		return fmt.Errorf("reading the client: %w", err)
	}
	c.apply(&now.ClientSettings)
	return c.printClient(ctx, t, http.MethodPut, now.ClientSettings, "clients", c.ID)
}

type clientDisableCmd struct {
	adminCall
	ID string `arg:"" name:"client-id" help:"Id of the client."`
}

// Run disables the client.
func (c *clientDisableCmd) Run(ctx context.Context, t terminal) error {
	return c.report(ctx, t, "disabled", "clients", c.ID, "disable")
}

type clientEnableCmd struct {
	adminCall
	ID string `arg:"" name:"client-id" help:"Id of the client."`
}

// Run enables the client.
func (c *clientEnableCmd) Run(ctx context.Context, t terminal) error {
	return c.report(ctx, t, "enabled", "clients", c.ID, "enable")
}

type clientCutOffCmd struct {
	adminCall
	ID string `arg:"" name:"client-id" help:"Id of the client."`
}

// Run cuts the client off.
func (c *clientCutOffCmd) Run(ctx context.Context, t terminal) error {
	return c.report(ctx, t, "cut off", "clients", c.ID, "cut-off")
}
