// Package lineage draws what came of what: grants, the tokens that they issued,
// and the tokens that were made from those by token exchange, as a tree. It is
// pure: rows of the audit in, a tree out.
package lineage

import (
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector"
)

// Kinds of nodes, besides what a tree may be asked for: client, user, kid and
// address.
const (
	KindGrant = "grant"
	KindToken = "token"
)

// States of grants and tokens.
const (
	Active  = "active"
	Expired = "expired"
	Revoked = "revoked"
)

// A Node is a grant or an access token with what came of it, or what the tree is
// of.
type Node struct {
	Kind string `json:"kind"`
	// ID is the grant's id, the token's jti, or what was asked for.
	ID string `json:"id"`
	// Stream, Seq, Time and Type are of the event that opened the grant or issued
	// the token.
	Stream string    `json:"stream,omitempty"`
	Seq    uint64    `json:"seq,omitempty"`
	Time   time.Time `json:"time,omitzero"`
	Type   string    `json:"type,omitempty"`
	Client string    `json:"client,omitempty"`
	User   string    `json:"user,omitempty"`
	// Grant is the one that a token comes of, if any.
	Grant string `json:"grant,omitempty"`
	// Generation is that of a grant's token. IssuedAt and Expires are in Unix
	// seconds; a grant has only an end.
	Generation uint32 `json:"generation,omitempty"`
	IssuedAt   int64  `json:"iat,omitempty"`
	Expires    int64  `json:"exp,omitempty"`
	// State is one of those above, and Reason why it ended before its time.
	State  string `json:"state,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Cut says that more came of it than there was room for.
	Cut      bool    `json:"cut,omitempty"`
	Children []*Node `json:"children,omitempty"`
}

// A Tree grows by rows, the oldest first.
type Tree struct {
	Root *Node
	// Nodes are all but the root, in the order they came, Limit of them at most.
	Nodes []*Node
	Limit int

	grants, tokens map[string]*Node
}

// New is a tree of what was asked for, which has nothing yet.
func New(kind, id string, limit int) *Tree {
	t := &Tree{Root: &Node{Kind: kind, ID: id}, Limit: limit, grants: map[string]*Node{}, tokens: map[string]*Node{}}
	switch kind {
	case KindGrant:
		t.grants[id] = t.Root
	case KindToken:
		t.tokens[id] = t.Root
	}
	return t
}

// HasGrant and HasToken report whether it is in the tree.
func (t *Tree) HasGrant(id string) bool { return t.grants[id] != nil }

// HasToken is described at HasGrant.
func (t *Tree) HasToken(jti string) bool { return t.tokens[jti] != nil }

// Full reports whether there is no room for another node.
func (t *Tree) Full() bool { return len(t.Nodes) >= t.Limit }

// Add puts what a row says into the tree. An exchanged token comes under the one
// that it was exchanged for or, where the tree does not have that, under its grant
// or under above, the jti of another token that it was made from. False is that
// there was no room.
func (t *Tree) Add(row projector.Traced, above string) bool {
	if t.Root.Kind == KindToken && row.JTI == t.Root.ID {
		return t.token(row, t.Root)
	}
	switch row.Type {
	case events.GrantOpened{}.Type():
		g, ok := t.grant(row)
		if !ok {
			return false
		}
		g.issued(row)
		if row.JTI == "" {
			return true
		}
		return t.token(row, g)
	case events.CodeRedeemed{}.Type(), events.RefreshTokenRotated{}.Type():
		g, ok := t.grant(row)
		return ok && t.token(row, g)
	case events.AccessTokenIssued{}.Type():
		return t.token(row, t.Root)
	case events.TokenExchanged{}.Type():
		return t.token(row, t.under(row, above))
	case events.GrantRevoked{}.Type():
		if g := t.grants[row.Grant]; g != nil {
			g.State, g.Reason = Revoked, row.Reason
		}
	}
	return true
}

// grant is the node of a row's grant.
func (t *Tree) grant(row projector.Traced) (*Node, bool) {
	g := t.grants[row.Grant]
	if g == nil {
		if t.Full() {
			t.Root.Cut = true
			return nil, false
		}
		g = &Node{Kind: KindGrant, ID: row.Grant}
		t.grants[row.Grant] = g
		t.hang(g, t.Root)
	}
	g.Client, g.User = row.Client, row.User
	return g, true
}

// token puts a row's token under a node.
func (t *Tree) token(row projector.Traced, above *Node) bool {
	n := t.tokens[row.JTI]
	if n == nil {
		if t.Full() {
			above.Cut = true
			return false
		}
		n = &Node{Kind: KindToken, ID: row.JTI}
		t.tokens[row.JTI] = n
		t.hang(n, above)
	}
	n.issued(row)
	n.Grant, n.Expires = row.Grant, row.Expires
	return true
}

func (t *Tree) under(row projector.Traced, above string) *Node {
	for _, n := range []*Node{t.tokens[row.Parent], t.grants[row.Grant], t.tokens[above]} {
		if n != nil {
			return n
		}
	}
	return t.Root
}

func (t *Tree) hang(n, above *Node) {
	above.Children = append(above.Children, n)
	t.Nodes = append(t.Nodes, n)
}

func (n *Node) issued(row projector.Traced) {
	n.Stream, n.Seq, n.Time, n.Type = row.Stream, row.Seq, row.Time, row.Type
	n.Client, n.User = row.Client, row.User
}
