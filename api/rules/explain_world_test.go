package rules_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
)

// A world makes up histories that the folds accept, with tokens that were issued
// by replicas which had not heard of the latest.
type world struct {
	*rand.Rand
	now     time.Time
	log     []rules.Dated
	clients map[string]*holding
	users   map[string]*holding
	kids    map[string]bool // whether it was dropped
	items   []*item
	next    int
}

// A holding is what a world knows of a client or user.
type holding struct {
	epoch          uint64
	stopped, ended bool
}

// An item is anything that was issued, as whoever got it would describe it.
type item struct {
	kind   rules.TokenKind
	issued int // its event's place in the log
	client string
	cepoch uint64
	user   string
	uepoch uint64
	grant  events.GrantID
	gen    uint32
	jti    string
	kid    string
	exp    int64
	part   events.Partition
	chain  []events.Ancestor
	from   []origin
	// Of a grant: what it is at, and how it was opened.
	at     uint32
	over   bool
	opened events.GrantOpened
}

// An origin is what an item was made from, in the order of its chain.
type origin struct {
	*item
	actor bool
}

const (
	worldGrant   = 3000 // seconds until a grant's own end
	worldCode    = 250
	worldIdle    = 400
	worldAll     = 2000
	worldCodeEnd = 300
)

func worldPolicy() rules.Policy {
	return rules.Policy{Code: worldCode * time.Second, RefreshIdle: worldIdle * time.Second, RefreshAbsolute: worldAll * time.Second}
}

func newWorld(seed uint64, steps int) *world {
	w := &world{
		Rand: rand.New(rand.NewPCG(seed, 0)), now: t0,
		clients: map[string]*holding{"web": {}, "app": {}, "svc": {}}, users: map[string]*holding{"ann": {}, "bob": {}},
		kids: map[string]bool{"k1": false, "k2": false},
	}
	realm := events.DefaultRealm
	for _, c := range []string{"web", "app", "svc"} {
		w.add(realm.ClientSubject(c), events.ClientRegistered{})
	}
	for _, u := range []string{"ann", "bob"} {
		w.add(realm.UserSubject(u), events.UserRegistered{})
	}
	for _, k := range []string{"k1", "k2"} {
		w.add(realm.KeySubject(k), events.KeyAnnounced{Use: events.KeyUseSignature, Alg: "ES256"})
	}
	for range steps {
		w.step()
	}
	return w
}

// add stores an event some time after the one before.
func (w *world) add(s events.Subject, f events.Fact) int {
	w.now = time.Unix(w.now.Unix()+[]int64{1, 10, 10, 50, 100, 350}[w.IntN(6)], 0).UTC()
	stream := "MAIN_REGISTRY"
	switch s.Kind() {
	case "grant", "revoked", "issued":
		stream = "MAIN_EVENTS_" + string(s[len("main."+s.Kind()+"."):][0])
	}
	w.log = append(w.log, rules.Dated{
		Stream: stream, At: w.now,
		Recorded: events.Recorded{Event: events.Event{ID: fmt.Sprint(len(w.log)), Subject: s, Fact: f}, Seq: uint64(len(w.log) + 1), Stored: w.now},
	})
	return len(w.log) - 1
}

func (w *world) name(what string) string {
	w.next++
	return fmt.Sprintf("%s-%d", what, w.next)
}

// pick is one of the items of a kind, if there is one.
func (w *world) pick(k rules.TokenKind, ok func(*item) bool) *item {
	var found []*item
	for _, i := range w.items {
		if i.kind == k && ok(i) {
			found = append(found, i)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found[w.IntN(len(found))]
}

func any1(*item) bool { return true }

func (w *world) step() {
	steps := []func(){
		w.open, w.open, w.redeem, w.redeem, w.redeem, w.rotate, w.rotate, w.rotate, w.rotate, w.repeat, w.revokeGrant,
		w.issue, w.exchange, w.exchange, w.exchange, w.revokeToken, w.changeClient, w.changeUser, w.dropKey, w.changeSettings,
	}
	steps[w.IntN(len(steps))]()
}

// heard is an epoch as a replica knows it that may be behind. One that issues
// anything for who is disabled is.
func (w *world) heard(h *holding) uint64 {
	if h.stopped || h.ended || h.epoch > 0 && w.IntN(8) == 0 {
		return h.epoch - 1
	}
	return h.epoch
}

func (w *world) anyClient() string { return []string{"web", "app", "svc"}[w.IntN(3)] }

func (w *world) anyKey() string { return []string{"k1", "k2"}[w.IntN(2)] }

func (w *world) open() {
	part := events.Partition(w.IntN(2))
	w.next++
	id := events.NewGrantID(part, [16]byte{14: byte(w.next >> 8), 15: byte(w.next)})
	client, user := w.anyClient(), []string{"ann", "bob"}[w.IntN(2)]
	g := &item{
		kind: rules.KindGrant, client: client, cepoch: w.heard(w.clients[client]), user: user, uepoch: w.heard(w.users[user]),
		grant: id, part: part,
	}
	g.opened = events.GrantOpened{
		Client: client, User: user, ClientEpoch: g.cepoch, UserEpoch: g.uepoch, Refreshable: w.IntN(4) > 0,
		Expires: w.now.Unix() + worldGrant,
	}
	if w.IntN(3) > 0 {
		g.opened.Code = &events.Code{MACKey: 1, Expires: w.now.Unix() + worldCodeEnd}
		g.issued = w.add(events.DefaultRealm.GrantSubject(id), g.opened)
		code := *g
		code.kind = rules.KindCode
		w.items = append(w.items, g, &code)
		return
	}
	i := w.issuance(1, g)
	g.opened.Issued, g.at = &i, 1
	g.issued = w.add(events.DefaultRealm.GrantSubject(id), g.opened)
	w.items = append(w.items, g)
	w.issuedFrom(g, i, g.issued)
}

func (w *world) issuance(generation uint32, g *item) events.Issuance {
	i := events.Issuance{Generation: generation, JTI: w.name("jti"), KID: w.anyKey(), IssuedAt: w.now.Unix(), Expires: w.now.Unix() + 300}
	if g.opened.Refreshable {
		i.MACKey = 1
	}
	return i
}

// issuedFrom notes the tokens of an issuance.
func (w *world) issuedFrom(g *item, i events.Issuance, at int) {
	access := *g
	access.kind, access.issued, access.jti, access.kid, access.exp = rules.KindAccessToken, at, i.JTI, i.KID, i.Expires
	w.items = append(w.items, &access)
	if i.HasRefresh() {
		refresh := *g
		refresh.kind, refresh.issued, refresh.gen = rules.KindRefreshToken, at, i.Generation
		w.items = append(w.items, &refresh)
	}
}

func (w *world) redeem() {
	g := w.pick(rules.KindGrant, func(g *item) bool { return g.at == 0 && !g.over })
	if g == nil {
		return
	}
	i := w.issuance(1, g)
	g.at = 1
	w.issuedFrom(g, i, w.add(events.DefaultRealm.GrantSubject(g.grant), events.CodeRedeemed{Issuance: i}))
}

func (w *world) rotate() {
	g := w.pick(rules.KindGrant, func(g *item) bool { return g.at > 0 && !g.over && g.opened.Refreshable })
	if g == nil {
		return
	}
	g.at++
	i := w.issuance(g.at, g)
	w.issuedFrom(g, i, w.add(events.DefaultRealm.GrantSubject(g.grant), events.RefreshTokenRotated{Issuance: i}))
}

func (w *world) repeat() {
	g := w.pick(rules.KindGrant, func(g *item) bool { return g.at > 1 && !g.over })
	if g == nil {
		return
	}
	for _, e := range w.log { // the first repeat of a generation alone is an event
		if f, ok := e.Fact.(events.RefreshTokenRepeated); ok && f.Generation == g.at && e.Subject == events.DefaultRealm.GrantSubject(g.grant) {
			return
		}
	}
	w.add(events.DefaultRealm.GrantSubject(g.grant), events.RefreshTokenRepeated{Generation: g.at, JTI: "again", KID: "k1"})
}

func (w *world) revokeGrant() {
	if g := w.pick(rules.KindGrant, func(g *item) bool { return !g.over }); g != nil {
		g.over = true
		w.add(events.DefaultRealm.GrantSubject(g.grant), events.GrantRevoked{Reason: events.ReasonRefreshTokenReuse, Generation: 1})
		w.add(events.DefaultRealm.RevokedSubject(g.part), events.GrantRevocationMarked{Grant: g.grant, Until: w.now.Unix() + 9})
	}
}

func (w *world) own(client string, part events.Partition) (*item, events.AccessTokenIssued) {
	i := &item{
		kind: rules.KindAccessToken, client: client, cepoch: w.heard(w.clients[client]), jti: w.name("jti"), kid: w.anyKey(),
		exp: w.now.Unix() + 500, part: part,
	}
	return i, events.AccessTokenIssued{JTI: i.jti, Client: client, ClientEpoch: i.cepoch, Subject: client, IssuedAt: w.now.Unix(), Expires: i.exp, KID: i.kid}
}

func (w *world) issue() {
	i, f := w.own("svc", events.Partition(w.IntN(2)))
	i.issued = w.add(events.DefaultRealm.IssuedSubject(i.part, i.client), f)
	w.items = append(w.items, i)
}

// exchange makes a token of others, whether they live or not.
func (w *world) exchange() {
	subject := w.pick(rules.KindAccessToken, func(i *item) bool { return len(i.chain) < 4 })
	if subject == nil {
		return
	}
	i, f := w.own(w.anyClient(), subject.part)
	i.grant, i.user, i.uepoch = subject.grant, subject.user, subject.uepoch
	i.from = append(append(i.from, subject.from...), origin{subject, false})
	i.chain = append(append(i.chain, subject.chain...), events.Ancestor{JTI: subject.jti, Client: subject.client, ClientEpoch: subject.cepoch})
	if actor := w.pick(rules.KindAccessToken, func(i *item) bool { return len(i.chain) == 0 && i != subject }); actor != nil && w.IntN(2) == 0 {
		i.from = append(i.from, origin{actor, true})
		i.chain = append(i.chain, events.Ancestor{JTI: actor.jti, Client: actor.client, ClientEpoch: actor.cepoch, Actor: &events.ActorToken{
			Partition: actor.part, Grant: actor.grant, User: actor.user, UserEpoch: actor.uepoch,
		}})
	}
	f.Subject = subject.user
	i.issued = w.add(events.DefaultRealm.IssuedSubject(i.part, i.client), events.TokenExchanged{
		AccessTokenIssued: f, Grant: i.grant, UserEpoch: i.uepoch, Chain: i.chain,
	})
	w.items = append(w.items, i)
}

func (w *world) revokeToken() {
	if i := w.pick(rules.KindAccessToken, any1); i != nil {
		w.add(events.DefaultRealm.RevokedSubject(i.part), events.AccessTokenRevoked{JTI: i.jti, Client: i.client, Until: i.exp})
	}
}

func (w *world) changeClient() {
	if w.IntN(3) > 0 { // or there is little left to do anything with
		return
	}
	id := w.anyClient()
	c, s := w.clients[id], events.DefaultRealm.ClientSubject(id)
	if c.stopped = !c.stopped; c.stopped {
		c.epoch++
		w.add(s, events.ClientDisabled{})
	} else {
		w.add(s, events.ClientEnabled{})
	}
}

func (w *world) changeUser() {
	id := []string{"ann", "bob"}[w.IntN(2)]
	u, s := w.users[id], events.DefaultRealm.UserSubject(id)
	switch n := w.IntN(12); {
	case u.ended:
	case n == 0:
		u.ended = true
		u.epoch++
		w.add(s, events.UserDeleted{})
	case n < 6:
		u.epoch++
		w.add(s, events.UserCutOff{Reason: events.ReasonAdminRequest})
	case u.stopped:
		u.stopped = false
		w.add(s, events.UserEnabled{})
	default:
		u.stopped = true
		u.epoch++
		w.add(s, events.UserDisabled{})
	}
}

func (w *world) dropKey() {
	kid := w.anyKey()
	if w.kids[kid] || w.IntN(3) > 0 {
		return
	}
	w.kids[kid] = true
	w.add(events.DefaultRealm.KeySubject(kid), events.KeyDropped{})
}

func (w *world) changeSettings() {
	w.add(events.DefaultRealm.ClientSubject(w.anyClient()), events.ClientUpdated{ClientSettings: events.ClientSettings{
		RefreshIdleLifetime: []int64{0, 100, 1000}[w.IntN(3)], RefreshAbsoluteLifetime: []int64{0, 500, 5000}[w.IntN(3)],
		CodeLifetime: []int64{0, 20, 500}[w.IntN(3)],
	}})
}
