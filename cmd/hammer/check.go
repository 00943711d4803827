package hammer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// revocationBound is how long after a revocation was acknowledged a replica may
// still accept an access token: the default of freshness-bound.
const revocationBound = time.Second

// Names of what can be wrong.
const (
	CodeSpentTwice    = "code-spent-twice"
	ForkedSuccessor   = "forked-successor"
	NotLinearizable   = "not-linearizable"
	Undecided         = "undecided"
	StaleAcceptance   = "stale-acceptance"
	InnocentRefused   = "innocent-refused"
	LostEvent         = "lost-event"
	DuplicatedEvent   = "duplicated-event"
	ReorderedEvents   = "reordered-events"
	WrongRequestActed = "wrong-request-acted"
	BrokenGrant       = "broken-grant"
	InnocentRevoked   = "innocent-revoked"
	UnaskedEvent      = "unasked-event"
	ReadModelDiffers  = "read-model-differs"
	NotVerified       = "log-not-verified"
	SecretExposed     = "secret-exposed"
	NotRecovered      = "not-recovered"
	Panicked          = "panicked"
)

// A Violation is a promise that was not kept.
type Violation struct {
	Name   string `json:"name"`
	Detail string `json:"detail"`
}

// violations collects what is wrong.
type violations []Violation

func (v *violations) add(name, format string, args ...any) {
	*v = append(*v, Violation{name, fmt.Sprintf(format, args...)})
}

// byGrant are the operations on each grant, in the order of their invocations.
func byGrant(ops []Op) map[int][]Op {
	all := map[int][]Op{}
	for _, o := range ops {
		if o.Grant != 0 {
			all[o.Grant] = append(all[o.Grant], o)
		}
	}
	for _, of := range all {
		slices.SortStableFunc(of, func(a, b Op) int { return cmp.Compare(a.Call, b.Call) })
	}
	return all
}

// CheckHistory holds what clients were told against each other: it needs no log.
func CheckHistory(ops []Op) []Violation {
	var v violations
	grants := byGrant(ops)
	for _, number := range sortedKeys(grants) {
		of := grants[number]
		v.spentTwice(number, of)
		v.forked(number, of)
		v.stale(number, of)
		v.linear(number, of)
	}
	return v
}

// spentTwice finds codes with more than one success.
func (v *violations) spentTwice(grant int, ops []Op) {
	first := 0
	for _, o := range ops {
		switch {
		case o.Kind != Redeem || o.Outcome != OK:
		case first != 0:
			v.add(CodeSpentTwice, "grant %d: operations %d and %d both redeemed the code", grant, first, o.ID)
		default:
			first = o.ID
		}
	}
}

// forked finds refresh tokens with more than one successor, and successors of
// more than one.
func (v *violations) forked(grant int, ops []Op) {
	successors, predecessors := map[string]Op{}, map[string]Op{}
	for _, o := range ops {
		if o.Kind != Refresh || o.Outcome != OK {
			continue
		}
		if had, ok := successors[o.Presented]; ok && had.Got != o.Got {
			v.add(ForkedSuccessor, "grant %d: generation %d has two successors, by operations %d and %d", grant, o.Generation, had.ID, o.ID)
		}
		if had, ok := predecessors[o.Got]; ok && had.Presented != o.Presented || o.Got == "" || o.Got == o.Presented {
			v.add(ForkedSuccessor, "grant %d: operations %d and %d got one successor of two tokens, or none", grant, had.ID, o.ID)
		}
		successors[o.Presented], predecessors[o.Got] = o, o
	}
}

// stale finds acceptances of access tokens after their grant's revocation was
// acknowledged. That of a code or refresh token is the model's to find.
func (v *violations) stale(grant int, ops []Op) {
	for _, r := range ops {
		if r.Kind != Revoke || r.Outcome != OK {
			continue
		}
		worst := r
		for _, o := range ops {
			if o.Kind == Introspect && o.Active && o.Call > r.Return+revocationBound && o.Call > worst.Call {
				worst = o
			}
		}
		if worst.ID != r.ID {
			v.add(StaleAcceptance, "grant %d: %s accepted an access token %v after operation %d had revoked it", grant, worst.Replica, worst.Call-r.Return, r.ID)
		}
	}
}

func (v *violations) linear(grant int, ops []Op) {
	var decided []Op
	for _, o := range ops {
		if o.Kind == Redeem || o.Kind == Refresh || o.Kind == Revoke {
			decided = append(decided, o)
		}
	}
	switch linearizable(decided) {
	case porcupine.Illegal:
		v.add(NotLinearizable, "grant %d: no order of these explains what was answered: %s", grant, describe(decided))
	case porcupine.Unknown:
		v.add(Undecided, "grant %d: no order of its %d operations was found in time", grant, len(decided))
	}
}

// describe lists operations in a line.
func describe(ops []Op) string {
	var text strings.Builder
	for _, o := range ops {
		what := string(o.Kind)
		if o.Generation > 0 {
			what += fmt.Sprintf(" %d", o.Generation)
		}
		if o.Wrong {
			what += " wrong"
		}
		_, _ = fmt.Fprintf(&text, "[%d %s %s %d by %s, %v to %v]",
			o.ID, what, o.Outcome, o.Status, o.Replica, o.Call.Round(time.Microsecond), o.Return.Round(time.Microsecond))
	}
	return text.String()
}
