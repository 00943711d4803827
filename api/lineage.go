package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/lineage"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

const (
	defaultLineage = 1000
	maxLineage     = 10_000
	// lineagePatience is how long a tree grows.
	lineagePatience = 5 * time.Second
	// tokenLife is longer than any access token lives: what is made from one is
	// made in that time.
	tokenLife = 25 * time.Hour
)

// issuing are the events that issue something or open a grant, and ofLine those
// with what ends a grant.
var (
	issuing = []string{
		events.GrantOpened{}.Type(), events.CodeRedeemed{}.Type(), events.RefreshTokenRotated{}.Type(),
		events.AccessTokenIssued{}.Type(), events.TokenExchanged{}.Type(),
	}
	ofLine = append([]string{events.GrantRevoked{}.Type()}, issuing...)
)

// oneThing are the kinds of which there is one or none, by their parameters.
var oneThing = map[string]string{lineage.KindGrant: "grant", lineage.KindToken: "jti"}

// A lineageQuery asks what came of one thing, and what issued to it is meant.
type lineageQuery struct {
	kind, id     string
	address      netip.Addr
	since, until time.Time
	limit        int
	// narrow has client, user and grant where an address is looked for.
	client, user, grant string
}

// lineageView is a tree with what is left out of it.
type lineageView struct {
	Root *lineage.Node `json:"root"`
	// Nodes are how many there are below the root.
	Nodes int `json:"nodes"`
	// Truncated says that there is more, LeftOut how many events of what was asked
	// for are not in the tree, and LeftOutMore that there are even more of them.
	Truncated   bool `json:"truncated"`
	LeftOut     int  `json:"left_out,omitempty"`
	LeftOutMore bool `json:"left_out_more,omitempty"`
}

func parseLineageQuery(values url.Values) (q lineageQuery, refusal *rules.Refusal) {
	if refusal := checkValues(values); refusal != nil {
		return q, refusal
	}
	q.limit = defaultLineage
	var jti, kid string
	fields := map[string]func(string) bool{
		"grant": textField(&q.grant, isGrantID), "jti": textField(&jti, isShort), "kid": textField(&kid, events.ValidID),
		"client": textField(&q.client, events.ValidID), "user": textField(&q.user, events.ValidID), "address": addressField(&q.address),
		"since": timeField(&q.since), "until": timeField(&q.until),
		"limit": func(s string) (ok bool) {
			var err error
			q.limit, err = strconv.Atoi(s)
			return err == nil && q.limit > 0 && q.limit <= maxLineage
		},
	}
	for name := range values {
		set, ok := fields[name]
		if !ok {
			return q, &rules.Refusal{Reason: unknownMember, Parameter: known(name)}
		}
		if text := values.Get(name); text == "" || !set(text) {
			return q, &rules.Refusal{Reason: rules.BadParameter, Parameter: name}
		}
	}
	return q, q.settle(jti, kid)
}

// settle decides what the tree is of. Only an address takes anything beside it.
func (q *lineageQuery) settle(jti, kid string) *rules.Refusal {
	of := 0
	for _, one := range [][2]string{
		{lineage.KindGrant, q.grant}, {lineage.KindToken, jti}, {"client", q.client}, {"user", q.user}, {"kid", kid},
	} {
		if one[1] != "" {
			q.kind, q.id = one[0], one[1]
			of++
		}
	}
	if !q.address.IsValid() {
		if of != 1 {
			return &rules.Refusal{Reason: rules.MissingParameter, Parameter: "grant", Cause: "want one of grant, jti, client, user, kid, address"}
		}
		return nil
	}
	narrow := q.grant != "" || q.client != "" || q.user != "" || !q.since.IsZero()
	if !narrow || jti != "" || kid != "" {
		return &rules.Refusal{Reason: rules.BadParameter, Parameter: "address", Cause: "needs one of grant, client, user or since"}
	}
	q.kind, q.id = "address", q.address.String()
	return nil
}

// query finds what was issued to what the tree is of.
func (q *lineageQuery) query() auditQuery {
	a := auditQuery{auditFilter: auditFilter{
		AuditQuery: projector.AuditQuery{
			Types: issuing, Client: q.client, User: q.user, Grant: q.grant, Since: q.since, Until: q.until,
		},
		Address: q.address,
	}}
	switch q.kind {
	case "kid":
		a.KID = q.id
	case lineage.KindToken:
		a.JTI = q.id
	case lineage.KindGrant:
		a.Types = ofLine
	}
	return a
}

// lineage answers what came of a grant, token, client, user, key or address.
func (s *Server) lineage(c echo.Context) error {
	if refusal := checkQuery(c.Request()); refusal != nil {
		return asError(refusal)
	}
	q, refusal := parseLineageQuery(c.QueryParams())
	if refusal != nil {
		return asError(refusal)
	}
	ctx := c.Request().Context()
	if err := s.authority.FreshEverywhere(ctx); err != nil {
		return err
	}
	g := growing{Server: s, tree: lineage.New(q.kind, q.id, q.limit), ends: time.Now().Add(min(lineagePatience, s.parts.RequestTimeout/3))}
	if err := g.grow(ctx, q); err != nil {
		return err
	}
	if name, one := oneThing[q.kind]; one && !g.found {
		return asError(&rules.Refusal{Reason: rules.NotFound, Parameter: name})
	}
	if err := g.stand(ctx); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, lineageView{
		Root: g.tree.Root, Nodes: len(g.tree.Nodes), Truncated: g.truncated, LeftOut: g.leftOut, LeftOutMore: g.leftOutMore,
	})
}

// growing is a tree while rows are put into it.
type growing struct {
	*Server
	tree *lineage.Tree
	ends time.Time

	found, truncated, leftOutMore bool
	leftOut                       int
}

func (g *growing) over() bool { return g.tree.Full() || time.Now().After(g.ends) }

// grow puts in what was issued to what the tree is of, and all that came of it.
// What there is no room or time for is counted.
func (g *growing) grow(ctx context.Context, q lineageQuery) error {
	whole := q.kind == lineage.KindGrant
	return g.rows(ctx, q.query(), func(row projector.Traced) error {
		g.found = true
		token := row.Type == events.AccessTokenIssued{}.Type() || row.Type == events.TokenExchanged{}.Type()
		switch {
		case whole || q.kind == lineage.KindToken && !token:
			g.add(row, "")
			if q.kind == lineage.KindToken {
				return g.descend(ctx, row)
			}
			return nil
		case token && g.tree.HasToken(row.JTI) && row.JTI != g.tree.Root.ID, !token && g.tree.HasGrant(row.Grant):
			return nil
		case g.over():
			g.truncated = true
			g.leftOut++
			return nil
		case token:
			g.add(row, "")
			return g.descend(ctx, row)
		}
		return g.rows(ctx, auditQuery{auditFilter: auditFilter{AuditQuery: projector.AuditQuery{Types: ofLine, Grant: row.Grant}}},
			func(row projector.Traced) error {
				g.add(row, "")
				return nil
			})
	})
}

func (g *growing) add(row projector.Traced, above string) {
	if !g.tree.Add(row, above) {
		g.truncated = true
		g.leftOut++
	}
}

// descend puts in what was made from a row's token.
func (g *growing) descend(ctx context.Context, from projector.Traced) error {
	q := projector.AuditQuery{Types: issuing, Ancestor: from.JTI, Since: from.Time, Until: from.Time.Add(tokenLife)}
	return g.rows(ctx, auditQuery{auditFilter: auditFilter{AuditQuery: q}}, func(row projector.Traced) error {
		g.add(row, from.JTI)
		return nil
	})
}

// rows hands over what a query finds until the time is over.
func (g *growing) rows(ctx context.Context, q auditQuery, each func(projector.Traced) error) error {
	trail, err := g.trail(ctx, q)
	if err != nil {
		return err
	}
	for more := true; more; {
		var rows []projector.Traced
		if rows, more, err = trail.Page(ctx, projector.MaxAuditPage, max(auditPatience/10, time.Until(g.ends))); err != nil {
			return err
		}
		for _, row := range rows {
			if err := each(row); err != nil {
				return err
			}
		}
		if more && time.Now().After(g.ends) {
			g.truncated, g.leftOutMore = true, true
			return nil
		}
	}
	return nil
}

// stand says of each node whether it stands, which takes a read of the log for
// each token.
func (g *growing) stand(ctx context.Context) error {
	nodes := g.tree.Nodes
	if _, one := oneThing[g.tree.Root.Kind]; one {
		nodes = append([]*lineage.Node{g.tree.Root}, nodes...)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	grants := &standingGrants{Server: g.Server, known: map[string]standingGrant{}}
	var reading sync.WaitGroup
	for first := range min(readsAtOnce, len(nodes)) {
		reading.Go(func() {
			for i := first; i < len(nodes) && ctx.Err() == nil; i += readsAtOnce {
				if err := grants.stand(ctx, nodes[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	reading.Wait()
	return context.Cause(ctx)
}

// standingGrants are grants whose standing was asked for.
type standingGrants struct {
	*Server
	mu    sync.Mutex
	known map[string]standingGrant
}

type standingGrant struct {
	fold.Grant
	authority.Standing
}

func (s *standingGrants) find(ctx context.Context, id string) (found standingGrant, err error) {
	s.mu.Lock()
	found, ok := s.known[id]
	s.mu.Unlock()
	if ok {
		return found, nil
	}
	parsed, err := events.ParseGrantID(id)
	if err != nil {
		return found, err
	}
	if found.Grant, found.Standing, err = s.authority.GrantStanding(ctx, parsed); err != nil {
		return found, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[id] = found
	return found, nil
}

func (s *standingGrants) stand(ctx context.Context, n *lineage.Node) error {
	if n.Kind == lineage.KindGrant {
		g, err := s.find(ctx, n.ID)
		if err != nil {
			return err
		}
		n.Expires = g.Expires
		if n.State == "" {
			n.State, n.Reason = stateOf(g.Standing), g.Reason
		}
		return nil
	}
	r, ok, err := s.parts.Log.At(ctx, n.Stream, n.Seq)
	if err != nil || !ok {
		return fmt.Errorf("read a token's event: %w", errors.Join(projector.ErrUnavailable, err))
	}
	var g standingGrant
	i, ofGrant := authority.IssuanceOf(r.Fact)
	if ofGrant {
		if g, err = s.find(ctx, n.Grant); err != nil {
			return err
		}
		n.Generation, n.IssuedAt = i.Generation, i.IssuedAt
	}
	switch f := r.Fact.(type) {
	case events.AccessTokenIssued:
		n.IssuedAt = f.IssuedAt
	case events.TokenExchanged:
		n.IssuedAt = f.IssuedAt
	}
	p, _ := s.parts.Log.Realm().PartitionOf(n.Stream)
	standing, err := s.authority.TokenStanding(ctx, p, r.Fact, g.Grant)
	if ofGrant && g.Ended && !standing.Expired { // the marker may have been forgotten with the last token
		standing = g.Standing
	}
	n.State, n.Reason = stateOf(standing), standing.Reason
	return err
}

func stateOf(s authority.Standing) string {
	switch {
	case s.Expired:
		return lineage.Expired
	case s.Ended:
		return lineage.Revoked
	}
	return lineage.Active
}
