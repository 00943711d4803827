package authority

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// An Attempt is a request that was refused, as the edge knows it.
type Attempt struct {
	// What was asked for, as in events.RequestRefused.
	What string
	// Client is the registered client that the request named, or empty, and
	// Authenticated says that it proved to be it.
	Client        string
	Authenticated bool
	Caller        Caller
}

// Refused has the audit know that a request was answered with err. It does no
// I/O: alike refusals are counted, and are in the log a second later or when
// there is room. What is no refusal is left out, and so is what may be
// otherwise in a moment.
func (a *Authority) Refused(t Attempt, err error) {
	var refusal *rules.Refusal
	if !errors.As(err, &refusal) {
		return
	}
	switch refusal.Reason {
	case Unavailable, ServerError, Busy, rules.BehindTheToken, rules.AuthorizationPending, rules.SlowDown:
		return
	}
	// What is kept must not keep the whole request.
	t.Caller.UserAgent, t.Caller.Trace = strings.Clone(t.Caller.UserAgent), strings.Clone(t.Caller.Trace)
	a.refusals.add(refused{
		what: t.What, client: t.Client, grant: refusal.Grant, user: refusal.User,
		reason: refusal.Reason, parameter: refusal.Parameter, detail: string(refusal.Detail),
	}, t, a.Feed.Now(0).Unix())
}

// refusalEvent is the event of alike refusals. It is beside the grant that they
// are about, in the same partition.
func (a *Authority) refusalEvent(r refused, t tally) events.Event {
	p := a.spread(r.client)
	if !r.grant.IsZero() && slices.Contains(a.Log.Partitions(), r.grant.Partition()) {
		p = r.grant.Partition()
	}
	actor := ""
	if t.latest.Authenticated && r.client != "" {
		actor = clientActor(r.client)
	}
	e := a.event(a.Log.Realm().RefusedSubject(p), t.latest.Caller.meta(actor), events.RequestRefused{
		What: r.what, Client: r.client, Grant: r.grant, User: r.user,
		Reason: string(r.reason), Parameter: r.parameter, Detail: r.detail,
		Count: t.count, First: t.first, Last: t.last,
	})
	client, _ := a.Feed.Client(r.client)
	user, known := a.Feed.User(r.user)
	if known {
		a.seal(&e, user.OriginKey, t.latest.Caller)
	} else {
		a.seal(&e, client.OriginKey, t.latest.Caller)
	}
	return e
}

func (a *Authority) appendRefusal(ctx context.Context, e events.Event) error {
	_, err := a.Log.Append(ctx, eventlog.Unit{Event: e})
	return err
}
