package authority

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

// maxAgents is how many sessions are shown with their user agents: each is read
// from the log.
const maxAgents = 50

// An Account is where a user is signed in and what has access, the newest first.
// Of many it has the newest projector.MaxHeld sessions and grants of each
// partition.
type Account struct {
	Sessions     []SignedIn
	Applications []Application
	// Grants is how many are in force.
	Grants int
}

// A SignedIn is a session in force.
type SignedIn struct {
	fold.Session
	// UserAgent is empty if it is not known, or may not be any more.
	UserAgent string
}

// An Application is a client that a user let in, or that has grants of theirs.
type Application struct {
	Client fold.Client
	// Scope is what was agreed, and what its grants have.
	Scope []string
	Since time.Time
	// LastUsed is when it last got a token, zero for never.
	LastUsed time.Time
}

// Account is that of a user, as it was folded. Who changed something here sees
// it changed.
func (a *Authority) Account(ctx context.Context, u fold.User) (Account, error) {
	var account Account
	var grants []fold.Grant
	partitions, err := a.known(ctx)
	if err != nil {
		return account, err
	}
	for _, p := range partitions {
		held, err := a.Reader.Held(ctx, p, u.ID, "")
		if err != nil {
			return account, unavailable("read what a user holds", err)
		}
		for _, s := range held.Sessions {
			if !a.Feed.SessionEnded(s.ID) && rules.SessionInForce(s, u, a.Feed.Now(p)) {
				account.Sessions = append(account.Sessions, SignedIn{Session: s})
			}
		}
		for _, g := range held.Grants {
			if c, _ := a.Feed.Client(g.Client); !a.Feed.GrantRevoked(g.ID) && rules.GrantInForce(g, c, u, a.Feed.Now(p)) {
				grants = append(grants, g)
			}
		}
	}
	slices.SortFunc(account.Sessions, func(a, b SignedIn) int { return b.OpenedAt.Compare(a.OpenedAt) })
	consents, err := a.Reader.Consents(ctx, u.ID)
	if err != nil {
		return account, unavailable("read what a user agreed", err)
	}
	account.Grants = len(grants)
	account.Applications = a.applications(consents.Consents, grants)
	return account, nil
}

// applications puts together what a user agreed with each client and what came
// of it.
func (a *Authority) applications(consents []fold.Consent, grants []fold.Grant) []Application {
	all := map[string]Application{}
	add := func(client string, scope []string, since, used time.Time) {
		known, ok := all[client]
		if !ok {
			known.Client, _ = a.Feed.Client(client)
			known.Client.ID, known.Since = client, since
		}
		if since.Before(known.Since) {
			known.Since = since
		}
		known.Scope = slices.Compact(slices.Sorted(slices.Values(slices.Concat(known.Scope, scope))))
		known.LastUsed = latest(known.LastUsed, used)
		all[client] = known
	}
	for _, c := range consents {
		if !c.Withdrawn {
			add(c.Client, c.Scope, c.At, time.Time{})
		}
	}
	for _, g := range grants {
		add(g.Client, g.Scope, g.OpenedAt, g.IssuedAt)
	}
	return slices.SortedFunc(maps.Values(all), func(a, b Application) int {
		return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(a.Client.ID, b.Client.ID))
	})
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// TellAgents adds to the newest 50 sessions of a user what they were opened
// with, as far as the log has it and the person's record opens it.
func (a *Authority) TellAgents(ctx context.Context, user string, sessions []SignedIn) {
	key, err := a.originKey(ctx, user)
	if err != nil {
		a.Logger.WarnContext(ctx, "sessions are shown without their user agents", "user", user, "error", err)
		return
	}
	for i := range sessions[:min(len(sessions), maxAgents)] {
		opened, ok, err := a.Log.Last(ctx, a.Log.Realm().SessionSubject(sessions[i].ID))
		if err != nil || !ok || opened.Meta.Origin == "" {
			continue
		}
		if origin, err := key.Open(opened.ID, opened.Meta.Origin); err == nil {
			sessions[i].UserAgent = origin.UserAgent
		}
	}
}

// originKey opens the origins of a user's requests. An erased record has none.
func (a *Authority) originKey(ctx context.Context, user string) (key secret.OriginKey, err error) {
	record, found, err := a.records.person(ctx, user)
	if err == nil && !found {
		err = erased()
	}
	if err != nil {
		return key, err
	}
	private, err := a.OriginKeys.Open(record.OriginKey, []byte(user))
	if err != nil {
		return key, err
	}
	return secret.ParseOriginKey(private)
}

// RevokeApplication withdraws what a user agreed with a client and ends every
// grant of theirs that it holds. Nil means that all of it is durable, and that
// what is opened by the old consent at the same time comes to nothing.
func (a *Authority) RevokeApplication(ctx context.Context, u fold.User, client string, caller Caller) error {
	if !events.ValidID(client) {
		return &rules.Refusal{Reason: rules.BadParameter, Parameter: "client_id"}
	}
	if err := a.WithdrawConsent(ctx, u, client, caller); err != nil {
		return err
	}
	// After the consent is gone: what was opened by it before is in one of these.
	partitions, err := a.Everywhere(ctx)
	if err != nil {
		return err
	}
	for _, p := range partitions {
		if err := a.endGrants(ctx, p, u, client, caller); err != nil {
			return err
		}
	}
	return a.followConsents(ctx, u)
}

// endGrants ends the grants of a user at a client in a partition, as many at a
// time as are read, until there are none.
func (a *Authority) endGrants(ctx context.Context, p events.Partition, u fold.User, client string, caller Caller) error {
	for range maxDecisions {
		held, err := a.heldNow(ctx, p, u.ID, client)
		if err != nil || len(held.Grants) == 0 {
			return err
		}
		for _, g := range held.Grants {
			if err := a.endGrant(ctx, g.ID, userActor(u.ID), events.ReasonUserRequest, caller); err != nil {
				return err
			}
		}
	}
	return unavailable("end the grants of a client", errors.New("there are too many for one request"))
}

// heldNow is what a user holds, and has all that was acknowledged anywhere before
// the call. A tick proves it: the read model has it, so it has what is before it.
func (a *Authority) heldNow(ctx context.Context, p events.Partition, user, client string) (projector.Held, error) {
	tick := a.event(a.Log.Realm().RevokedSubject(p), events.Meta{}, events.FeedTicked{})
	receipt, err := a.Log.Append(ctx, eventlog.Unit{Event: tick})
	if err != nil {
		return projector.Held{}, unavailable("append "+tick.Fact.Type(), err)
	}
	return folded(ctx, receipt.Seq, func() (projector.Held, uint64, error) {
		held, err := a.Reader.Held(ctx, p, user, client)
		return held, held.Position, err
	})
}

// followConsents waits until what a user agreed is read as it is now.
func (a *Authority) followConsents(ctx context.Context, u fold.User) error {
	head, err := a.Log.Head(ctx, a.Log.Realm().RegistryStream())
	if err != nil {
		return unavailable("read the registry's head", err)
	}
	_, err = folded(ctx, head.Seq, func() (projector.Consents, uint64, error) {
		consents, err := a.Reader.Consents(ctx, u.ID)
		return consents, consents.Position, err
	})
	return err
}

// foldPatience is how long a request waits for a projector.
const foldPatience = 5 * time.Second

// folded reads until what is read has been folded up to seq.
func folded[S any](ctx context.Context, seq uint64, read func() (S, uint64, error)) (S, error) {
	ctx, cancel := context.WithTimeout(ctx, foldPatience)
	defer cancel()
	for {
		state, position, err := read()
		if err == nil && position >= seq {
			return state, nil
		}
		select {
		case <-ctx.Done():
			return state, unavailable("wait for the projector", errors.Join(err, ctx.Err()))
		case <-time.After(5 * time.Millisecond):
		}
	}
}
