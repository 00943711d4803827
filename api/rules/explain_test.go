package rules_test

import (
	"cmp"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
)

// The oracle below knows what a token is and what each event means, from the
// definitions and in maps of its own. It asks neither the folds nor the rules.

// told is what an oracle says.
type told struct {
	why     rules.Why
	since   time.Time
	decided int // place in the log, or -1
	// ancestor is the jti of what ended.
	ancestor string
}

// ends is whether an event ends an item, and why. Epochs are those after it.
func (i *item) ends(e rules.Dated, epochs map[events.Subject]uint64) rules.Why {
	s := e.Subject
	ofClient := s == events.DefaultRealm.ClientSubject(i.client) && epochs[s] > i.cepoch
	ofUser := i.user != "" && s == events.DefaultRealm.UserSubject(i.user) && epochs[s] > i.uepoch
	ofGrant := s == events.DefaultRealm.GrantSubject(i.grant)
	switch f := e.Fact.(type) {
	case events.AccessTokenRevoked:
		return when(f.JTI == i.jti, "revoked")
	case events.GrantRevoked:
		return when(ofGrant, "grant_revoked")
	case events.ClientDisabled:
		return when(ofClient, "client_disabled")
	case events.UserDisabled:
		return when(ofUser, "user_disabled")
	case events.UserCutOff:
		return when(ofUser, "user_cut_off")
	case events.UserDeleted:
		return when(ofUser, "user_deleted")
	}
	return ""
}

// endsItself is what ends only the item itself.
func (i *item) endsItself(e rules.Dated) rules.Why {
	ofGrant := e.Subject == events.DefaultRealm.GrantSubject(i.grant)
	switch f := e.Fact.(type) {
	case events.KeyDropped:
		return when(i.kid != "" && e.Subject == events.DefaultRealm.KeySubject(i.kid), "key_dropped")
	case events.CodeRedeemed:
		return when(ofGrant && i.kind == rules.KindCode, "redeemed")
	case events.RefreshTokenRotated:
		return when(ofGrant && i.kind == rules.KindRefreshToken && f.Generation == i.gen+1, "superseded")
	}
	return ""
}

func when(is bool, why rules.Why) rules.Why {
	if is {
		return why
	}
	return ""
}

// firstEnd is the first event of a log that ends an item for good, or -1.
func (i *item) firstEnd(log []rules.Dated) (at int, why rules.Why, ancestor string) {
	epochs := map[events.Subject]uint64{}
	for n, e := range log {
		switch e.Fact.(type) {
		case events.ClientDisabled, events.UserDisabled, events.UserCutOff, events.UserDeleted:
			epochs[e.Subject]++
		}
		if why := cmp.Or(i.ends(e, epochs), i.endsItself(e)); why != "" {
			return n, why, ""
		}
		for _, a := range i.from {
			if why := a.ends(e, epochs); why != "" {
				return n, "ancestor_" + why, a.jti
			}
		}
	}
	return -1, "", ""
}

// end is when an item ends by time, as a log has its client's settings.
func (i *item) end(log []rules.Dated) time.Time {
	if i.kind == rules.KindAccessToken {
		return time.Unix(i.exp, 0)
	}
	idle, all, code := int64(worldIdle), int64(worldAll), int64(worldCode)
	var opened, issued int64
	for n, e := range log {
		if f, ok := e.Fact.(events.ClientUpdated); ok && e.Subject == events.DefaultRealm.ClientSubject(i.client) {
			idle, all = cmp.Or(f.RefreshIdleLifetime, worldIdle), cmp.Or(f.RefreshAbsoluteLifetime, worldAll)
			code = cmp.Or(f.CodeLifetime, worldCode)
		}
		if _, ok := e.Fact.(events.GrantOpened); ok && e.Subject == events.DefaultRealm.GrantSubject(i.grant) {
			opened = e.At.Unix()
		}
		if n == i.issued {
			issued = e.At.Unix()
		}
	}
	end := i.opened.Expires
	if i.opened.Refreshable {
		end = min(end, opened+all)
	}
	switch i.kind {
	case rules.KindRefreshToken:
		end = min(end, issued+idle)
	case rules.KindCode:
		end = min(end, opened+code, i.opened.Code.Expires)
	}
	return time.Unix(end, 0)
}

// alive is whether an item is active at a time, with what a log has.
func (i *item) alive(log []rules.Dated, now time.Time) bool {
	ended, _, _ := i.firstEnd(log)
	return i.issued < len(log) && ended < 0 && now.Before(i.end(log))
}

// verdicts are those right after each position of a log. They come of a look at
// every moment at which anything can have changed: before and after each event.
func (i *item) verdicts(log []rules.Dated) []told {
	v := told{why: "not_issued_yet", decided: -1}
	all := []told{v}
	for n, e := range log {
		v = i.later(v, log[:n], e.At)
		switch alive := i.alive(log[:n+1], e.At); {
		case alive && v.why != "active":
			v = told{why: "active", since: e.At, decided: n}
		case !alive && v.why == "active", n == i.issued && !alive:
			v = told{why: "expired", since: e.At, decided: n}
			if n == i.issued { // it took longer to be stored than it lives
				v.since, v.decided = i.end(log[:n+1]), -1
			}
			if ended, why, ancestor := i.firstEnd(log[:n+1]); ended >= 0 {
				v = told{why, e.At, ended, ancestor}
			}
		}
		all = append(all, v)
	}
	return all
}

// later is what becomes of a verdict by a time, if nothing happens.
func (i *item) later(v told, log []rules.Dated, now time.Time) told {
	if v.why == "active" && !i.alive(log, now) {
		return told{why: "expired", since: i.end(log), decided: -1}
	}
	return v
}

func (i *item) explained() rules.Explained {
	x := rules.Explained{Kind: i.kind, Generation: i.gen, KID: i.kid, Expires: i.exp}
	if i.kind != rules.KindAccessToken {
		x.Lineage = []rules.Link{{Partition: i.part, Grant: i.grant, IssuedTo: rules.IssuedTo{
			Client: i.client, ClientEpoch: i.cepoch, User: i.user, UserEpoch: i.uepoch,
		}}}
		return x
	}
	x.Lineage = rules.Lineage(rules.Presented{
		JTI: i.jti, Client: i.client, ClientEpoch: i.cepoch, User: i.user, UserEpoch: i.uepoch, Partition: i.part, Grant: i.grant, Chain: i.chain,
	})
	return x
}

// TestExplainIsTheOracle compares every verdict about every item of made-up
// histories, at every position and some time after it, with that of the oracle.
func TestExplainIsTheOracle(t *testing.T) {
	t.Parallel()
	seen := map[rules.Why]int{}
	for seed := range uint64(16) {
		w := newWorld(seed, 40)
		for n, i := range w.items {
			verdicts := i.verdicts(w.log)
			for position := i.issued; position <= len(w.log); position++ {
				past, now := w.log[:position], w.log[max(position, 1)-1].At
				now = now.Add([]time.Duration{0, 0, 50 * time.Second, time.Hour}[w.IntN(4)])
				got, err := rules.Explain(i.explained(), past, worldPolicy(), now)
				if err != nil {
					t.Fatal(err)
				}
				compare(t, got, i.later(verdicts[position], past, now), past)
				if t.Failed() {
					t.Fatalf("seed %d, item %d: %+v at position %d, %s", seed, n, i, position, now)
				}
				wantDecisive(t, i, got, past)
				seen[got.Reason]++
			}
		}
	}
	for _, why := range []rules.Why{
		"active", "not_issued_yet", "expired", "revoked", "grant_revoked", "superseded", "redeemed", "client_disabled",
		"user_disabled", "user_cut_off", "user_deleted", "key_dropped", "ancestor_revoked", "ancestor_client_disabled",
		"ancestor_grant_revoked", "ancestor_user_cut_off",
	} {
		if seen[why] == 0 {
			t.Errorf("nothing was %s: %v", why, seen)
		}
	}
}

func compare(t *testing.T, v rules.Verdict, want told, log []rules.Dated) {
	t.Helper()
	got := told{why: v.Reason, since: v.Since, decided: -1}
	if v.Decided >= 0 {
		got.decided = int(v.Steps[v.Decided].Seq) - 1
	}
	if v.Ancestor != nil {
		got.ancestor = v.Ancestor.JTI
	}
	if !got.since.Equal(want.since) || v.Active != (want.why == rules.WhyActive) {
		t.Errorf("active is %v since %s, want %s since %s", v.Active, got.since, want.why, want.since)
	}
	got.since, want.since = time.Time{}, time.Time{}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	last := uint64(0)
	for _, s := range v.Steps {
		if s.Text == "" || s.Seq <= last || s.Seq > uint64(len(log)) {
			t.Errorf("step %d, %q, after %d of %d", s.Seq, s.Text, last, len(log))
		}
		last = s.Seq
	}
}

// wantDecisive wants what decided to have changed the verdict.
func wantDecisive(t *testing.T, i *item, v rules.Verdict, log []rules.Dated) {
	t.Helper()
	if v.Decided < 0 {
		return
	}
	decided := v.Steps[v.Decided]
	before, err := rules.Explain(i.explained(), log[:decided.Seq-1], worldPolicy(), decided.At)
	if err != nil {
		t.Fatal(err)
	}
	if before.Active == v.Active && before.Reason == v.Reason {
		t.Errorf("%s decided that it is %s, and it was before", decided.Fact.Type(), v.Reason)
	}
}
