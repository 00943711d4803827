package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chancery-authority/chancery/api/credential"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/telemetry"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// maxDecisions bounds how often one request is decided again because others
// wrote to its grant in between.
const maxDecisions = 8

// A grantDecision is one request about one grant.
type grantDecision struct {
	id events.GrantID
	// of is the credential that came, and unknown the refusal of one whose event is
	// known to be lost. Both are zero where none came.
	of      credential.Claims
	unknown rules.Reason
	actor   string
	caller  Caller
	// decide is a rule with everything bound but the state and the time.
	decide func(g fold.Grant, u fold.User, now time.Time) rules.Outcome
	// render makes the answer of an issuance, signature included. It runs
	// before the append, so that a failure to sign cannot burn a code.
	render func(ctx context.Context, g fold.Grant, i events.Issuance, now time.Time) (*Tokens, error)
}

// run reads the grant, unless this replica wrote to it a moment ago, decides, and
// makes the decision durable. A state that
// was behind costs another round, never a wrong answer: an acceptance is
// guarded by the append's expectation, and a refusal that a newer event could
// overturn is confirmed on the log first.
func (d grantDecision) run(ctx context.Context, a *Authority) (tokens *Tokens, err error) {
	ctx, span := telemetry.Start(ctx, "decide")
	defer func() { telemetry.End(span, err) }()
	if err := a.partition(ctx, d.id.Partition()); err != nil {
		return nil, err
	}
	last, ok := a.written.get(d.id)
	if ok {
		if tokens, done, err := d.next(ctx, a, last); done || err != nil {
			return tokens, err
		}
	}
	g, err := a.Reader.Grant(ctx, d.id)
	if err == nil && g.Seq < last.Seq { // it has not folded yet what was written here
		g, err = catchUp(ctx, a.Log, a.Log.Realm().GrantSubject(d.id), g, g.Seq)
	}
	if err != nil {
		return nil, unavailable("read the grant", err)
	}
	confirmed, doubted := false, false
	for range maxDecisions {
		g = a.afterLosses(g)
		out, u, err := d.ask(ctx, a, g)
		if err != nil {
			return nil, err
		}
		if doubted {
			a.Telemetry.Confirmed(out.Refusal != nil)
		}
		doubted = out.Refusal != nil && out.Refusal.Overturnable && !confirmed
		again := doubted
		if !again {
			if tokens, again, err = d.settle(ctx, a, g, u, out); err != nil {
				return nil, err
			}
		}
		if !again {
			if out.Refusal != nil {
				return nil, d.refuse(ctx, a, out.Refusal.About(d.id, g.User))
			}
			if repeats(out) {
				a.Telemetry.Repeated()
			}
			return tokens, nil
		}
		if g, err = catchUp(ctx, a.Log, a.Log.Realm().GrantSubject(d.id), g, g.Seq); err != nil {
			return nil, unavailable("catch up with the grant", err)
		}
		confirmed = true
	}
	return nil, unavailable("decide on the grant", errors.New("others keep writing to it"))
}

// next decides on what this replica itself wrote last, which saves the read, and
// the log where the read model is not as far yet. It is done with an issuance that
// nobody came before. All else is decided on what the log has: others may have
// written since.
func (d grantDecision) next(ctx context.Context, a *Authority, g fold.Grant) (tokens *Tokens, done bool, err error) {
	g = a.afterLosses(g)
	out, u, err := d.ask(ctx, a, g)
	if err != nil || out.Issuance == nil || out.Fact == nil || repeats(out) {
		return nil, false, err
	}
	tokens, again, err := d.settle(ctx, a, g, u, out)
	if again {
		a.written.forget(g)
	}
	return tokens, !again, err
}

// repeats reports whether an outcome is an answer that was given before.
func repeats(out rules.Outcome) bool {
	_, first := out.Fact.(events.RefreshTokenRepeated)
	return first || out.ConfirmLast
}

// ask puts the state to the rule. A revocation that the state shows is taken
// in, should its marker still be on its way to this replica.
func (d grantDecision) ask(ctx context.Context, a *Authority, g fold.Grant) (out rules.Outcome, u fold.User, err error) {
	if g.Revoked() && !a.Feed.GrantRevoked(g.ID) {
		mark := rules.RevocationMark(g, g.RevokedAt)
		a.Feed.Learn(g.ID.Partition(), fold.Revocation{Grant: mark.Grant, Until: mark.Until})
	}
	if g.Exists() {
		if u, err = a.user(ctx, g.User); err != nil {
			return out, u, err
		}
	}
	// The time is taken first, and then proved: a clock that was stepped since the
	// client was authenticated would make a retry a replay, and revoke the grant.
	now := a.Feed.Now(d.id.Partition())
	if d.actor != adminActor {
		if err := a.requireFreshRegistry(ctx); err != nil {
			return out, u, err
		}
	}
	return d.decide(g, u, now), u, nil
}

// settle makes one outcome durable, or says that the state it was decided on
// is no longer the last.
func (d grantDecision) settle(ctx context.Context, a *Authority, g fold.Grant, u fold.User, out rules.Outcome) (tokens *Tokens, again bool, err error) {
	if out.Issuance != nil {
		if tokens, err = d.render(ctx, g, *out.Issuance, a.Feed.Now(d.id.Partition())); err != nil {
			return nil, false, fmt.Errorf("render tokens: %w", err)
		}
	}
	switch {
	case out.Fact != nil:
		again, err = d.append(ctx, a, g, u, out.Fact)
	case out.ConfirmLast:
		again, err = d.confirmLast(ctx, a, g)
	}
	return tokens, again, err
}

func (d grantDecision) append(ctx context.Context, a *Authority, g fold.Grant, u fold.User, f events.Fact) (again bool, err error) {
	meta := d.caller.meta(d.actor)
	unit := eventlog.Unit{Event: a.event(a.Log.Realm().GrantSubject(d.id), meta, f), Expect: g.Seq}
	next, err := foldable(g, g.Seq, unit.Event)
	if err != nil {
		return false, err
	}
	if d.actor != adminActor && !sameOrigin(g, f) {
		a.seal(&unit.Event, u.OriginKey, d.caller)
	}
	var mark events.GrantRevocationMarked
	_, revoking := f.(events.GrantRevoked)
	if revoking {
		mark = rules.RevocationMark(g, a.Feed.Now(d.id.Partition()))
		marker := a.event(a.Log.Realm().RevokedSubject(d.id.Partition()), meta, mark)
		unit.Marker = &marker
	}
	receipt, err := a.Log.Append(ctx, unit)
	switch {
	case errors.Is(err, eventlog.ErrConflict):
		return true, nil
	case err != nil:
		return false, unavailable("append "+f.Type(), err)
	case revoking:
		a.Feed.Learn(d.id.Partition(), fold.Revocation{Grant: mark.Grant, Until: mark.Until})
	default:
		next.Seq = receipt.Seq
		a.written.put(next)
	}
	return false, nil
}

// confirmLast proves an answer that writes nothing: the state is the newest
// there is, as the leader tells, and this replica hears of revocations.
func (d grantDecision) confirmLast(ctx context.Context, a *Authority, g fold.Grant) (again bool, err error) {
	if err := a.Feed.PartitionFresh(ctx, d.id.Partition()); err != nil {
		return false, unavailable("prove the partition fresh", err)
	}
	if a.Feed.GrantRevoked(d.id) {
		return true, nil
	}
	last, ok, err := a.Log.Last(ctx, a.Log.Realm().GrantSubject(d.id))
	if err != nil || !ok {
		return false, unavailable("confirm on the log", err)
	}
	return last.Seq != g.Seq, nil
}

// refuse gives a refusal, but for one that a token's MAC contradicts.
func (d grantDecision) refuse(ctx context.Context, a *Authority, refusal *rules.Refusal) error {
	switch {
	case refusal.Reason != rules.BehindTheToken:
		return refusal
	case a.credentialLost(d.of):
		return lost(d.of, d.unknown).About(d.id, refusal.User)
	}
	return a.alarmBehind(ctx, d.id, refusal)
}

// alarmBehind answers a token whose MAC proves an event that the log does not
// show. Either the reader is behind, or the log lost an acknowledged event:
// nobody may be told that the token is bad.
func (a *Authority) alarmBehind(ctx context.Context, id events.GrantID, refusal *rules.Refusal) error {
	a.Logger.ErrorContext(ctx, "a valid token is ahead of the log: compare the partition with its last checkpoint",
		"grant", id.String(), "partition", int(id.Partition()), "detail", string(refusal.Detail))
	return unavailable("find the token's event on the log", refusal)
}
