package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// adminCall is a command that calls the admin API.
type adminCall struct {
	adminFlags `group:"admin"`
	output
}

func (c adminCall) call(ctx context.Context, method string, in any, path ...string) (json.RawMessage, error) {
	a, err := c.client()
	if err != nil {
		return nil, err
	}
	return a.call(ctx, method, in, path...)
}

// find is call for a query.
func (c adminCall) find(ctx context.Context, query url.Values, path ...string) (json.RawMessage, error) {
	a, err := c.client()
	if err != nil {
		return nil, err
	}
	return a.send(ctx, http.MethodGet, nil, query, path...)
}

// remove deletes at path, which begins with the kind and the id, and says what
// was done to its last.
func (c adminCall) remove(ctx context.Context, t terminal, done string, path ...string) error {
	if _, err := c.call(ctx, http.MethodDelete, nil, path...); err != nil || c.JSON {
		return err
	}
	_, err := fmt.Fprintf(t.out, "%s %s\n", path[len(path)-1], done)
	return err
}

// printClient makes a call that answers with a client, and prints it.
func (c adminCall) printClient(ctx context.Context, t terminal, method string, in any, path ...string) error {
	answer, err := c.call(ctx, method, in, path...)
	if err != nil {
		return err
	}
	return show(c.output, t, answer, func(v client) error { return v.print(t) })
}

// report posts to path, which ends with what, of which kind, and the verb, and
// says what was done.
func (c adminCall) report(ctx context.Context, t terminal, done string, path ...string) error {
	answer, err := c.call(ctx, http.MethodPost, nil, path...)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(t.out, answer)
	}
	_, err = fmt.Fprintf(t.out, "%s %s\n", path[1], done)
	return err
}
