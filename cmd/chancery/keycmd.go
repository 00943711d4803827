package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// keyCmd are the commands about the keys that sign and authenticate tokens, and
// about those that encrypt them.
type keyCmd struct {
	List     keyListCmd     `cmd:"" help:"List all keys, what comes next for them, and what they are encrypted with."`
	Rotate   keyRotateCmd   `cmd:"" aliases:"announce" help:"Announce a new key, which takes the place of the one in use by itself, or at once."`
	Activate keyActivateCmd `cmd:"" help:"Use an announced key from now on."`
	Retire   keyRetireCmd   `cmd:"" help:"Make nothing with a key any more. What it made stays good."`
	Drop     keyDropCmd     `cmd:"" help:"End a key and all that it made: it was stolen, say."`
	Rewrap   keyRewrapCmd   `cmd:"" help:"Encrypt everything anew with the active key-encryption key."`

	GenerateEncryptionKey keyGenerateCmd `cmd:"" help:"Print a line for the file of key-encryption keys."`
}

// keyTimeout bounds a change of a key, in which the server may wait until all
// replicas know a new one.
const keyTimeout = 5 * time.Minute

// key is the admin API's form of a key.
type key struct {
	ID            string        `json:"id"`
	Use           string        `json:"use"`
	Alg           string        `json:"alg"`
	State         fold.KeyState `json:"state"`
	ChangedAt     time.Time     `json:"changed_at"`
	EncryptedWith string        `json:"encrypted_with"`
	Next          *keyStep      `json:"next"`
}

type keyStep struct {
	Action string    `json:"action"`
	At     time.Time `json:"at"`
	Use    string    `json:"use"`
	Alg    string    `json:"alg"`
}

// keyList is all there is to know about the keys.
type keyList struct {
	Keys        []key     `json:"keys"`
	Next        []keyStep `json:"next"`
	MACKeysLeft int       `json:"mac_keys_left"`
	Encryption  struct {
		Active        string         `json:"active"`
		Known         []string       `json:"known"`
		ClientSecrets map[string]int `json:"client_secrets"`
		Stores        []string       `json:"stores"`
	} `json:"encryption"`
}

func (s keyStep) String() string { return s.Action + " " + moment(s.At) }

// kind is what a key is for, in a word.
func kind(use, alg string) string {
	if use == events.KeyUseMAC {
		return "MAC"
	}
	return alg
}

type keyListCmd struct{ adminCall }

// Run lists the keys.
func (c *keyListCmd) Run(ctx context.Context, t terminal) error {
	answer, err := c.call(ctx, http.MethodGet, nil, "keys")
	if err != nil {
		return err
	}
	return show(c.output, t, answer, func(l keyList) error { return l.print(t) })
}

func (l keyList) print(t terminal) error {
	rows := [][]string{{"KEY", "FOR", "STATE", "SINCE", "NEXT", "ENCRYPTED WITH"}}
	for _, k := range l.Keys {
		next := "-"
		if k.Next != nil {
			next = k.Next.String()
		}
		rows = append(rows, []string{k.ID, kind(k.Use, k.Alg), string(k.State), moment(k.ChangedAt), next, cmp.Or(k.EncryptedWith, "-")})
	}
	for _, s := range l.Next {
		rows = append(rows, []string{"(new)", kind(s.Use, s.Alg), "-", "-", s.String(), "-"})
	}
	if err := table(t.out, rows...); err != nil {
		return err
	}
	e := l.Encryption
	_, err := fmt.Fprintf(t.out, "\nMAC keys left: %d of 255. Key-encryption keys: %s, of which %s is active.\n",
		l.MACKeysLeft, strings.Join(e.Known, ", "), e.Active)
	for _, id := range slices.Sorted(maps.Keys(e.ClientSecrets)) {
		_, err = fmt.Fprintf(t.out, "Client secrets that need key-encryption key %s: %d\n", printable(id), e.ClientSecrets[id])
	}
	return err
}

type keyRotateCmd struct {
	adminCall
	Alg []string `xor:"kind" required:"" placeholder:"ALG" help:"Signing key for this algorithm. May be repeated."`
	MAC bool     `xor:"kind" required:"" name:"mac" help:"MAC key."`
	All bool     `xor:"kind" required:"" help:"All keys in use."`
	Now bool     `help:"Use it as soon as all replicas know it. Who keeps a JWK Set must read it again when it meets the key."`
}

// Help is the detail of chancery key rotate --help.
func (*keyRotateCmd) Help() string {
	return `Without --now the new key is published, becomes active after --key-announce-for of the servers, and the one before it retires. "chancery key list" tells when.

Examples:

    chancery key rotate --all
    chancery key rotate --alg ES256 --now`
}

// Run makes the keys.
func (c *keyRotateCmd) Run(ctx context.Context, t terminal) error {
	bodies, err := c.bodies(ctx)
	if err != nil {
		return err
	}
	for _, body := range bodies {
		answer, err := c.callFor(ctx, keyTimeout, body, "keys")
		if err == nil {
			err = printKey(c.output, t, answer)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *keyRotateCmd) bodies(ctx context.Context) ([]map[string]any, error) {
	var bodies []map[string]any
	add := func(use, alg string) { bodies = append(bodies, map[string]any{"use": use, "alg": alg, "now": c.Now}) }
	for _, alg := range c.Alg {
		add(events.KeyUseSignature, alg)
	}
	if c.MAC {
		add(events.KeyUseMAC, "")
	}
	if !c.All {
		return bodies, nil
	}
	answer, err := c.call(ctx, http.MethodGet, nil, "keys")
	if err != nil {
		return nil, err
	}
	var list keyList
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	seen := map[string]bool{}
	for _, k := range list.Keys {
		if k.State == fold.KeyActive && !seen[kind(k.Use, k.Alg)] {
			seen[kind(k.Use, k.Alg)] = true
			add(k.Use, k.Alg)
		}
	}
	return bodies, nil
}

func printKey(o output, t terminal, answer json.RawMessage) error {
	return show(o, t, answer, func(k key) error {
		_, err := fmt.Fprintf(t.out, "%s (%s) %s\n", printable(k.ID), printable(kind(k.Use, k.Alg)), k.State)
		return err
	})
}

type keyActivateCmd struct {
	adminCall
	KID string `arg:"" name:"kid" help:"Id of the key."`
	Now bool   `help:"Although JWK Sets without it may still be kept."`
}

// Run activates the key.
func (c *keyActivateCmd) Run(ctx context.Context, t terminal) error {
	return c.change(ctx, t, map[string]any{"now": c.Now}, c.KID, "activate")
}

type keyRetireCmd struct {
	adminCall
	KID string `arg:"" name:"kid" help:"Id of the key."`
}

// Run retires the key.
func (c *keyRetireCmd) Run(ctx context.Context, t terminal) error {
	return c.change(ctx, t, nil, c.KID, "retire")
}

func (c adminCall) change(ctx context.Context, t terminal, body any, kid, verb string) error {
	answer, err := c.callFor(ctx, keyTimeout, body, "keys", kid, verb)
	if err != nil {
		return err
	}
	return printKey(c.output, t, answer)
}

type keyDropCmd struct {
	adminCall
	KID    string `arg:"" name:"kid" help:"Id of the key."`
	DryRun bool   `help:"Only count what would end."`
	Yes    bool   `short:"y" help:"Do not ask."`
}

// Help is the detail of chancery key drop --help.
func (*keyDropCmd) Help() string {
	return `The access tokens of a signing key are refused by all replicas within --freshness-bound of the answer, and by those who verify with a JWK Set when they read it again; refresh goes on, and gives tokens of another key. All codes, refresh tokens and sessions of a MAC key are dead: people must sign in again. A key in use is replaced first.

Examples:

    chancery key drop mac-3 --dry-run
    chancery key drop nbmVuWqiaKEhwWYKS2BDyOVgIRwrLxeMpvMWKhU6yFQ --yes`
}

// keyCounts is what would end with a key.
type keyCounts struct {
	key
	Grants       int64 `json:"grants"`
	Sessions     int64 `json:"sessions"`
	AccessTokens int64 `json:"access_tokens"`
}

// Run counts, asks and drops the key. With --yes a count that fails keeps nothing
// back: in an emergency there may be no read model to count in.
func (c *keyDropCmd) Run(ctx context.Context, t terminal) error {
	answer, err := c.callFor(ctx, countTimeout, map[string]any{"dry_run": true}, "keys", c.KID, "drop")
	switch {
	case err != nil && c.Yes && !c.DryRun && mayPass(err):
		_, _ = fmt.Fprintf(t.err, "not counted: %v\n", err)
	case err != nil:
		return err
	case c.DryRun && c.JSON:
		return printJSON(t.out, answer)
	default:
		var counts keyCounts
		if err := json.Unmarshal(answer, &counts); err != nil {
			return fmt.Errorf("reading the counts: %w", err)
		}
		counts.tell(c.told(t))
	}
	if c.DryRun {
		return nil
	}
	if err := confirm(t, c.Yes, "Drop this key?", "nothing was dropped"); err != nil {
		return err
	}
	return c.change(ctx, t, nil, c.KID, "drop")
}

// told is where a person is told what is not the answer.
func (c *keyDropCmd) told(t terminal) terminal {
	if c.JSON {
		t.out = t.err
	}
	return t
}

func (k keyCounts) tell(t terminal) {
	what := fmt.Sprintf("%d access tokens that it signed in the last day", k.AccessTokens)
	if k.Use == events.KeyUseMAC {
		what = fmt.Sprintf("the codes or refresh tokens of %d grants, and %d sessions", k.Grants, k.Sessions)
	}
	_, _ = fmt.Fprintf(t.out, "%s (%s) is %s. With it end %s.\n", printable(k.ID), printable(kind(k.Use, k.Alg)), k.State, what)
}

type keyGenerateCmd struct {
	ID string `arg:"" optional:"" help:"Id of the key: 1 to 32 letters, digits, dashes and underscores. Default: one is made."`
}

// Help is the detail of chancery key generate-encryption-key --help.
func (*keyGenerateCmd) Help() string {
	return `The last line of the file is the key that encrypts; the others still decrypt. With several replicas, put a new key above the last line first, and make it the last one when all replicas have read it.

Example:

    chancery key generate-encryption-key >> key-encryption-keys`
}

// Run prints the line.
func (c *keyGenerateCmd) Run(t terminal) error {
	line := secret.NewRingLine(cmp.Or(c.ID, "k"+strings.ToLower(rand.Text()[:8])))
	if _, err := secret.ParseRing(line); err != nil {
		return errors.New("the id is not 1 to 32 letters, digits, dashes and underscores")
	}
	_, err := fmt.Fprint(t.out, line.Reveal())
	return err
}
