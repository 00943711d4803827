package revocations

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector"
)

// tokenLife is longer than any access token lives: a day.
const tokenLife = 25 * time.Hour

// Counts are what a revocation would end.
type Counts struct {
	// CutOff is client or user where one event ends all of it.
	CutOff string `json:"cut_off,omitempty"`
	// Examined is how many events issued what is selected.
	Examined int64 `json:"examined"`
	// Grants and Tokens would end: grants, and access tokens outside of any grant's
	// rotation. Derived are further tokens that were made from those by token
	// exchange.
	Grants  int64 `json:"grants"`
	Tokens  int64 `json:"tokens"`
	Derived int64 `json:"derived"`
	// AlreadyEnded are grants and tokens of which nothing is left.
	AlreadyEnded int64 `json:"already_ended"`
	// Users and Clients are whose is what would end.
	Users   int64 `json:"users"`
	Clients int64 `json:"clients"`
	// Oldest and Newest are when the first and the last of it was issued.
	Oldest time.Time `json:"oldest,omitzero"`
	Newest time.Time `json:"newest,omitzero"`
	// Estimated says that there are too many to tell all apart: the numbers are
	// about right, and Derived is a lower bound.
	Estimated bool `json:"estimated,omitempty"`
}

// A tally counts in bounded memory, whatever there is to count.
type tally struct {
	Counts
	grants, ended, users, clients, tokens *distinct
}

func newTally() *tally {
	return &tally{grants: newDistinct(), ended: newDistinct(), users: newDistinct(), clients: newDistinct(), tokens: newDistinct()}
}

func (t *tally) ends(row projector.Traced) {
	t.clients.add(row.Client)
	if row.User != "" {
		t.users.add(row.User)
	}
	if t.Oldest.IsZero() {
		t.Oldest = row.Time
	}
	t.Newest = row.Time
}

// counts are all of them. A token is issued once, so those need no telling apart.
func (t *tally) counts() Counts {
	c := t.Counts
	c.Grants, c.Users, c.Clients = t.grants.count(), t.users.count(), t.clients.count()
	c.AlreadyEnded += t.ended.count()
	for _, d := range []*distinct{t.grants, t.ended, t.users, t.clients, t.tokens} {
		c.Estimated = c.Estimated || d.over
	}
	return c
}

// DryRun counts what a revocation would end now, and changes nothing. It looks at
// every event that a revocation would, for as long as ctx allows.
func (r *Runner) DryRun(ctx context.Context, s Selection) (Counts, error) {
	heads, err := r.heads(ctx, s)
	if err != nil {
		return Counts{}, err
	}
	t := newTally()
	t.CutOff = s.cutOff()
	w := r.walk(s.query(), s.Address, nil, heads)
	err = eachRow(ctx, w, func(row projector.Traced) error { return r.count(ctx, t, row) })
	if err == nil && (t.Tokens > 0 || t.grants.count() > 0) {
		err = r.countDerived(ctx, t)
	}
	return t.counts(), err
}

// eachRow hands over all rows of a walk.
func eachRow(ctx context.Context, w *walk, each func(projector.Traced) error) error {
	for more := true; more; {
		var rows []projector.Traced
		var err error
		if rows, more, err = w.page(ctx, projector.MaxAuditPage, pagePatience); err != nil {
			return err
		}
		for _, row := range rows {
			if err := each(row); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Runner) count(ctx context.Context, t *tally, row projector.Traced) error {
	t.Examined++
	if slices.Contains(ofToken, row.Type) {
		stands, err := r.tokenStands(ctx, row)
		if err != nil {
			return err
		}
		if !stands {
			t.AlreadyEnded++
			return nil
		}
		t.Tokens++
		t.tokens.add(row.JTI)
		t.ends(row)
		return nil
	}
	switch {
	case t.ended.contains(row.Grant):
		return nil
	case t.grants.contains(row.Grant):
		t.ends(row)
		return nil
	}
	id, err := events.ParseGrantID(row.Grant)
	if err != nil {
		return fmt.Errorf("grant of sequence %d: %w", row.Seq, err)
	}
	stands, err := r.cfg.Authority.GrantStands(ctx, id)
	switch {
	case err != nil:
		return err
	case !stands:
		t.ended.add(row.Grant)
		return nil
	}
	t.grants.add(row.Grant)
	t.ends(row)
	return nil
}

// countDerived counts what was made from the grants and tokens that would end.
// Nothing that was made longer ago than tokens live can stand.
func (r *Runner) countDerived(ctx context.Context, t *tally) error {
	heads, err := r.heads(ctx, Selection{})
	if err != nil {
		return err
	}
	q := projector.AuditQuery{Types: []string{events.TokenExchanged{}.Type()}, Since: r.cfg.Now().Add(-tokenLife)}
	w := r.walk(q, netip.Addr{}, nil, heads)
	return eachRow(ctx, w, func(row projector.Traced) error {
		if t.tokens.contains(row.JTI) {
			return nil
		}
		if stands, err := r.tokenStands(ctx, row); err != nil || !stands {
			return err
		}
		derived := t.grants.contains(row.Grant)
		if !derived {
			made, ok, err := r.cfg.Log.At(ctx, row.Stream, row.Seq)
			if err != nil || !ok {
				return unavailable("read an exchange", err)
			}
			derived = t.made(made.Fact)
		}
		if derived {
			t.Derived++
		}
		return nil
	})
}

// made reports whether a token was made from any that is counted.
func (t *tally) made(f events.Fact) bool {
	exchanged, ok := f.(events.TokenExchanged)
	return ok && slices.ContainsFunc(exchanged.Chain, func(a events.Ancestor) bool {
		return t.tokens.contains(a.JTI) || a.Actor != nil && t.grants.contains(a.Actor.Grant.String())
	})
}
