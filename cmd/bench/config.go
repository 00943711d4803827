package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/api/secret"
)

// An Operation is a kind of request that is measured.
type Operation string

// The operations. Of Code the redemption is measured and of Revocation the revocation:
// what they need is got before, without being measured.
const (
	ClientCredentials Operation = "client-credentials" // RFC 6749 §4.4
	Refresh           Operation = "refresh"            // RFC 6749 §6
	Code              Operation = "code"               // RFC 6749 §4.1.3
	Introspection     Operation = "introspection"      // RFC 7662, of access tokens
	Exchange          Operation = "exchange"           // RFC 8693
	Revocation        Operation = "revocation"         // RFC 7009
	// Mixed are all others, by weights.
	Mixed Operation = "mixed"
)

// Operations are all there are, in the order in which they run by default.
func Operations() []Operation {
	return []Operation{ClientCredentials, Refresh, Code, Introspection, Exchange, Revocation, Mixed}
}

// A weight is how often, of a hundred, an operation is one of Mixed.
type weight struct {
	operation Operation
	percent   int
}

// weights of Mixed: much is introspected, and few people sign in.
func weights() []weight {
	return []weight{{Introspection, 50}, {Refresh, 30}, {ClientCredentials, 10}, {Code, 5}, {Exchange, 3}, {Revocation, 2}}
}

// An AdminCall calls the admin API below /admin/v1 and gives the body of a successful
// answer, which the caller closes.
type AdminCall func(ctx context.Context, method string, in any, query url.Values, path ...string) (io.ReadCloser, error)

// A Client is an OAuth client that is registered at the target.
type Client struct {
	ID     string
	Secret secret.Secret
}

// Config says what to measure, and where.
type Config struct {
	Operations []Operation
	// Workers are how many ask at the same time, each for itself.
	Workers int
	// Duration is how long each operation is measured, after Warmup, in which it
	// is not.
	Duration, Warmup time.Duration
	// Timeout is how long an answer may take.
	Timeout time.Duration
	// Grants are how many each worker holds and uses in turn.
	Grants int
	// VerifyEvery says of how many access tokens one has its signature and claims
	// verified; 0 is of none.
	VerifyEvery int
	// Processes are those whose CPU time and memory are reported, by their names.
	// Those of an authority of its own are added.
	Processes map[string]int

	// Own is the authority to start, if Target names none.
	Own    Own
	Target Target
	// KeepTokens is given the newest of Target.RefreshTokens after each operation, to be
	// kept: all those before do not count any more. It may be nil.
	KeepTokens func(tokens []string) error
	// Version is what is reported of this program.
	Version string
	// Progress is told how far it has come. It may be nil.
	Progress func(text string)
}

// Own says what an authority of one's own is made of.
type Own struct {
	// Program is the chancery binary, and Dir an empty directory for everything.
	Program, Dir string
	// APIs and Projectors are processes of their own if there are more than one of
	// either, or NATSServers; else all is one process.
	APIs, Projectors, NATSServers int
	Partitions                    int
	// ConnectAdmin gives the admin API at an address.
	ConnectAdmin func(address string, key secret.Secret) (AdminCall, error)
}

// Target says which authority is measured.
type Target struct {
	// Issuer is asked for its metadata (RFC 8414, OpenID Connect Discovery).
	Issuer string
	// Endpoints replace what the metadata say.
	Endpoints Endpoints
	// TLS is how servers are verified; nil is by the system's certificates.
	TLS *tls.Config
	// Admin is the admin API of a Chancery, nil for other servers, or without its key.
	Admin AdminCall
	// Client is one that is registered; without an id one is registered by Admin,
	// and a user.
	Client Client
	// Scope, Resource (RFC 8707) and Audience are asked for by client credentials and
	// in exchanges.
	Scope              string
	Resource, Audience []string
	// RefreshTokens are those that the client holds, each of another grant, and at
	// least one for each worker.
	RefreshTokens []string
}

// isOwn reports whether the authority is to be started.
func (c Config) isOwn() bool { return c.Target.Issuer == "" && c.Target.Endpoints.Token == "" }

// registers reports whether client and user are made for the run.
func (c Config) registers() bool { return c.Target.Client.ID == "" }

func (c Config) check() error {
	for _, o := range c.Operations {
		if !slices.Contains(Operations(), o) {
			return fmt.Errorf("there is no operation %.40q", string(o))
		}
		if err := c.possible(o); err != nil {
			return err
		}
	}
	switch {
	case len(c.Operations) == 0:
		return errors.New("there is no operation to measure")
	case c.Workers < 1 || c.Grants < 1:
		return errors.New("there must be a worker, and a grant of each, at least")
	case c.Duration <= 0 || c.Timeout <= 0 || c.Warmup < 0 || c.VerifyEvery < 0:
		return errors.New("what is measured must take time, answers must have time, and nothing is negative")
	case c.isOwn():
		return errors.Join(c.Own.check(), c.checkNames())
	case c.registers() && c.Target.Admin == nil:
		return errors.New("a client is needed, or the admin key to register one")
	case c.registers() && c.Target.Issuer == "":
		return errors.New("to register a client, the issuer is needed")
	case len(c.Target.RefreshTokens) > 0 && len(c.Target.RefreshTokens) < c.Workers:
		return fmt.Errorf("%d refresh tokens are too few for %d workers", len(c.Target.RefreshTokens), c.Workers)
	}
	return c.checkNames()
}

// checkNames reports a process that has the name of another.
func (c Config) checkNames() error {
	taken := []string{"generator", "together"}
	if c.isOwn() {
		taken = append(taken, c.Own.names()...)
	}
	for name := range c.Processes {
		if slices.Contains(taken, name) {
			return fmt.Errorf("a process that is not one of its own cannot be called %q", name)
		}
	}
	return nil
}

// possible reports why an operation cannot be done with a client that somebody else
// registered: whether it has users, and where they sign in, is not known.
func (c Config) possible(o Operation) error {
	if c.isOwn() || c.registers() {
		return nil
	}
	switch {
	case o == Code || o == Mixed:
		return fmt.Errorf("%s needs a person, so a client of its own: leave the client out and give the admin key", o)
	case o == Refresh && len(c.Target.RefreshTokens) == 0:
		return errors.New("refresh needs refresh tokens of the client")
	}
	return nil
}

func (o Own) check() error {
	if o.APIs < 1 || o.Projectors < 1 || o.NATSServers < 0 || o.Partitions < 1 {
		return errors.New("there must be an API replica, a projector and a partition at least")
	}
	if o.NATSServers != 0 && o.NATSServers != 1 && o.NATSServers != 3 && o.NATSServers != 5 {
		return errors.New("there can be 1, 3 or 5 NATS servers")
	}
	return nil
}

// one reports whether it is one process.
func (o Own) one() bool { return o.APIs == 1 && o.Projectors == 1 && o.NATSServers == 0 }

// servers is how many NATS servers it has; 0 is the one within the one process.
func (o Own) servers() int {
	if o.one() {
		return 0
	}
	return max(1, o.NATSServers)
}

// names are those of its processes.
func (o Own) names() (all []string) {
	if o.one() {
		return []string{"serve"}
	}
	for name, n := range map[string]int{"nats-": o.servers(), "projector-": o.Projectors, "api-": o.APIs} {
		for i := range n {
			all = append(all, name+strconv.Itoa(i))
		}
	}
	return all
}

// targets is the part of a token request's form that narrows what is issued.
func (t Target) targets() string {
	form := url.Values{}
	if t.Scope != "" {
		form.Set("scope", t.Scope)
	}
	if len(t.Resource) > 0 {
		form["resource"] = t.Resource
	}
	if len(t.Audience) > 0 {
		form["audience"] = t.Audience
	}
	if len(form) == 0 {
		return ""
	}
	return "&" + strings.ReplaceAll(form.Encode(), "+", "%20")
}
