package fold_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// anyGrantFact draws what may and what may not follow: folds must hold their
// promises over both.
func anyGrantFact() *rapid.Generator[events.Fact] {
	return rapid.Custom(func(t *rapid.T) events.Fact {
		gen := rapid.Uint32Range(1, 5).Draw(t, "generation")
		return rapid.SampledFrom([]events.Fact{
			withCode(), withTokens(), redeemed(), rotated(gen), rotated(gen), rotated(gen), repeated(gen), repeated(gen), revoked(),
		}).Draw(t, "fact")
	})
}

func anyClientFact() *rapid.Generator[events.Fact] {
	return rapid.Custom(func(t *rapid.T) events.Fact {
		id := rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "secret")
		return rapid.SampledFrom([]events.Fact{
			registered(),
			events.ClientUpdated{ClientSettings: named(id)},
			events.ClientDisabled{},
			events.ClientEnabled{},
			secret(id),
			events.ClientSecretDropped{ID: id},
		}).Draw(t, "fact")
	})
}

func anyKeyFact() *rapid.Generator[events.Fact] {
	return rapid.SampledFrom([]events.Fact{
		announced(), events.KeyActivated{}, events.KeyRetired{}, events.KeyDropped{},
	})
}

// accepted keeps of facts those that can be folded one after the other.
func accepted[S interface {
	Apply(events.Recorded) (S, error)
}](subject events.Subject, facts []events.Fact) []events.Recorded {
	var s S
	var rs []events.Recorded
	for _, r := range record(subject, facts...) {
		if next, err := s.Apply(r); err == nil {
			s, rs = next, append(rs, r)
		}
	}
	return rs
}

// checkSplit is fold(a then b) = fold(ab), with the state stored and read
// back between a and b as a projector does.
func checkSplit[S interface {
	Apply(events.Recorded) (S, error)
}](t *testing.T, rt *rapid.T, rs []events.Recorded) {
	var zero S
	whole, err := apply(zero, rs)
	if err != nil {
		rt.Fatal(err)
	}
	at := rapid.IntRange(0, len(rs)).Draw(rt, "split")
	first, err := apply(zero, rs[:at])
	if err != nil {
		rt.Fatal(err)
	}
	second, err := apply(throughJSON(t, first), rs[at:])
	if err != nil {
		rt.Fatal(err)
	}
	if !reflect.DeepEqual(throughJSON(t, whole), throughJSON(t, second)) {
		rt.Fatalf("split at %d:\n got %+v\nwant %+v", at, second, whole)
	}
}

func TestFoldSplits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		facts := append([]events.Fact{rapid.SampledFrom([]events.Fact{withCode(), withTokens()}).Draw(rt, "opening")},
			rapid.SliceOfN(anyGrantFact(), 0, 40).Draw(rt, "facts")...)
		checkSplit[fold.Grant](t, rt, accepted[fold.Grant](events.DefaultRealm.GrantSubject(grantID), facts))
	})
	rapid.Check(t, func(rt *rapid.T) {
		facts := append([]events.Fact{registered()}, rapid.SliceOfN(anyClientFact(), 0, 40).Draw(rt, "facts")...)
		checkSplit[fold.Client](t, rt, accepted[fold.Client](events.DefaultRealm.ClientSubject("web"), facts))
	})
	rapid.Check(t, func(rt *rapid.T) {
		facts := append([]events.Fact{announced()}, rapid.SliceOfN(anyKeyFact(), 0, 10).Draw(rt, "facts")...)
		checkSplit[fold.Key](t, rt, accepted[fold.Key](events.DefaultRealm.KeySubject("k1"), facts))
	})
}

// TestGrantNeverGoesBack folds arbitrary facts and holds every step against
// what must be true of any two states in a row.
func TestGrantNeverGoesBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var g fold.Grant
		for _, r := range onGrant(rapid.SliceOfN(anyGrantFact(), 1, 60).Draw(rt, "facts")...) {
			next, err := g.Apply(r)
			switch {
			case err != nil && (!errors.Is(err, fold.ErrPoison) || !reflect.DeepEqual(next, g)):
				rt.Fatalf("%s: %v, and the grant became %+v", r.Fact.Type(), err, next)
			case err == nil && g.Revoked():
				rt.Fatalf("%s on a revoked grant", r.Fact.Type())
			case err == nil && next.Seq != r.Seq:
				rt.Fatalf("%s at %d left sequence %d", r.Fact.Type(), r.Seq, next.Seq)
			case next.Current.Generation < g.Current.Generation || next.Current.Generation > g.Current.Generation+1:
				rt.Fatalf("generation %d after %d", next.Current.Generation, g.Current.Generation)
			case g.Exists() && (next.ID != g.ID || next.Expires != g.Expires || !next.OpenedAt.Equal(g.OpenedAt)):
				rt.Fatalf("%s changed what a grant is: %+v", r.Fact.Type(), next)
			case next.Current.Generation == g.Current.Generation && !next.IssuedAt.Equal(g.IssuedAt):
				rt.Fatalf("%s moved the retry window", r.Fact.Type())
			}
			g = next
		}
	})
}

// TestCodeIssuesOnce is I1 of the design at the level of the fold: however
// the events come, a code leads to generation 1 at most once.
func TestCodeIssuesOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		facts := append([]events.Fact{withCode()}, rapid.SliceOfN(anyGrantFact(), 0, 60).Draw(rt, "facts")...)
		seen := map[uint32]int{}
		for _, r := range accepted[fold.Grant](events.DefaultRealm.GrantSubject(grantID), facts) {
			switch f := r.Fact.(type) {
			case events.CodeRedeemed:
				seen[f.Generation]++
			case events.RefreshTokenRotated:
				seen[f.Generation]++
			}
		}
		for gen, n := range seen {
			if n != 1 {
				rt.Fatalf("generation %d was issued %d times", gen, n)
			}
		}
	})
}

func TestClientEpochOnlyRises(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		facts := append([]events.Fact{registered()}, rapid.SliceOfN(anyClientFact(), 0, 60).Draw(rt, "facts")...)
		var c fold.Client
		for _, r := range accepted[fold.Client](events.DefaultRealm.ClientSubject("web"), facts) {
			next, err := c.Apply(r)
			if err != nil {
				rt.Fatal(err)
			}
			_, disabling := r.Fact.(events.ClientDisabled)
			if raised := next.Epoch == c.Epoch+1; raised != disabling || next.Epoch < c.Epoch {
				rt.Fatalf("%s: epoch %d after %d", r.Fact.Type(), next.Epoch, c.Epoch)
			}
			c = next
		}
	})
}

func TestKeyOnlyGoesForward(t *testing.T) {
	order := map[fold.KeyState]int{"": 0, fold.KeyAnnounced: 1, fold.KeyActive: 2, fold.KeyRetired: 3, fold.KeyDropped: 4}
	rapid.Check(t, func(rt *rapid.T) {
		facts := rapid.SliceOfN(anyKeyFact(), 1, 20).Draw(rt, "facts")
		var k fold.Key
		for _, r := range onKey(facts...) {
			next, err := k.Apply(r)
			if err == nil && order[next.State] <= order[k.State] {
				rt.Fatalf("%s after %s", next.State, k.State)
			}
			if err == nil {
				k = next
			}
		}
	})
}

func TestFinishedIsMonotone(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		expires := rapid.Int64Range(0, 1<<40).Draw(rt, "expires")
		clock := time.Unix(rapid.Int64Range(0, 1<<40).Draw(rt, "clock"), 0)
		later := clock.Add(time.Duration(rapid.Int64Range(0, 1<<40).Draw(rt, "later")))
		if fold.Finished(expires, clock) && !fold.Finished(expires, later) {
			rt.Fatalf("%d finished at %v and not at %v", expires, clock, later)
		}
	})
}
