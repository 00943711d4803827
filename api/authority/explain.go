package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chancery-authority/chancery/api/credential"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// An Inquiry asks whether something was active, and why. One of Token, JTI and
// Grant is set.
type Inquiry struct {
	// Token is the text of an access token, refresh token or code.
	Token secret.Secret
	JTI   string
	Grant events.GrantID
	// At is a moment by the log's time, or Seq a position in the stream of the
	// token's partition. Neither is now.
	At  time.Time
	Seq uint64
}

// An Explanation is the answer to an inquiry. It has ids and fixed texts alone.
type Explanation struct {
	Active bool            `json:"active"`
	Reason rules.Why       `json:"reason"`
	Kind   rules.TokenKind `json:"kind,omitempty"`
	// Since is from when on that was so.
	Since time.Time `json:"since,omitzero"`
	AsOf  *AsOf     `json:"as_of,omitempty"`
	// Token is what the log has of it, also where it was not issued yet.
	Token *TokenFacts `json:"token,omitempty"`
	// Ancestor is what ended, if it is something that the token was made from.
	Ancestor *TokenAncestor `json:"ancestor,omitempty"`
	// DecidedBy is the one of Events that decided, and nil if time did or nothing
	// had happened yet.
	DecidedBy *DecidingEvent  `json:"decided_by,omitempty"`
	Events    []DecidingEvent `json:"events,omitempty"`
	// Refusals are the newest that name the grant, the newest first.
	Refusals []GrantRefusal `json:"refusals,omitempty"`
}

// AsOf is the moment of an answer: a time, and the last sequence that counts of
// every stream that was looked at.
type AsOf struct {
	Time      time.Time         `json:"time"`
	Positions map[string]uint64 `json:"positions"`
}

// TokenFacts are what a token is. Times are Unix seconds.
type TokenFacts struct {
	Client     string           `json:"client"`
	User       string           `json:"user,omitempty"`
	Grant      events.GrantID   `json:"grant,omitzero"`
	Session    events.SessionID `json:"session,omitzero"`
	JTI        string           `json:"jti,omitempty"`
	Generation uint32           `json:"generation,omitempty"`
	IssuedAt   int64            `json:"iat,omitempty"`
	Expires    int64            `json:"exp"`
	Scope      []string         `json:"scope,omitempty"`
	Audience   []string         `json:"aud,omitempty"`
	KID        string           `json:"kid,omitempty"`
}

// A TokenAncestor is a token that another was made from: the subject token of an
// exchange, or its actor token.
type TokenAncestor struct {
	JTI    string         `json:"jti"`
	Client string         `json:"client"`
	User   string         `json:"user,omitempty"`
	Grant  events.GrantID `json:"grant,omitzero"`
	Actor  bool           `json:"actor,omitempty"`
}

// A DecidingEvent is one event that bears on a token. Time is the log's, and Text
// says in a sentence what it did.
type DecidingEvent struct {
	Stream  string    `json:"stream"`
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	ID      string    `json:"id"`
	Type    string    `json:"type"`
	Reason  string    `json:"reason,omitempty"`
	Actor   string    `json:"actor,omitempty"`
	Request string    `json:"request,omitempty"`
	Text    string    `json:"text"`
}

// A GrantRefusal is an event of requests that got nothing. Detail is what their
// callers were not told.
type GrantRefusal struct {
	Stream  string    `json:"stream"`
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	ID      string    `json:"id"`
	What    string    `json:"what"`
	Reason  string    `json:"reason"`
	Detail  string    `json:"detail,omitempty"`
	Client  string    `json:"client,omitempty"`
	Request string    `json:"request,omitempty"`
	Count   int64     `json:"count"`
}

// Explain says whether something was active at a moment and why, from the log
// alone, wherever this replica's feed has got to. Only how long things live by
// the installation's policy is in no event: that is as it is configured now.
// What does not verify is rules.WhyNotOurs; an id that the log does not have is
// refused as rules.NotFound.
func (a *Authority) Explain(ctx context.Context, q Inquiry) (Explanation, error) {
	p := newPast(a)
	found, err := p.find(ctx, q)
	if errors.Is(err, errNotOurs) {
		return Explanation{Reason: rules.WhyNotOurs}, nil
	}
	if errors.Is(err, errLost) {
		return Explanation{Reason: rules.WhyLogRestored}, nil
	}
	if err != nil {
		return Explanation{}, err
	}
	if err := p.settle(ctx, q, found.partition); err != nil {
		return Explanation{}, err
	}
	happened, err := p.history(ctx, found)
	if err != nil {
		return Explanation{}, err
	}
	verdict, err := rules.Explain(found.Explained, happened, a.Policy(), p.now)
	if err != nil {
		return Explanation{}, err
	}
	refusals, err := p.refusals(ctx, found.facts.Grant)
	if err != nil {
		return Explanation{}, err
	}
	e := told(verdict)
	e.Kind, e.Token, e.Refusals = found.Kind, &found.facts, refusals
	e.AsOf = &AsOf{Time: p.now.UTC(), Positions: p.cuts}
	return e, nil
}

// told is a verdict as it is told.
func told(v rules.Verdict) Explanation {
	e := Explanation{Active: v.Active, Reason: v.Reason, Since: v.Since.UTC()}
	if l := v.Ancestor; l != nil {
		e.Ancestor = &TokenAncestor{JTI: l.JTI, Client: l.Client, User: l.User, Grant: l.Grant, Actor: l.Actor}
	}
	for _, s := range v.Steps {
		row, _ := fold.AuditOf(s.Recorded) // no error: the audit found it
		e.Events = append(e.Events, DecidingEvent{
			Stream: s.Stream, Seq: s.Seq, Time: s.At.UTC(), ID: s.ID, Type: row.Type,
			Reason: row.Reason, Actor: row.Actor, Request: row.Request, Text: s.Text,
		})
	}
	if v.Decided >= 0 {
		e.DecidedBy = &e.Events[v.Decided]
	}
	return e
}

// errNotOurs is of a text that does not verify.
var errNotOurs = errors.New("not a token of ours")

// errLost is of a token whose event the log has lost, which was accepted.
var errLost = errors.New("lost with the log")

// A subject is what was found of what is asked about.
type subject struct {
	rules.Explained
	partition events.Partition
	facts     TokenFacts
	// mac is the key of the code, or of the refresh token of the generation that was
	// asked for.
	mac uint8
}

func (p *past) find(ctx context.Context, q Inquiry) (subject, error) {
	switch {
	case !q.Token.IsZero():
		return p.findToken(ctx, q.Token.Reveal())
	case q.JTI != "":
		if err := p.a.Log.FindPartitions(ctx); err != nil {
			return subject{}, unavailable("find partitions", err)
		}
		s, ok, err := p.findAccessToken(ctx, q.JTI, p.a.Log.Partitions())
		if err == nil && !ok {
			err = &rules.Refusal{Reason: rules.NotFound, Parameter: "jti"}
		}
		return s, err
	}
	s, ok, err := p.findGrant(ctx, rules.KindGrant, q.Grant, 0)
	if err == nil && !ok {
		err = &rules.Refusal{Reason: rules.NotFound, Parameter: "grant"}
	}
	return s, err
}

// findToken finds what the text of a token says. What proves to be issued and is
// not in the log is not told to be bad: the log may have lost it.
func (p *past) findToken(ctx context.Context, text string) (subject, error) {
	if err := p.a.requireFreshRegistry(ctx); err != nil {
		return subject{}, err
	}
	if kind, ok := credential.KindOf(text); ok {
		return p.findCredential(ctx, kind, text)
	}
	claims, kid, dropped, err := p.a.readAccessToken(text)
	if err != nil {
		return subject{}, err
	}
	if err := p.a.follow(ctx, claims.Partition); err != nil {
		return subject{}, err
	}
	s, ok, err := p.findAccessToken(ctx, claims.JTI, []events.Partition{claims.Partition})
	switch {
	case err != nil:
		return s, err
	case !ok && dropped: // whoever has got hold of a dropped key signs what they want
		return s, errNotOurs
	case !ok && p.a.tokenLost(claims.Partition, claims.IssuedAt):
		return s, errLost
	case !ok:
		return s, p.a.alarmBehind(ctx, claims.Grant, behindTheToken("no issuance of the token"))
	}
	s.KID, s.facts.KID = kid, kid // a retry may be signed by another key than the event has
	return s, nil
}

func (p *past) findCredential(ctx context.Context, kind credential.Kind, text string) (subject, error) {
	kinds := map[credential.Kind]rules.TokenKind{credential.RefreshToken: rules.KindRefreshToken, credential.Code: rules.KindCode}
	if kinds[kind] == "" {
		return subject{}, errNotOurs
	}
	claims, err := p.a.read(kind, text)
	switch {
	case isRefusal(err, Unavailable):
		return subject{}, err
	case err != nil:
		return subject{}, errNotOurs
	}
	if err := p.a.follow(ctx, claims.Grant.Partition()); err != nil {
		return subject{}, err
	}
	s, ok, err := p.findGrant(ctx, kinds[kind], claims.Grant, claims.Generation)
	switch {
	case err == nil && ok && s.mac != 0 && s.mac != claims.MACKey:
		err = errLost
	case err == nil && !ok && p.a.credentialLost(claims):
		err = errLost
	case err == nil && !ok:
		err = p.a.alarmBehind(ctx, claims.Grant, behindTheToken("no event of the token's generation"))
	}
	s.facts.Expires = claims.Expires
	return s, err
}

func behindTheToken(cause string) *rules.Refusal {
	return &rules.Refusal{Reason: rules.BehindTheToken, Cause: cause}
}

// readAccessToken verifies an access token by all keys that there ever were:
// public keys stay in the log.
func (a *Authority) readAccessToken(text string) (claims jose.Claims, kid string, dropped bool, err error) {
	var all []jose.PublicKey
	states := a.Feed.Keys()
	for _, k := range states {
		if k.Use != events.KeyUseSignature {
			continue
		}
		public, err := jose.ParseJWK(k.PublicJWK)
		if err != nil {
			return claims, "", false, fmt.Errorf("read key %s: %w", k.ID, err)
		}
		all = append(all, public)
	}
	verifier, err := jose.NewVerifier(a.Issuer, all)
	if err != nil {
		return claims, "", false, err
	}
	if claims, kid, err = verifier.Read(text); err != nil {
		return claims, "", false, errNotOurs
	}
	i := slices.IndexFunc(states, func(k fold.Key) bool { return k.ID == kid })
	return claims, kid, states[i].State == fold.KeyDropped, nil
}

// findGrant finds a grant, and of it what has a generation: ok is false if the
// log has neither.
func (p *past) findGrant(ctx context.Context, kind rules.TokenKind, id events.GrantID, generation uint32) (s subject, ok bool, err error) {
	if there, err := p.a.hasPartition(ctx, id.Partition()); err != nil || !there {
		return s, false, err
	}
	happened, err := p.grant(ctx, id)
	if err != nil || len(happened) == 0 {
		return s, false, err
	}
	g, issued, err := foldGrant(happened, func(i events.Issuance) bool { return i.Generation == generation })
	if err != nil || g.Current.Generation < generation {
		return s, false, err
	}
	s = subject{Explained: rules.Explained{Kind: kind, Generation: generation}, partition: id.Partition(), facts: grantFacts(g)}
	s.Lineage = []rules.Link{{Partition: id.Partition(), Grant: id, IssuedTo: rules.IssuedTo{
		Client: g.Client, ClientEpoch: g.ClientEpoch, User: g.User, UserEpoch: g.UserEpoch,
	}}}
	s.facts.Generation, s.facts.IssuedAt = generation, g.OpenedAt.Unix()
	if g.Code != nil {
		s.mac = g.Code.MACKey
	}
	if generation > 0 {
		s.facts.IssuedAt, s.mac = issued.IssuedAt, issued.MACKey
	}
	return s, true, nil
}

func grantFacts(g fold.Grant) TokenFacts {
	return TokenFacts{
		Client: g.Client, User: g.User, Grant: g.ID, Session: g.Session, Expires: g.Expires, Scope: g.Scope, Audience: g.Audience,
	}
}

// foldGrant is a grant with all that has happened to it, and the issuance that is
// asked for.
func foldGrant(happened []rules.Dated, is func(events.Issuance) bool) (g fold.Grant, issued events.Issuance, err error) {
	for _, e := range happened {
		if g, err = g.Apply(e.Recorded); err != nil {
			return g, issued, fmt.Errorf("fold grant: %w", err)
		}
		if g.Redeemed() && is(g.Current) {
			issued = g.Current
		}
	}
	return g, issued, nil
}

// findAccessToken finds the issuance of an access token in one of the partitions.
func (p *past) findAccessToken(ctx context.Context, jti string, in []events.Partition) (s subject, ok bool, err error) {
	e, ok, err := p.issuance(ctx, jti, in)
	if err != nil || !ok {
		return s, false, err
	}
	presented := rules.Presented{JTI: jti, Partition: e.partition}
	switch f := e.Fact.(type) {
	case events.AccessTokenIssued:
		s.facts = issuedFacts(f)
		presented.Client, presented.ClientEpoch = f.Client, f.ClientEpoch
	case events.TokenExchanged:
		s.facts = issuedFacts(f.AccessTokenIssued)
		presented.Client, presented.ClientEpoch, presented.Chain = f.Client, f.ClientEpoch, f.Chain
		if presented.Grant = f.Grant; !f.Grant.IsZero() {
			presented.User, presented.UserEpoch = exchangedFor(f), f.UserEpoch
		}
		s.facts.Grant, s.facts.User = presented.Grant, presented.User
	default:
		id, err := events.ParseGrantID(e.Subject.ID())
		if err != nil {
			return s, false, fmt.Errorf("find the token's grant: %w", err)
		}
		happened, err := p.grant(ctx, id)
		if err != nil {
			return s, false, err
		}
		g, i, err := foldGrant(happened, func(i events.Issuance) bool { return i.JTI == jti })
		if err != nil {
			return s, false, err
		}
		s.facts = grantFacts(g)
		s.facts.Generation, s.facts.IssuedAt, s.facts.Expires = i.Generation, i.IssuedAt, i.Expires
		s.facts.Scope, s.facts.Audience, s.facts.KID = i.Scope, i.Audience, i.KID
		presented.Client, presented.ClientEpoch, presented.Grant = g.Client, g.ClientEpoch, g.ID
		presented.User, presented.UserEpoch = g.User, g.UserEpoch
	}
	s.facts.JTI, s.partition = jti, e.partition
	s.Explained = rules.Explained{
		Kind: rules.KindAccessToken, Lineage: rules.Lineage(presented), KID: s.facts.KID, Expires: s.facts.Expires,
	}
	return s, true, nil
}

func issuedFacts(f events.AccessTokenIssued) TokenFacts {
	return TokenFacts{
		Client: f.Client, IssuedAt: f.IssuedAt, Expires: f.Expires, Scope: f.Scope, Audience: f.Audience, KID: f.KID,
	}
}

// exchangedFor is the resource owner's id.
func exchangedFor(f events.TokenExchanged) string {
	if f.User != "" {
		return f.User
	}
	return f.Subject
}
