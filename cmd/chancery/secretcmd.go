package main

import (
	"context"
	"fmt"
	"net/http"
)

// secretCmd are the commands about the secrets of a client.
type secretCmd struct {
	Add  secretAddCmd  `cmd:"" help:"Give a client a further secret. It is shown once."`
	Drop secretDropCmd `cmd:"" help:"End a secret of a client."`
}

type secretAddCmd struct {
	adminCall
	ID string `arg:"" name:"client-id" help:"Id of the client."`
}

// newSecret is the admin API's answer to a new secret.
type newSecret struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

// Run adds a secret.
func (c *secretAddCmd) Run(ctx context.Context, t terminal) error {
	answer, err := c.call(ctx, http.MethodPost, nil, "clients", c.ID, "secrets")
	if err != nil {
		return err
	}
	return show(c.output, t, answer, func(s newSecret) error {
		return table(t.out, []string{"secret_id", s.ID}, []string{"client_secret", s.Secret + shownOnce})
	})
}

type secretDropCmd struct {
	adminCall
	ID       string `arg:"" name:"client-id" help:"Id of the client."`
	SecretID string `arg:"" name:"secret-id" help:"Id of the secret, as chancery client show lists it."`
}

// Run drops a secret.
func (c *secretDropCmd) Run(ctx context.Context, t terminal) error {
	answer, err := c.call(ctx, http.MethodDelete, nil, "clients", c.ID, "secrets", c.SecretID)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(t.out, answer)
	}
	_, err = fmt.Fprintf(t.out, "secret %s of %s dropped\n", c.SecretID, c.ID)
	return err
}
