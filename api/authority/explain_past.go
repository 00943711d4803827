package authority

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

const (
	// explainedRefusals is how many refusals are told.
	explainedRefusals = 10
	// explainReads is how many events are read from the log at a time.
	explainReads = 8
	// explainPatience is how long an index may take to get to where the log is.
	explainPatience = 3 * time.Second
)

// Types of events, as the audit finds them.
var (
	ofGrants = typesOf(events.GrantOpened{}, events.CodeRedeemed{}, events.RefreshTokenRotated{}, events.RefreshTokenRepeated{}, events.GrantRevoked{})
	issuing  = typesOf(events.GrantOpened{}, events.CodeRedeemed{}, events.RefreshTokenRotated{}, events.AccessTokenIssued{}, events.TokenExchanged{})
	ofTokens = typesOf(events.AccessTokenIssued{}, events.TokenExchanged{}, events.AccessTokenRevoked{})
)

func typesOf(facts ...events.Fact) []string {
	types := make([]string, len(facts))
	for i, f := range facts {
		types[i] = f.Type()
	}
	return types
}

// A past is what was read for one inquiry. The audit finds events, and the log
// tells them.
type past struct {
	a *Authority
	// heads are where the streams stood when they were first looked at. The audit
	// must have got there, or nobody knows what it leaves out.
	heads  map[string]uint64
	grants map[events.GrantID][]rules.Dated

	// now is the moment, and cuts the last sequences that count, once settled.
	// timed says that they follow from now.
	now   time.Time
	timed bool
	cuts  map[string]uint64
}

func newPast(a *Authority) *past {
	return &past{a: a, heads: map[string]uint64{}, grants: map[events.GrantID][]rules.Dated{}, cuts: map[string]uint64{}}
}

func (p *past) stream(of events.Partition) string { return p.a.Log.Realm().PartitionStream(of) }

func (p *past) head(ctx context.Context, stream string) (uint64, error) {
	if seq, ok := p.heads[stream]; ok {
		return seq, nil
	}
	head, err := p.a.Log.Head(ctx, stream)
	if err != nil {
		return 0, unavailable("read the head of "+stream, err)
	}
	p.heads[stream] = head.Seq
	return head.Seq, nil
}

// rows are what the audits of streams have for a query, at most limit unless that
// is 0. After is where to begin in a stream, if it is not the start or, for the
// newest first, the end.
func (p *past) rows(ctx context.Context, q projector.AuditQuery, limit int, after map[string]uint64, streams ...string) (all []projector.Traced, err error) {
	for _, s := range streams {
		if _, err := p.head(ctx, s); err != nil {
			return nil, err
		}
	}
	trail := projector.NewTrail(p.a.Reader, q, streams, after, p.heads)
	for more := true; more && (limit == 0 || len(all) < limit); {
		size := projector.MaxAuditPage
		if limit > 0 {
			size = limit - len(all)
		}
		var page []projector.Traced
		if page, more, err = trail.Page(ctx, size, explainPatience); err != nil {
			return nil, unavailable("find events", err)
		}
		if ctx.Err() != nil {
			return nil, unavailable("find events", ctx.Err())
		}
		all = append(all, page...)
	}
	return all, nil
}

// row is that of one event, of one of the types.
func (p *past) row(ctx context.Context, stream string, seq uint64, types ...string) (projector.Traced, error) {
	rows, err := p.rows(ctx, projector.AuditQuery{Types: types}, 1, map[string]uint64{stream: seq - 1}, stream)
	if err == nil && (len(rows) == 0 || rows[0].Seq != seq) {
		err = &rules.Refusal{Reason: rules.NotFound, Parameter: "event"}
	}
	if err != nil {
		return projector.Traced{}, err
	}
	return rows[0], nil
}

// read reads the events of rows, in their order.
func (p *past) read(ctx context.Context, rows []projector.Traced) ([]rules.Dated, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	all := make([]rules.Dated, len(rows))
	var reading sync.WaitGroup
	for first := range min(explainReads, len(rows)) {
		reading.Go(func() {
			for i := first; i < len(rows) && ctx.Err() == nil; i += explainReads {
				r, ok, err := p.a.Log.At(ctx, rows[i].Stream, rows[i].Seq)
				if err == nil && !ok {
					err = &rules.Refusal{Reason: rules.NotFound, Parameter: "event"}
				} else if err != nil {
					err = unavailable("read an event", err)
				}
				if err != nil {
					cancel(err)
					return
				}
				all[i] = rules.Dated{Stream: rows[i].Stream, At: rows[i].Time, Recorded: r}
			}
		})
	}
	reading.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("read the events: %w", err)
	}
	return all, nil
}

// grant is all that happened to a grant.
func (p *past) grant(ctx context.Context, id events.GrantID) ([]rules.Dated, error) {
	if known, ok := p.grants[id]; ok {
		return known, nil
	}
	rows, err := p.rows(ctx, projector.AuditQuery{Grant: id.String(), Types: ofGrants}, 0, nil, p.stream(id.Partition()))
	if err != nil {
		return nil, err
	}
	happened, err := p.read(ctx, rows)
	if err == nil {
		p.grants[id] = happened
	}
	return happened, err
}

// A placed event is one with its partition.
type placed struct {
	rules.Dated
	partition events.Partition
}

// issuance is the event that issued an access token.
func (p *past) issuance(ctx context.Context, jti string, in []events.Partition) (e placed, ok bool, err error) {
	of := map[string]events.Partition{}
	var streams []string
	for _, one := range in {
		streams = append(streams, p.stream(one))
		of[p.stream(one)] = one
	}
	rows, err := p.rows(ctx, projector.AuditQuery{JTI: jti, Types: issuing}, 1, nil, streams...)
	if err != nil || len(rows) == 0 {
		return e, false, err
	}
	read, err := p.read(ctx, rows)
	if err != nil {
		return e, false, err
	}
	return placed{read[0], of[rows[0].Stream]}, true, nil
}

// settle says which moment is meant.
func (p *past) settle(ctx context.Context, q Inquiry, own events.Partition) error {
	stream := p.stream(own)
	switch {
	case q.Seq != 0:
		head, err := p.head(ctx, stream)
		if err != nil {
			return err
		}
		if q.Seq > head {
			return &rules.Refusal{Reason: rules.NotFound, Parameter: "seq"}
		}
		row, err := p.row(ctx, stream, q.Seq, events.Types()...)
		if err != nil {
			return err
		}
		p.now, p.timed, p.cuts[stream] = row.Time, true, q.Seq
	case !q.At.IsZero():
		p.now, p.timed = q.At, true
	default:
		p.now = p.a.Feed.Now(own)
	}
	return nil
}

// cut is the last sequence of a stream that counts.
func (p *past) cut(ctx context.Context, stream string) (uint64, error) {
	if seq, ok := p.cuts[stream]; ok {
		return seq, nil
	}
	seq, err := p.head(ctx, stream)
	if err != nil {
		return 0, err
	}
	if p.timed {
		q := projector.AuditQuery{Until: p.now.Add(time.Nanosecond), Newest: true}
		rows, err := p.rows(ctx, q, 1, nil, stream)
		if err != nil {
			return 0, err
		}
		if seq = 0; len(rows) > 0 {
			seq = rows[0].Seq
		}
	}
	p.cuts[stream] = seq
	return seq, nil
}

// history is everything that what was found depends on, up to the moment and in
// the log's order. The registry comes last: what it had when a token was issued
// must not be missing.
func (p *past) history(ctx context.Context, s subject) ([]rules.Dated, error) {
	var all []rules.Dated
	subjects := map[events.Subject]bool{}
	realm := p.a.Log.Realm()
	for _, l := range s.Lineage {
		happened, err := p.ofLink(ctx, l)
		if err != nil {
			return nil, err
		}
		all = append(all, happened...)
		subjects[realm.ClientSubject(l.Client)] = true
		if l.User != "" {
			subjects[realm.UserSubject(l.User)] = true
		}
	}
	if s.KID != "" {
		subjects[realm.KeySubject(s.KID)] = true
	}
	subjects[realm.RestoredSubject()] = true
	for one := range subjects {
		happened, err := p.ofRegistry(ctx, one)
		if err != nil {
			return nil, err
		}
		all = append(all, happened...)
	}
	slices.SortFunc(all, func(a, b rules.Dated) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Seq, b.Seq))
	})
	all = slices.CompactFunc(all, func(a, b rules.Dated) bool { return a.Stream == b.Stream && a.Seq == b.Seq })
	return p.upToNow(ctx, all)
}

// upToNow leaves out what was later than the moment. Of the whole log nothing is:
// then the moment is not before the last of it, whoever's clock is ahead.
func (p *past) upToNow(ctx context.Context, all []rules.Dated) (kept []rules.Dated, err error) {
	for _, e := range all {
		cut, err := p.cut(ctx, e.Stream)
		if err != nil {
			return nil, err
		}
		if e.Seq <= cut {
			kept = append(kept, e)
		}
	}
	if len(kept) > 0 && !p.timed && kept[len(kept)-1].At.After(p.now) {
		p.now = kept[len(kept)-1].At
	}
	return kept, nil
}

// ofLink is what happened to one token of a line, and to its grant.
func (p *past) ofLink(ctx context.Context, l rules.Link) (all []rules.Dated, err error) {
	if err := p.a.follow(ctx, l.Partition); err != nil {
		return nil, err
	}
	if !l.Grant.IsZero() {
		if all, err = p.grant(ctx, l.Grant); err != nil {
			return nil, err
		}
	}
	if l.JTI == "" {
		return all, nil
	}
	rows, err := p.rows(ctx, projector.AuditQuery{JTI: l.JTI, Types: ofTokens}, 0, nil, p.stream(l.Partition))
	if err != nil {
		return nil, err
	}
	happened, err := p.read(ctx, rows)
	return slices.Concat(all, happened), err
}

// ofRegistry is what happened to a client, user or key. The registry is whole on
// the leader, always, and only the log's time of its events is the audit's.
func (p *past) ofRegistry(ctx context.Context, s events.Subject) (all []rules.Dated, err error) {
	stream := p.a.Log.Realm().RegistryStream()
	head, err := p.head(ctx, stream)
	if err != nil {
		return nil, err
	}
	recorded, err := p.a.Log.After(ctx, s, 0)
	if err != nil {
		return nil, unavailable("read the "+s.Kind(), err)
	}
	for _, r := range recorded {
		if r.Seq > head {
			break
		}
		row, err := p.row(ctx, stream, r.Seq, r.Fact.Type())
		if err != nil {
			return nil, err
		}
		all = append(all, rules.Dated{Stream: stream, At: row.Time, Recorded: r})
	}
	return all, nil
}

// refusals are the newest of a grant, up to the moment.
func (p *past) refusals(ctx context.Context, grant events.GrantID) (found []GrantRefusal, err error) {
	if grant.IsZero() {
		return nil, nil
	}
	stream := p.stream(grant.Partition())
	cut, err := p.cut(ctx, stream)
	if err != nil {
		return nil, err
	}
	q := projector.AuditQuery{Grant: grant.String(), Outcome: fold.OutcomeRefused, Newest: true}
	rows, err := p.rows(ctx, q, explainedRefusals, map[string]uint64{stream: cut + 1}, stream)
	if err != nil {
		return nil, err
	}
	read, err := p.read(ctx, rows)
	if err != nil {
		return nil, err
	}
	for _, e := range read {
		f, ok := e.Fact.(events.RequestRefused)
		if !ok {
			return nil, errors.New("a refusal of the audit is none in the log")
		}
		found = append(found, GrantRefusal{
			Stream: e.Stream, Seq: e.Seq, Time: e.At.UTC(), ID: e.ID, What: f.What, Reason: f.Reason, Detail: f.Detail,
			Client: f.Client, Request: e.Meta.Request, Count: f.Count,
		})
	}
	return found, nil
}
