package hammer

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// codeGrace is how long after its redemption a code may be presented again
// without a consequence, by the log's clock.
const codeGrace = 10 * time.Second

// A Log is the events of every stream, in order.
type Log map[string][]events.Recorded

// place is where an event is.
type place struct {
	stream string
	seq    uint64
}

// index finds events by what operations know of them.
type index struct {
	// byJTI are the places where an access token was issued, byRequest those of the
	// events of a request that are on the subject of a grant.
	byJTI     map[string][]place
	byRequest map[string][]place
	// grants are the events of each grant.
	grants map[string][]events.Recorded
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func newIndex(log Log) index {
	x := index{map[string][]place{}, map[string][]place{}, map[string][]events.Recorded{}}
	for _, stream := range sortedKeys(log) {
		for _, r := range log[stream] {
			at := place{stream, r.Seq}
			if jti := issuedBy(r.Fact); jti != "" {
				x.byJTI[jti] = append(x.byJTI[jti], at)
			}
			if r.Subject.Guarded() && isGrant(r.Fact) {
				x.byRequest[r.Meta.Request] = append(x.byRequest[r.Meta.Request], at)
				x.grants[r.Subject.ID()] = append(x.grants[r.Subject.ID()], r)
			}
		}
	}
	return x
}

// isGrant reports whether an event is about a grant's codes and tokens.
func isGrant(f events.Fact) bool {
	switch f.(type) {
	case events.GrantOpened, events.CodeRedeemed, events.RefreshTokenRotated, events.RefreshTokenRepeated, events.GrantRevoked:
		return true
	}
	return false
}

// issuance is what an event issued of a grant's rotation, or nil.
func issuance(f events.Fact) *events.Issuance {
	switch f := f.(type) {
	case events.GrantOpened:
		return f.Issued
	case events.CodeRedeemed:
		return &f.Issuance
	case events.RefreshTokenRotated:
		return &f.Issuance
	}
	return nil
}

func issuedBy(f events.Fact) string {
	if token, ok := f.(events.AccessTokenIssued); ok {
		return token.JTI
	}
	if i := issuance(f); i != nil {
		return i.JTI
	}
	return ""
}

// CheckLog holds what clients were told against the log, and the log against the
// rules that it was written by.
func CheckLog(ops []Op, log Log) []Violation {
	var v violations
	x := newIndex(log)
	for _, o := range ops {
		v.acknowledged(x, o)
		if o.Wrong && o.Request != "" && len(x.byRequest[o.Request]) > 0 {
			v.add(WrongRequestActed, "operation %d, with a wrong verifier or client, wrote %v", o.ID, x.byRequest[o.Request])
		}
	}
	for _, id := range sortedKeys(x.grants) {
		v.lifeOf(id, x.grants[id])
	}
	v.innocent(x, ops)
	v.order(x, ops)
	v.unasked(x, ops)
	return v
}

// acknowledged finds successes that are not in the log, or twice.
func (v *violations) acknowledged(x index, o Op) {
	if o.Outcome != OK {
		return
	}
	n := 1
	switch o.Kind {
	case Redeem, Refresh, Issue:
		n = len(x.byJTI[o.JTI])
	case Login:
		n = len(x.byRequest[o.Request])
	}
	switch {
	case n == 0:
		v.add(LostEvent, "operation %d (%s, request %s, jti %s) was acknowledged, and there is no event", o.ID, o.Kind, o.Request, o.JTI)
	case n > 1:
		v.add(DuplicatedEvent, "operation %d (%s, request %s) has %d events", o.ID, o.Kind, o.Request, n)
	}
}

// lifeOf holds the events of a grant against the rules.
func (v *violations) lifeOf(id string, recorded []events.Recorded) {
	generation, redeemed := uint32(0), time.Time{}
	for i, r := range recorded {
		if _, opened := r.Fact.(events.GrantOpened); opened != (i == 0) {
			v.add(BrokenGrant, "grant %s: %s at %d is number %d of its events", id, r.Fact.Type(), r.Seq, i+1)
		}
		if _, ended := recorded[max(0, i-1)].Fact.(events.GrantRevoked); ended && i > 0 {
			v.add(BrokenGrant, "grant %s: %s at %d after its revocation", id, r.Fact.Type(), r.Seq)
		}
		if _, ok := r.Fact.(events.CodeRedeemed); ok {
			redeemed = r.Stored
		}
		if issued := issuance(r.Fact); issued != nil {
			if issued.Generation != generation+1 {
				v.add(BrokenGrant, "grant %s: generation %d at %d follows %d", id, issued.Generation, r.Seq, generation)
			}
			generation = issued.Generation
		}
		if revoked, ok := r.Fact.(events.GrantRevoked); ok {
			v.reason(id, r, revoked, generation, redeemed)
		}
	}
}

// reason finds revocations that nobody gave reason for.
func (v *violations) reason(id string, r events.Recorded, revoked events.GrantRevoked, generation uint32, redeemed time.Time) {
	switch revoked.Reason {
	case events.ReasonRefreshTokenReuse:
		if revoked.Generation+2 > generation {
			v.add(InnocentRevoked, "grant %s: revoked at %d for generation %d, when %d was the newest", id, r.Seq, revoked.Generation, generation)
		}
	case events.ReasonCodeReuse:
		if generation < 2 && (redeemed.IsZero() || r.Stored.Sub(redeemed) < codeGrace) {
			v.add(InnocentRevoked, "grant %s: revoked at %d for its code, %v after the redemption and with generation %d", id, r.Seq, r.Stored.Sub(redeemed), generation)
		}
	}
}

// innocent finds access tokens that were refused although their grant was never
// revoked, or by a request that came later, and revocations that were acknowledged
// and are not there.
func (v *violations) innocent(x index, ops []Op) {
	ids, asked := map[int]string{}, map[string]time.Duration{}
	for _, o := range ops {
		if o.GrantID != "" {
			ids[o.Grant] = o.GrantID
		}
		if o.Request != "" {
			asked[o.Request] = o.Call
		}
	}
	for _, o := range ops {
		id, ok := ids[o.Grant]
		if !ok || o.Outcome != OK || o.Kind != Introspect && o.Kind != Revoke {
			continue
		}
		at := slices.IndexFunc(x.grants[id], func(r events.Recorded) bool {
			_, ok := r.Fact.(events.GrantRevoked)
			return ok
		})
		revoked := at >= 0
		if revoked && o.Kind == Introspect {
			by, known := asked[x.grants[id][at].Meta.Request]
			revoked = !known || o.Return > by
		}
		switch {
		case o.Kind == Introspect && !o.Active && !revoked:
			v.add(InnocentRefused, "operation %d: %s says that generation %d of grant %s is not active, and nothing had revoked it", o.ID, o.Replica, o.Generation, id)
		case o.Kind == Revoke && !revoked:
			v.add(LostEvent, "operation %d: the revocation of grant %s was acknowledged, and there is no event", o.ID, id)
		}
	}
}

// order finds events that are in the log before others that were acknowledged
// before they were asked for.
func (v *violations) order(x index, ops []Op) {
	type stored struct {
		place
		Op
	}
	all := map[string][]stored{}
	for _, o := range ops {
		if o.Outcome != OK {
			continue
		}
		places := x.byRequest[o.Request]
		if o.Kind == Issue {
			places = x.byJTI[o.JTI]
		}
		for _, at := range places {
			all[at.stream] = append(all[at.stream], stored{at, o})
		}
	}
	for _, stream := range sortedKeys(all) {
		slices.SortFunc(all[stream], func(a, b stored) int { return cmp.Compare(a.seq, b.seq) })
		latest := stored{Op: Op{Call: -1}}
		for _, s := range all[stream] {
			if s.Return < latest.Call {
				v.add(ReorderedEvents, "%s: operation %d is at %d, and operation %d, which was invoked after its answer, at %d", stream, s.ID, s.seq, latest.ID, latest.seq)
			}
			if s.Call > latest.Call {
				latest = s
			}
		}
	}
}

// unasked finds grants with more issuances than there were requests that may
// have caused them.
func (v *violations) unasked(x index, ops []Op) {
	ids, asked := map[int]string{}, map[string]int{}
	for _, o := range ops {
		if o.GrantID != "" {
			ids[o.Grant] = o.GrantID
		}
	}
	for _, o := range ops {
		if id, ok := ids[o.Grant]; ok && (o.Kind == Redeem || o.Kind == Refresh) && (o.Outcome == OK || o.Outcome == Unknown) {
			asked[id]++
		}
	}
	for _, id := range sortedKeys(asked) {
		issued := 0
		for _, r := range x.grants[id] {
			if issuance(r.Fact) != nil {
				issued++
			}
		}
		if issued > asked[id] {
			v.add(UnaskedEvent, "grant %s: %d issuances, and %d requests for one", id, issued, asked[id])
		}
	}
}
