package main

import (
	"context"

	"github.com/chancery-authority/chancery/cmd/grow"
)

type growCmd struct {
	DataDir    string `type:"path" required:"" placeholder:"DIR" help:"Data directory to make, for chancery serve --data."`
	Grants     int    `required:"" help:"Live grants."`
	Partitions int    `default:"1" help:"Partitions that they are spread over."`
	Issuer     string `default:"http://127.0.0.1:8080" placeholder:"URL" help:"Issuer, as chancery serve will be told."`
	Tokens     string `type:"path" required:"" placeholder:"FILE" help:"File that gets refresh tokens, one a line."`
	Sample     int    `default:"1000" help:"How many refresh tokens, of grants taken evenly from all."`
	Secret     string `type:"path" required:"" placeholder:"FILE" help:"File that gets the secret of the client, which is grow."`
}

// Help is the detail of chancery grow --help.
func (*growCmd) Help() string {
	return `Makes the store of an authority with many live grants, each with a refresh token, to measure what they cost.

Example:

    chancery grow --data-dir million --grants 1000000 --tokens tokens --sample 100000 --secret secret
    chancery serve --data million`
}

// Run makes the store.
func (c *growCmd) Run(ctx context.Context, t terminal) error {
	p := newCounter(t.err, "events", 0)
	defer p.end()
	return grow.Run(ctx, grow.Config{
		Dir: c.DataDir, Issuer: c.Issuer, Grants: c.Grants, Partitions: c.Partitions,
		TokensFile: c.Tokens, Sample: c.Sample, SecretFile: c.Secret,
		Progress: func(done, total uint64) {
			p.total = total
			p.reached(done)
		},
	})
}
