package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/chancery-authority/chancery/api/reseal"
)

type keyRewrapCmd struct {
	adminCall
	DryRun bool `help:"Only count what is encrypted with which key."`
}

// Help is the detail of chancery key rewrap --help.
func (*keyRewrapCmd) Help() string {
	return `Replicas go on meanwhile. Interrupted, it can be called again: what is encrypted with the active key already is left alone. The exit status is 1 when something is left that is not.

What it cannot change are the hashes of client secrets, which need the key that they were made with: give those clients new secrets and drop the old ones before the key is removed. "chancery key list" counts them.

Examples:

    chancery key rewrap
    chancery key rewrap --dry-run`
}

// rewrapped is what became of the records of all stores.
type rewrapped struct {
	Active string `json:"active"`
	// Found is the number of records by store and the key they were under at the end.
	Found         map[string]map[string]int `json:"found"`
	Rewrapped     int                       `json:"rewrapped"`
	Broken        []string                  `json:"broken,omitempty"`
	ClientSecrets map[string]int            `json:"client_secrets"`
}

// Run encrypts everything anew, and then counts.
func (c *keyRewrapCmd) Run(ctx context.Context, t terminal) error {
	list, err := c.list(ctx)
	if err != nil {
		return err
	}
	done := rewrapped{Active: list.Encryption.Active, Found: map[string]map[string]int{}, ClientSecrets: list.Encryption.ClientSecrets}
	p := newProgress(t.err)
	for _, store := range list.Encryption.Stores {
		if !c.DryRun {
			if err := c.walk(ctx, p, store, false, func(page reseal.Page) { done.Rewrapped += page.Resealed }); err != nil {
				return err
			}
		}
		found := map[string]int{}
		done.Found[store] = found
		err := c.walk(ctx, p, store, true, func(page reseal.Page) {
			for id, n := range page.Found {
				found[id] += n
			}
			for _, name := range page.Broken {
				done.Broken = append(done.Broken, store+"/"+name)
			}
		})
		if err != nil {
			return err
		}
	}
	p.end()
	if err := c.print(t, done); err != nil {
		return err
	}
	return done.left()
}

func (c *keyRewrapCmd) list(ctx context.Context) (list keyList, err error) {
	answer, err := c.call(ctx, http.MethodGet, nil, "keys")
	if err != nil {
		return list, err
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return list, fmt.Errorf("reading the answer: %w", err)
	}
	return list, nil
}

// walk goes through a store, page by page.
func (c *keyRewrapCmd) walk(ctx context.Context, p *progress, store string, dryRun bool, tell func(reseal.Page)) error {
	var from reseal.From
	for {
		answer, err := c.call(ctx, http.MethodPost, map[string]any{
			"store": store, "dry_run": dryRun, "after": from.After, "until": from.Until,
		}, "keys", "rewrap")
		var page reseal.Page
		if err == nil {
			err = json.Unmarshal(answer, &page)
		}
		if err != nil {
			p.end()
			return fmt.Errorf("store %s at %d of %d, call it again to go on: %w", store, from.After, from.Until, err)
		}
		tell(page)
		from = page.Next
		verb := "rewrapping"
		if dryRun {
			verb = "counting"
		}
		p.tell(fmt.Sprintf("%s %s %s %d/%d", bar(from.After, from.Until), verb, store, from.After, from.Until))
		if page.Done {
			return nil
		}
	}
}

func (c *keyRewrapCmd) print(t terminal, done rewrapped) error {
	if c.JSON {
		text, err := json.Marshal(done)
		if err != nil {
			return fmt.Errorf("printing the answer: %w", err)
		}
		return printJSON(t.out, text)
	}
	rows := [][]string{{"STORE", "ENCRYPTED WITH", "RECORDS"}}
	for _, store := range slices.Sorted(maps.Keys(done.Found)) {
		for _, id := range slices.Sorted(maps.Keys(done.Found[store])) {
			rows = append(rows, []string{store, id, fmt.Sprint(done.Found[store][id])})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(done.ClientSecrets)) {
		rows = append(rows, []string{"client secrets", id, fmt.Sprint(done.ClientSecrets[id])})
	}
	if err := table(t.out, rows...); err != nil {
		return err
	}
	_, err := fmt.Fprintf(t.out, "\n%d records were encrypted anew; key-encryption key %s is active.\n", done.Rewrapped, done.Active)
	for _, name := range done.Broken {
		_, err = fmt.Fprintf(t.out, "cannot be opened: %s\n", printable(name))
	}
	return err
}

// left says what keeps an older key from being removed.
func (r rewrapped) left() error {
	records, secrets := 0, 0
	for _, found := range r.Found {
		for id, n := range found {
			if id != r.Active {
				records += n
			}
		}
	}
	for id, n := range r.ClientSecrets {
		if id != r.Active {
			secrets += n
		}
	}
	if records+secrets == 0 {
		return nil
	}
	return fmt.Errorf("%d records and %d client secrets still need another key than %s", records, secrets, r.Active)
}
