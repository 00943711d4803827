package hammer

import (
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// linearizeTimeout bounds the search in one grant's history.
const linearizeTimeout = 20 * time.Second

// state is what is true of a grant: whether its code was spent, the generation
// of its refresh token and whether it was revoked.
type state struct {
	spent      bool
	generation int
	revoked    bool
}

// spend is a state with the code spent.
func (s state) spend() state {
	s.spent, s.generation = true, 1
	return s
}

func (s state) rotate() state {
	s.generation++
	return s
}

func (s state) revoke() state {
	s.revoked = true
	return s
}

// grantModel is what a grant may do, one request after the other. A request
// whose outcome is not known has done what it could, or nothing.
func grantModel() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{state{}} },
		Step: func(before, input, _ any) []any {
			var after []any
			for _, s := range next(before.(state), input.(Op)) { //nolint:errcheck,forcetypeassert // our own
				after = append(after, s)
			}
			return after
		},
	}
	return m.ToModel()
}

// next are the states that there may be after a request, none if it cannot have
// had its outcome.
func next(s state, o Op) []state {
	switch {
	case o.Wrong:
		return unless(o.Outcome == OK, s)
	case o.Kind == Redeem:
		return afterRedeem(s, o)
	case o.Kind == Refresh:
		return afterRefresh(s, o)
	case o.Kind == Revoke && o.Outcome == OK:
		return []state{s.revoke()}
	case o.Kind == Revoke && o.Outcome == Unknown:
		return []state{s, s.revoke()}
	}
	return []state{s}
}

func unless(impossible bool, s ...state) []state {
	if impossible {
		return nil
	}
	return s
}

// afterRedeem: a code that is presented again may revoke the grant, or not; the
// log tells whether it had a reason.
func afterRedeem(s state, o Op) []state {
	fresh := !s.spent && !s.revoked
	switch {
	case o.Outcome == OK:
		return unless(!fresh, s.spend())
	case o.Outcome == Refused:
		return unless(fresh && !o.Late, s, s.revoke())
	case fresh:
		return []state{s, s.spend()}
	}
	return []state{s, s.revoke()}
}

// afterRefresh: the current token rotates, the one before it is answered with
// the current, all earlier ones end the grant.
func afterRefresh(s state, o Op) []state {
	current, repeated := o.Generation == s.generation, o.Generation == s.generation-1
	ahead := o.Generation > s.generation
	after := s.revoke()
	switch {
	case ahead:
		return unless(o.Outcome == OK || o.Outcome == Refused && !s.revoked, s)
	case s.revoked:
		return unless(o.Outcome == OK, s)
	case current:
		after = s.rotate()
	case repeated:
		after = s
	}
	switch o.Outcome {
	case OK:
		return unless(!current && !repeated, after)
	case Refused:
		return unless(current || repeated, after)
	}
	return []state{s, after}
}

// linearizable checks the history of one grant.
func linearizable(ops []Op) porcupine.CheckResult {
	var all []porcupine.Operation
	for _, o := range ops {
		if o.Outcome == NotSent {
			continue
		}
		ends := int64(o.Return)
		if o.Outcome == Unknown { // it may still happen
			ends = math.MaxInt64
		}
		all = append(all, porcupine.Operation{Input: o, Call: int64(o.Call), Return: ends})
	}
	return porcupine.CheckOperationsTimeout(grantModel(), all, linearizeTimeout)
}
