package rules

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// A Why says why a token was active or not. The codes never change.
type Why string

// The reasons of a verdict. Those that end what a token was made from, and the
// token with it, begin with AncestorPrefix.
const (
	WhyActive         Why = "active"
	WhyNotIssuedYet   Why = "not_issued_yet"
	WhyExpired        Why = "expired"
	WhyRevoked        Why = "revoked"
	WhyGrantRevoked   Why = "grant_revoked"
	WhySuperseded     Why = "superseded"
	WhyRedeemed       Why = "redeemed"
	WhyClientDisabled Why = "client_disabled"
	WhyClientCutOff   Why = "client_cut_off"
	WhyUserDisabled   Why = "user_disabled"
	WhyUserCutOff     Why = "user_cut_off"
	WhyUserDeleted    Why = "user_deleted"
	WhyKeyDropped     Why = "key_dropped"
	// WhyLogRestored is of what was there, or was lost, before a loss of the log was
	// accepted.
	WhyLogRestored Why = "log_restored"
	// WhyNotOurs is of what does not verify.
	WhyNotOurs Why = "not_ours"

	AncestorPrefix = "ancestor_"
)

// A TokenKind is what can be explained.
type TokenKind string

// The kinds.
const (
	KindAccessToken  TokenKind = "access_token"
	KindRefreshToken TokenKind = "refresh_token"
	KindCode         TokenKind = "code"
	KindGrant        TokenKind = "grant"
)

// An Explained is what is asked about, as the events of its issuance have it.
type Explained struct {
	Kind TokenKind
	// Lineage is what it depends on, itself first: of an access token all that it
	// was made from, of anything else the one link of its grant.
	Lineage []Link
	// Generation is that of a refresh token.
	Generation uint32
	// KID signed an access token, and Expires, in Unix seconds, is its end.
	KID     string
	Expires int64
}

// A Dated event is one with its stream and the log's time of it: the newest of
// the server's timestamps up to its own.
type Dated struct {
	Stream string
	At     time.Time
	events.Recorded
}

// A Verdict is whether a token was active at a moment, and why.
type Verdict struct {
	Active bool
	Reason Why
	// Since is from when on that was so: the moment of issuance, or the first at
	// which the token was not active any more. It is zero before it was issued.
	Since time.Time
	// Decided is the place in Steps of what decided it, or -1: time did, or
	// nothing has happened yet. Just before it the verdict was another one.
	Decided int
	// Ancestor is the link that ended, if it is not the token itself.
	Ancestor *Link
	// Steps are the events that bear on it, in the log's order.
	Steps []Step
}

// A Step is one event and what it did to the token, in a sentence.
type Step struct {
	Dated
	Text string
}

// Explain decides about x as of now, from all events up to then of whatever it
// depends on: grants, revocations of single tokens, issuances, clients, users and
// the key, in the log's order. p is the installation's policy; that of the client
// is as its settings were.
//
// The verdict follows the rules that introspection asks, with the events folded
// one by one, so it is what a replica that had seen all of them would have
// answered. Of several ends the first is told: what has ended does not end again.
func Explain(x Explained, past []Dated, p Policy, now time.Time) (Verdict, error) {
	w := walk{Explained: x, policy: p, known: newKnown(), verdict: Verdict{Reason: WhyNotIssuedYet, Decided: -1}}
	for _, e := range past {
		w.pass(e.At)
		end := w.end()
		if err := w.known.apply(e.Stream, e.Recorded); err != nil {
			return Verdict{}, fmt.Errorf("explain: %w", err)
		}
		w.verdict.Steps = append(w.verdict.Steps, Step{e, w.tell(e.Fact, e.Subject, end)})
		w.turn(e.At)
	}
	w.pass(now)
	w.leaveOut()
	return w.verdict, nil
}

// A walk goes through what happened, event by event. Until its end all events
// are steps.
type walk struct {
	Explained
	policy  Policy
	known   known
	verdict Verdict
	// doom is what has ended the token before it was issued, as by a replica that
	// had not heard of it yet.
	doom cause
}

// A cause ends a token: why, which ancestor's end it is, and by which step.
type cause struct {
	why      Why
	ancestor *Link
	step     int
}

// pass lets time go by without an event.
func (w *walk) pass(to time.Time) {
	if w.verdict.Active && !w.alive(to) {
		w.rule(cause{why: WhyExpired, step: -1}, w.end())
	}
}

// turn takes in what the last step has changed.
func (w *walk) turn(at time.Time) {
	alive, c := w.alive(at), w.ended()
	c.step = len(w.verdict.Steps) - 1
	switch {
	case alive && !w.verdict.Active:
		w.rule(cause{why: WhyActive, step: c.step}, at)
	case !alive && w.verdict.Active:
		if c.why == "" { // its time was made shorter
			c.why = WhyExpired
		}
		w.rule(c, at)
	case alive || w.verdict.Reason != WhyNotIssuedYet: // as before
	default:
		w.wait(c, at)
	}
}

// wait takes in the last step, with which the token is not active and never was.
func (w *walk) wait(c cause, at time.Time) {
	if w.doom.why == "" {
		w.doom = c
	}
	switch stopped := w.stopped(); {
	case !w.issued():
	case w.doom.why != "":
		w.rule(w.doom, at)
	case stopped != "":
		w.rule(cause{why: stopped, step: -1}, at)
	case !at.Before(w.end()): // it took long to be stored
		w.rule(cause{why: WhyExpired, step: -1}, w.end())
	}
}

// stopped says whether something was issued for who is known to be disabled. No
// rule does that.
func (w *walk) stopped() Why {
	for _, l := range w.Lineage {
		switch {
		case w.known.clients[l.Client].Disabled:
			return WhyClientDisabled
		case w.known.users[l.User].Disabled:
			return WhyUserDisabled
		}
	}
	return ""
}

func (w *walk) rule(c cause, since time.Time) {
	v := &w.verdict
	v.Active, v.Reason, v.Since, v.Decided, v.Ancestor = c.why == WhyActive, c.why, since, c.step, c.ancestor
}

// leaveOut drops the steps that did nothing to the token.
func (w *walk) leaveOut() {
	v := &w.verdict
	var kept []Step
	decided := -1
	for i, s := range v.Steps {
		if i == v.Decided {
			decided = len(kept)
			s.Text = cmp.Or(s.Text, v.fallback())
		}
		if s.Text != "" {
			kept = append(kept, s)
		}
	}
	v.Steps, v.Decided = kept, decided
}

// fallback is told of an event that decides and that there are no words for.
func (v *Verdict) fallback() string {
	if v.Active {
		return "from here on it was active"
	}
	return "it ended here: " + strings.ReplaceAll(string(v.Reason), "_", " ")
}

// grant is that of the token itself.
func (w *walk) grant() fold.Grant { return w.known.grants[w.Lineage[0].Grant] }

func (w *walk) holder() Holder {
	own := w.Lineage[0]
	c := w.known.clients[own.Client]
	return Holder{Client: c, User: w.known.users[own.User], Policy: w.policy.For(c.ClientSettings)}
}

func (w *walk) issued() bool {
	switch w.Kind {
	case KindAccessToken:
		return w.known.issued[w.Lineage[0].JTI]
	case KindRefreshToken:
		return w.grant().Current.Generation >= w.Generation
	}
	return w.grant().Exists()
}

// alive asks the rules of introspection about what is known.
func (w *walk) alive(now time.Time) bool {
	if w.Kind == KindAccessToken {
		return w.issued() && w.accessTokenAlive(now)
	}
	h := w.holder()
	if h.Client.Disabled {
		return false
	}
	switch w.Kind {
	case KindRefreshToken:
		active, _ := RefreshTokenActive(w.grant(), h, w.Generation, w.grant().Current.MACKey, now)
		return active
	case KindCode:
		return CodeActive(w.grant(), h, now)
	}
	return GrantActive(w.grant(), h, now)
}

func (w *walk) accessTokenAlive(now time.Time) bool {
	if now.Unix() >= w.Expires || w.known.keys[w.KID].State == fold.KeyDropped {
		return false
	}
	for _, l := range w.Lineage {
		exists := w.known.clients[l.Client].Exists() && (l.User == "" || w.known.users[l.User].Exists())
		if !exists || l.Ended(w.known.state(l)) != "" {
			return false
		}
	}
	return true
}

// ended says what has ended the token, other than time, and which ancestor.
func (w *walk) ended() cause {
	for i, l := range w.Lineage {
		switch why := w.known.ended(l); {
		case why == "":
		case i > 0:
			return cause{why: AncestorPrefix + why, ancestor: &l}
		default:
			return cause{why: why}
		}
	}
	switch {
	case w.Kind == KindRefreshToken && w.grant().Current.Generation > w.Generation:
		return cause{why: WhySuperseded}
	case w.Kind == KindCode && w.grant().Redeemed():
		return cause{why: WhyRedeemed}
	case w.KID != "" && w.known.keys[w.KID].State == fold.KeyDropped:
		return cause{why: WhyKeyDropped}
	}
	return cause{}
}

// end is when the token ends if nothing else happens.
func (w *walk) end() time.Time {
	g, p := w.grant(), w.holder().Policy
	switch {
	case w.Kind == KindAccessToken:
		return time.Unix(w.Expires, 0)
	case !g.Exists():
		return time.Time{}
	case w.Kind == KindRefreshToken:
		return earliest(grantEnd(g, p), g.IssuedAt.Add(p.RefreshIdle))
	case w.Kind == KindCode && g.Code != nil:
		return earliest(grantEnd(g, p), codeEnd(g, p))
	}
	return grantEnd(g, p)
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
