package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/cmd/bench"
)

type benchCmd struct {
	output

	Operations []string `arg:"" optional:"" name:"operation" help:"What to measure, one after the other: ${operations}. Default: all, where the client is not given."`

	Workers     int               `default:"16" help:"How many ask at the same time, each by a connection of its own."`
	Duration    time.Duration     `default:"30s" help:"How long each operation is measured."`
	Warmup      time.Duration     `default:"5s" help:"How long each goes on before that."`
	Timeout     time.Duration     `default:"30s" help:"How long an answer may take."`
	Grants      int               `default:"4" help:"Grants that each worker holds and uses in turn."`
	VerifyEvery int               `default:"100" placeholder:"N" help:"Verify the signature and claims of one of N access tokens; 0 is of none. All else is checked of every answer."`
	PID         map[string]string `name:"pid" placeholder:"NAME=PID" help:"Process whose CPU time and memory to report. Repeatable."`

	APIs        int    `name:"apis" default:"1" help:"API replicas of an authority that is started."`
	Projectors  int    `default:"1" help:"Projectors of it."`
	Partitions  int    `default:"1" help:"Partitions of its log."`
	NATSServers int    `name:"nats-servers" default:"0" help:"NATS servers of it: 1, 3 or 5, with a copy of the log each. Default: the one within chancery serve or, with several replicas or projectors, 1."`
	Dir         string `type:"path" placeholder:"DIR" help:"Empty or new directory for it, which is kept. Default: one that is deleted, unless anything was wrong."`
	Keep        bool   `help:"Keep the directory."`

	Issuer                string   `placeholder:"URL" help:"Issuer of a running server, whose metadata say where its endpoints are. Without one an authority is started."`
	TokenEndpoint         string   `placeholder:"URL" help:"Token endpoint, for servers without metadata."`
	IntrospectionEndpoint string   `placeholder:"URL" help:"Introspection endpoint."`
	RevocationEndpoint    string   `placeholder:"URL" help:"Revocation endpoint."`
	JWKSURI               string   `name:"jwks-uri" placeholder:"URL" help:"JWK Set that access tokens are verified with."`
	CA                    string   `name:"ca" type:"path" placeholder:"FILE" help:"Certificates that the server's is verified with. Default: the system's."`
	Scope                 string   `help:"Scope to ask for by client credentials and in exchanges; a client that is registered may have it."`
	Resource              []string `placeholder:"URL" help:"Resource to ask for (RFC 8707). Repeatable."`
	Audience              []string `placeholder:"AUDIENCE" help:"Audience to ask for. Repeatable."`
	RefreshTokens         string   `type:"path" placeholder:"FILE" help:"Refresh tokens of the client, one a line, at least one for each worker. The newest ones are written back after each operation."`

	benchClient `group:"client"`

	WithAdmin  bool `name:"admin" help:"With a client that is given: count its events by the admin API, too. Nobody else may use it meanwhile."`
	adminFlags `group:"admin"`
}

// benchClient is a client that is registered at the server.
type benchClient struct {
	ClientID         string        `placeholder:"ID" help:"Client to measure with. Without one the admin key is needed, to register one and a user, which are disabled and deleted in the end."`
	ClientSecret     secret.Secret `secret:"" placeholder:"SECRET" help:"Its secret. Prefer the file or the environment: arguments are seen by everybody on the machine."`
	ClientSecretFile string        `type:"path" placeholder:"FILE" help:"File that holds its secret."`
}

// Help is the detail of chancery bench --help.
func (*benchCmd) Help() string {
	return `Sends requests as fast as they are answered, checks every answer, and says how many there were in a second, how long they took, and what they cost in CPU time. Without an issuer it starts an authority for that, with the settings of production, and removes it again.

Each worker sends its next request when it has its answer. Of code the redemption is measured and of revocation the revocation; both take a code from the authorization endpoint before. mixed is 50 % introspection, 30 % refresh, 10 % client-credentials, 5 % code, 3 % exchange and 2 % revocation.

Where there is an admin key, the events in the log are counted and held against what was acknowledged. So nobody else may use the client meanwhile. The exit status is 1 if any answer was wrong, or missing, the log differs, or it was interrupted.

Examples:

    chancery bench refresh introspection --workers 64
    chancery bench --apis 2 --projectors 2 --nats-servers 3 mixed
    chancery bench --issuer https://auth.example --admin-url http://127.0.0.1:8081 --admin-key-file admin-key
    chancery bench --issuer https://other.example --client-id bench --client-secret-file secret client-credentials introspection`
}

// Run measures.
func (c *benchCmd) Run(ctx context.Context, t terminal) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	p := newProgress(t.err)
	cfg.Progress = p.tell
	dir := ""
	if cfg.Target.Issuer == "" && cfg.Target.Endpoints.Token == "" {
		if dir, err = c.makeDir(); err != nil {
			return err
		}
		cfg.Own.Dir = dir
	}
	report, err := bench.Run(ctx, cfg)
	p.end()
	wrong := failures(report)
	switch fine := wrong == nil && (err == nil || errors.Is(err, context.Canceled)); {
	case dir == "":
	case fine && c.Dir == "" && !c.Keep:
		err = errors.Join(err, os.RemoveAll(dir))
	default:
		_, _ = fmt.Fprintf(t.err, "the authority's files are in %s\n", dir)
	}
	if report.Interrupted {
		err = errors.Join(err, errors.New("it was interrupted"))
	}
	return errors.Join(c.print(t.out, report), err, wrong)
}

// contradictions are arguments that do not go together.
func (c *benchCmd) contradictions() (err error) {
	isOwn := c.Issuer == "" && c.TokenEndpoint == ""
	elsewhere := c.IntrospectionEndpoint != "" || c.RevocationEndpoint != "" || c.JWKSURI != "" || c.CA != ""
	own := c.APIs != 1 || c.Projectors != 1 || c.Partitions != 1 || c.NATSServers != 0 || c.Dir != "" || c.Keep
	for _, of := range []struct {
		is   bool
		text string
	}{
		{isOwn && c.ClientID != "", "client-id: a client is registered somewhere: name the issuer or the token endpoint"},
		{isOwn && elsewhere, "endpoints and certificates are of a server: name the issuer or the token endpoint"},
		{!isOwn && own, "apis, projectors, partitions, nats-servers, dir and keep are for an authority that is started, and one is named"},
		{c.RefreshTokens != "" && c.ClientID == "", "refresh-tokens: they need their client"},
		{c.WithAdmin && c.ClientID == "", "admin: it is for a client that is given"},
		{!c.ClientSecret.IsZero() && c.ClientSecretFile != "", "client-secret and client-secret-file cannot both be given"},
	} {
		if of.is {
			err = errors.Join(err, errors.New(of.text))
		}
	}
	return err
}

func (c *benchCmd) makeDir() (string, error) {
	if c.Dir == "" {
		dir, err := os.MkdirTemp("", "chancery-bench-*")
		if err != nil {
			return "", fmt.Errorf("making the directory: %w", err)
		}
		return dir, nil
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return "", fmt.Errorf("making the directory: %w", err)
	}
	entries, err := os.ReadDir(c.Dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s is not empty", c.Dir)
	}
	return c.Dir, err
}

func (c *benchCmd) config() (cfg bench.Config, err error) {
	if err := c.contradictions(); err != nil {
		return cfg, err
	}
	cfg = bench.Config{
		Workers: c.Workers, Duration: c.Duration, Warmup: c.Warmup, Timeout: c.Timeout, Grants: c.Grants, VerifyEvery: c.VerifyEvery,
		Processes: map[string]int{}, Version: version(),
		Own: bench.Own{APIs: c.APIs, Projectors: c.Projectors, NATSServers: c.NATSServers, Partitions: c.Partitions, ConnectAdmin: c.connectAdmin},
	}
	for _, o := range c.Operations {
		cfg.Operations = append(cfg.Operations, bench.Operation(o))
	}
	if c.RefreshTokens != "" {
		cfg.KeepTokens = func(tokens []string) error { return writeLines(c.RefreshTokens, tokens) }
	}
	if len(cfg.Operations) == 0 && c.ClientID == "" {
		cfg.Operations = bench.Operations()
	}
	for name, text := range c.PID {
		if cfg.Processes[name], err = strconv.Atoi(text); err != nil {
			return cfg, fmt.Errorf("pid: %.40q is no process id", text)
		}
	}
	if cfg.Own.Program, err = os.Executable(); err != nil {
		return cfg, fmt.Errorf("finding this program: %w", err)
	}
	cfg.Target, err = c.target()
	return cfg, err
}

func (c *benchCmd) target() (t bench.Target, err error) {
	t = bench.Target{
		Issuer: c.Issuer, Scope: c.Scope, Resource: c.Resource, Audience: c.Audience,
		Endpoints: bench.Endpoints{Token: c.TokenEndpoint, Introspection: c.IntrospectionEndpoint, Revocation: c.RevocationEndpoint, JWKS: c.JWKSURI},
		Client:    bench.Client{ID: c.ClientID, Secret: c.ClientSecret},
	}
	if t.Issuer == "" && t.Endpoints.Token == "" {
		return t, nil
	}
	if c.CA != "" {
		roots, err := certificates("ca", c.CA)
		if err != nil {
			return t, err
		}
		t.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	if c.ClientSecretFile != "" {
		text, err := os.ReadFile(c.ClientSecretFile)
		if err != nil {
			return t, fmt.Errorf("client-secret-file: %w", err)
		}
		t.Client.Secret = secret.New(strings.TrimSpace(string(text)))
	}
	if c.RefreshTokens != "" {
		if t.RefreshTokens, err = readLines(c.RefreshTokens); err != nil {
			return t, fmt.Errorf("refresh-tokens: %w", err)
		}
	}
	if c.ClientID == "" || c.WithAdmin {
		a, err := c.client()
		if err != nil {
			return t, err
		}
		t.Admin = a.open
	}
	return t, nil
}

// connectAdmin is the admin API of an authority that was started.
func (c *benchCmd) connectAdmin(address string, key secret.Secret) (bench.AdminCall, error) {
	a, err := adminFlags{AdminURL: address, AdminKey: key}.client()
	if err != nil {
		return nil, err
	}
	return a.open, nil
}

func (c *benchCmd) print(w io.Writer, r bench.Report) error {
	switch {
	case len(r.Runs) == 0: // the error says why
		return nil
	case !c.JSON:
		return r.Write(w)
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return printJSON(w, text)
}

func failures(r bench.Report) error {
	failed, differ := r.Problems()
	var errs []error
	if failed > 0 {
		errs = append(errs, fmt.Errorf("%d requests failed", failed))
	}
	if differ > 0 {
		errs = append(errs, fmt.Errorf("the log has another number of events than were acknowledged, of %d types", differ))
	}
	return errors.Join(errs...)
}

// readLines are the lines of a file, without empty ones.
func readLines(file string) (lines []string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			lines = append(lines, string(line))
		}
	}
	return lines, nil
}

// writeLines replaces a file as a whole.
func writeLines(file string, lines []string) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	w := bufio.NewWriter(f)
	for _, line := range lines {
		_, _ = w.WriteString(line + "\n") // Flush tells
	}
	err = errors.Join(w.Flush(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", file, err), os.Remove(f.Name()))
	}
	return nil
}

func operations() string {
	var names []string
	for _, o := range bench.Operations() {
		names = append(names, string(o))
	}
	return strings.Join(names, ", ")
}
