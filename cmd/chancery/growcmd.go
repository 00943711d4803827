package main

import (
	"context"

	"github.com/chancery-authority/chancery/cmd/grow"
)

// growSample is how many refresh tokens are written by default.
const growSample = 1000

type growCmd struct {
	DataDir    string `type:"path" required:"" placeholder:"DIR" help:"Data directory to make, for chancery serve --data."`
	Grants     int    `required:"" help:"Live grants."`
	Partitions int    `default:"1" help:"Partitions that they are spread over."`
	Issuer     string `default:"http://127.0.0.1:8080" placeholder:"URL" help:"Issuer, as chancery serve will be told."`
	Tokens     string `type:"path" required:"" placeholder:"FILE" help:"New file that gets refresh tokens, one a line."`
	Sample     *int   `placeholder:"N" help:"How many refresh tokens, of grants taken evenly from all. Default: 1000, or as many as there are grants."`
	Secret     string `type:"path" required:"" placeholder:"FILE" help:"New file that gets the secret of the client, which is grow."`
}

// Help is the detail of chancery grow --help.
func (*growCmd) Help() string {
	return `Makes the store of an authority with so many live grants, to size memory, disk and start-up of one that will have them: how large the directory is, how long chancery serve takes until it is ready, and what it needs then. Each grant has a refresh token; use some of them with chancery bench.

Nobody can sign in at it, and its keys are of that directory alone.

Example:

    chancery grow --data-dir million --grants 1000000 --tokens tokens --sample 100000 --secret secret
    chancery serve --data million
    chancery bench --issuer http://127.0.0.1:8080 --client-id grow --client-secret-file secret --refresh-tokens tokens refresh`
}

// Run makes the store.
func (c *growCmd) Run(ctx context.Context, t terminal) error {
	sample := min(growSample, c.Grants)
	if c.Sample != nil {
		sample = *c.Sample
	}
	p := newCounter(t.err, "events", 0)
	defer p.end()
	return grow.Run(ctx, grow.Config{
		Dir: c.DataDir, Issuer: c.Issuer, Grants: c.Grants, Partitions: c.Partitions,
		TokensFile: c.Tokens, Sample: sample, SecretFile: c.Secret,
		Progress: func(done, total uint64) {
			p.total = total
			p.reached(done)
		},
	})
}
