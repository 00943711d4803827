package projector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// registryModel is the read model of the stream of clients, users and keys.
func registryModel() model {
	return model{
		version: modelVersion,
		schema:  registrySchema,
		// What is asked often is in the feed's memory, not here.
		cache:  cache{write: 8 << 10, read: 1 << 10, build: 32 << 10},
		tables: []string{"clients", "consents", "keys", "users"},
		reads:  map[string]string{readConsents: selectConsents},
		begin: func(w *writer) changes {
			return &registryChanges{
				w:        w,
				consents: newOverlay[fold.Consent](w, `SELECT state FROM consents WHERE id = ?`),
				clients:  newOverlay[fold.Client](w, `SELECT state FROM clients WHERE id = ?`),
				users:    newOverlay[fold.User](w, `SELECT state FROM users WHERE id = ?`),
				keys:     newOverlay[fold.Key](w, `SELECT state FROM keys WHERE id = ?`),
			}
		},
	}
}

// selectConsents reads a range of ids, which begin with the user's and a dot.
const selectConsents = `SELECT json_object(
  'position', (SELECT position FROM meta),
  'consents', json((SELECT json_group_array(json(state) ORDER BY id) FROM (
    SELECT id, state, sum(length(state)) OVER (ORDER BY id) AS size FROM (
      SELECT id, state FROM consents WHERE id > ?1 || '.' AND id < ?1 || '/' ORDER BY id LIMIT 1000)
  ) WHERE size <= 524288)))`

// registryChanges are those of one batch. Nothing in the registry expires.
type registryChanges struct {
	w        *writer
	consents overlay[fold.Consent]
	clients  overlay[fold.Client]
	users    overlay[fold.User]
	keys     overlay[fold.Key]
}

func (c *registryChanges) apply(ctx context.Context, e eventlog.Entry, _ time.Time) error {
	r, err := recorded(e)
	if err != nil {
		return err
	}
	switch r.Subject.Kind() {
	case "client":
		return applyTo(ctx, c.clients, r.Subject.ID(), r)
	case "user":
		return applyTo(ctx, c.users, r.Subject.ID(), r)
	case "consent":
		_, id, _ := strings.Cut(string(r.Subject), ".consent.")
		return applyTo(ctx, c.consents, id, r)
	case "key":
		return applyTo(ctx, c.keys, r.Subject.ID(), r)
	case "partition": // no row: who needs it holds all of them
		_, err := fold.Partition{}.Apply(r)
		return err
	case "tick":
		if _, ok := r.Fact.(events.FeedTicked); ok {
			return nil
		}
	case "restored":
		if _, ok := r.Fact.(events.LogRestored); ok {
			return c.applyRestored(ctx)
		}
	}
	return fmt.Errorf("%w: sequence %d, %s: no event of the registry", fold.ErrPoison, r.Seq, r.Fact.Type())
}

// applyRestored closes every MAC key that there is. Keys are few.
func (c *registryChanges) applyRestored(ctx context.Context) error {
	ids, err := c.w.texts(ctx, `SELECT id FROM keys`)
	if err != nil {
		return fmt.Errorf("read the keys: %w", err)
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(slices.AppendSeq(ids, maps.Keys(c.keys.rows))))) {
		row, err := c.keys.get(ctx, id)
		if err != nil {
			return err
		}
		if row.state.Exists() {
			row.put(row.state.Restored())
		}
	}
	return nil
}

func applyTo[S interface {
	Apply(events.Recorded) (S, error)
}](ctx context.Context, o overlay[S], id string, r events.Recorded) error {
	row, err := o.get(ctx, id)
	if err != nil {
		return err
	}
	next, err := row.state.Apply(r)
	if err != nil {
		return err
	}
	row.put(next)
	return nil
}

func (c *registryChanges) flush(ctx context.Context, _ time.Time) error {
	return errors.Join(
		c.clients.flush(func(r *row[fold.Client], state []byte) error { return c.writeClient(ctx, r.state, state) }),
		c.users.flush(func(r *row[fold.User], state []byte) error { return c.writeUser(ctx, r.state, state) }),
		c.consents.flush(func(r *row[fold.Consent], state []byte) error { return c.writeConsent(ctx, r.state, state) }),
		c.keys.flush(func(r *row[fold.Key], state []byte) error { return c.writeKey(ctx, r.state, state) }),
	)
}

func (c *registryChanges) writeClient(ctx context.Context, s fold.Client, state []byte) error {
	return c.w.exec(ctx,
		`INSERT OR REPLACE INTO clients (id, seq, name, public, disabled, epoch, created_at, updated_at, state)
		 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		s.ID, sequence(s.Seq), s.Name, s.Public, s.Disabled, sequence(s.Epoch),
		timeText(s.CreatedAt), timeText(s.UpdatedAt), string(state))
}

func (c *registryChanges) writeUser(ctx context.Context, s fold.User, state []byte) error {
	return c.w.exec(ctx,
		`INSERT OR REPLACE INTO users (id, seq, disabled, epoch, created_at, state) VALUES (?, ?, ?, ?, ?, ?)`,
		s.ID, sequence(s.Seq), s.Disabled, sequence(s.Epoch), timeText(s.CreatedAt), string(state))
}

func (c *registryChanges) writeConsent(ctx context.Context, s fold.Consent, state []byte) error {
	return c.w.exec(ctx,
		`INSERT OR REPLACE INTO consents (id, seq, user, client, scope, at, state) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		s.User+"."+s.Client, sequence(s.Seq), s.User, s.Client, strings.Join(s.Scope, " "), timeText(s.At), string(state))
}

func (c *registryChanges) writeKey(ctx context.Context, s fold.Key, state []byte) error {
	return c.w.exec(ctx,
		`INSERT OR REPLACE INTO keys (id, seq, use, alg, mac_key, status, changed_at, state)
		 VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		s.ID, sequence(s.Seq), s.Use, s.Alg, s.MACKey, string(s.State), timeText(s.ChangedAt), string(state))
}
