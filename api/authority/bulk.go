package authority

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"slices"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// GrantStands reports whether a grant that is in the log still gives its client
// anything. Where the read model has no row of it, because it is finished or the
// row is not there yet, the log is asked.
func (a *Authority) GrantStands(ctx context.Context, id events.GrantID) (bool, error) {
	_, stands, err := a.standingGrant(ctx, id)
	return stands, err
}

func (a *Authority) standingGrant(ctx context.Context, id events.GrantID) (g fold.Grant, stands bool, err error) {
	if a.Feed.GrantRevoked(id) {
		return g, false, nil
	}
	g, err = a.someGrant(ctx, id)
	if errors.Is(err, errForgotten) {
		return g, false, nil
	}
	if err != nil {
		return g, false, err
	}
	c, u, err := a.holder(ctx, g.Client, g.User)
	if err != nil {
		return g, false, err
	}
	now := a.Feed.Now(id.Partition())
	stands = rules.GrantInForce(g, c, u, now)
	if !stands && !g.Revoked() && now.Unix() < g.Expires {
		// The row may be behind: a code that seems to have expired was redeemed.
		if g, err = catchUp(ctx, a.Log, a.Log.Realm().GrantSubject(id), g, g.Seq); err != nil {
			return g, false, unavailable("catch up with the grant", err)
		}
		g = a.afterLosses(g)
		stands = rules.GrantInForce(g, c, u, now)
	}
	return g, stands, nil
}

// FreshEverywhere makes sure that what this replica knows of all that a
// revocation in bulk depends on is no older than the bound.
func (a *Authority) FreshEverywhere(ctx context.Context) error {
	all, err := a.known(ctx)
	if err != nil {
		return err
	}
	return wrapUnavailable("prove the feed fresh", a.Feed.Fresh(ctx, all...))
}

// someGrant is the state of a grant that is in the log, which may be behind.
func (a *Authority) someGrant(ctx context.Context, id events.GrantID) (fold.Grant, error) {
	if err := a.partition(ctx, id.Partition()); err != nil {
		return fold.Grant{}, err
	}
	g, err := a.Reader.Grant(ctx, id)
	if err != nil || g.Exists() {
		return a.afterLosses(g), wrapUnavailable("read the grant", err)
	}
	g, err = catchUp(ctx, a.Log, a.Log.Realm().GrantSubject(id), g, 0)
	if err == nil && g.Exists() {
		return a.afterLosses(g), nil
	}
	head, headErr := a.Log.Head(ctx, a.Log.Realm().PartitionStream(id.Partition()))
	if headErr == nil && head.First > 1 {
		return fold.Grant{}, errForgotten
	}
	return g, wrapUnavailable("read the grant", cmp.Or(err, errors.New("the log does not show it")))
}

// errForgotten is returned for a grant of which the stream has forgotten the
// beginning, and so one that is not in force.
var errForgotten = errors.New("the log has forgotten it")

// A TokenIndex is what the audit has of an access token outside a grant's
// rotation.
type TokenIndex struct {
	Partition events.Partition
	// Seq is the event that issued it.
	Seq    uint64
	JTI    string
	Client string
	// Root is the grant that it comes of, if any.
	Root events.GrantID
	// Expires is in Unix seconds.
	Expires int64
	// Exchanged says that it was made from others.
	Exchanged bool
}

// TokenStands reports whether nothing has ended a token, nor anything that it was
// made from. The log is asked only for those that may have ended with something
// that the index does not have.
func (a *Authority) TokenStands(ctx context.Context, t TokenIndex) (bool, error) {
	if slices.ContainsFunc(a.Feed.Restorations(t.Partition), func(x fold.Restoration) bool { return x.Ends(t.Seq) }) {
		return false, nil
	}
	if a.Feed.Now(t.Partition).Unix() >= t.Expires || a.Feed.TokenRevoked(t.JTI) || !t.Root.IsZero() && a.Feed.GrantRevoked(t.Root) {
		return false, nil
	}
	if err := a.follow(ctx, t.Partition); err != nil {
		return false, err
	}
	c, err := a.client(ctx, t.Client)
	if err != nil || c.Disabled {
		return false, err
	}
	if !t.Exchanged && c.Epoch == 0 {
		return true, nil
	}
	r, ok, err := a.Log.At(ctx, a.Log.Realm().PartitionStream(t.Partition), t.Seq)
	if err != nil || !ok {
		return false, unavailable("read the token's event", err)
	}
	return a.stand(ctx, lineOf(t.Partition, r.Fact))
}

// lineOf is the line of a token outside a grant's rotation, from its event.
func lineOf(p events.Partition, fact events.Fact) []rules.Link {
	switch f := fact.(type) {
	case events.AccessTokenIssued:
		return rules.Lineage(rules.Presented{
			JTI: f.JTI, Client: f.Client, ClientEpoch: f.ClientEpoch, Partition: p, IssuedAt: f.IssuedAt,
		})
	case events.TokenExchanged:
		return rules.Lineage(rules.Presented{
			JTI: f.JTI, Client: f.Client, ClientEpoch: f.ClientEpoch, Partition: p, IssuedAt: f.IssuedAt,
			Grant: f.Grant, User: cmp.Or(f.User, f.Subject), UserEpoch: f.UserEpoch, Chain: f.Chain,
		})
	}
	return nil
}

// EndGrantsAsAdmin ends grants that are in the log, different ones, and tells how
// many of them stood. The units are decided as any revocation is and appended
// many at a time; a grant that others wrote to meanwhile is decided again by
// itself.
func (a *Authority) EndGrantsAsAdmin(ctx context.Context, ids []events.GrantID, caller Caller) (ended int64, err error) {
	var units []eventlog.Unit
	var marks []fold.Revocation
	for _, id := range ids {
		g, stands, err := a.standingGrant(ctx, id)
		if err != nil {
			return 0, err
		}
		out := rules.RevokeGrant(g, events.ReasonAdminRequest)
		if !stands || out.Fact == nil {
			continue
		}
		mark := rules.RevocationMark(g, a.Feed.Now(id.Partition()))
		marker := a.event(a.Log.Realm().RevokedSubject(id.Partition()), caller.meta(adminActor), mark)
		unit := eventlog.Unit{
			Event: a.event(a.Log.Realm().GrantSubject(id), caller.meta(adminActor), out.Fact), Expect: g.Seq, Marker: &marker,
		}
		if _, err := foldable(g, g.Seq, unit.Event); err != nil {
			return 0, err
		}
		units, marks = append(units, unit), append(marks, fold.Revocation{Grant: mark.Grant, Until: mark.Until})
	}
	for i, failed := range a.Log.AppendAll(ctx, units) {
		switch {
		case errors.Is(failed, eventlog.ErrConflict):
			failed = a.endGrant(ctx, marks[i].Grant, adminActor, events.ReasonAdminRequest, caller)
		case failed != nil:
			failed = unavailable("append "+units[i].Event.Fact.Type(), failed)
		default:
			a.Feed.Learn(marks[i].Grant.Partition(), marks[i])
		}
		if failed != nil {
			err = failed
			continue
		}
		ended++
	}
	return ended, err
}

// EndTokenAsAdmin ends one access token, which was issued to a client and expires
// at until, in Unix seconds. Who asks again in the same request soon appends
// nothing again.
func (a *Authority) EndTokenAsAdmin(ctx context.Context, p events.Partition, jti, client string, until int64, caller Caller) error {
	e := a.event(a.Log.Realm().RevokedSubject(p), caller.meta(adminActor), events.AccessTokenRevoked{
		JTI: jti, Client: client, Until: until,
	})
	sum := sha256.Sum256([]byte(caller.Request + " " + jti))
	e.ID = base32.StdEncoding.EncodeToString(sum[:])[:26] // as rand.Text
	if _, err := a.Log.Append(ctx, eventlog.Unit{Event: e}); err != nil {
		return unavailable("append "+e.Fact.Type(), err)
	}
	a.Feed.Learn(p, fold.Revocation{JTI: jti, Until: until})
	return nil
}

// CutOffClientOnce is CutOffClient for a request that may have been here before:
// what it did after that sequence of the registry it does not do again.
func (a *Authority) CutOffClientOnce(ctx context.Context, id string, after uint64, caller Caller) error {
	once := a.once(ctx, a.Log.Realm().ClientSubject(id), after, caller)
	_, err := a.changeClient(ctx, id, caller, func(c fold.Client) (events.Fact, *rules.Refusal) {
		return once(func() (events.Fact, *rules.Refusal) { return rules.CutOffClient(c) })
	})
	return err
}

// CutOffUserOnce is the same for a user, asked by an administrator.
func (a *Authority) CutOffUserOnce(ctx context.Context, id string, after uint64, caller Caller) error {
	once := a.once(ctx, a.Log.Realm().UserSubject(id), after, caller)
	_, err := a.changeUser(ctx, id, adminActor, caller, func(u fold.User) (events.Fact, *rules.Refusal) {
		return once(func() (events.Fact, *rules.Refusal) { return rules.CutOffUser(u, events.ReasonAdminRequest) })
	})
	return err
}

// once decides unless the caller's request has left an event on the subject. The
// state that is decided on was caught up just before, so what it has is found.
func (a *Authority) once(ctx context.Context, s events.Subject, after uint64, caller Caller) func(func() (events.Fact, *rules.Refusal)) (events.Fact, *rules.Refusal) {
	return func(decide func() (events.Fact, *rules.Refusal)) (events.Fact, *rules.Refusal) {
		recorded, err := a.Log.After(ctx, s, after)
		if err != nil {
			return nil, &rules.Refusal{Reason: Unavailable, Cause: err.Error()}
		}
		for _, r := range recorded {
			if r.Meta.Request == caller.Request {
				return nil, nil
			}
		}
		return decide()
	}
}
