package lineage_test

import (
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/lineage"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

func row(typ, grant, jti, parent string) projector.Traced {
	return projector.Traced{Stream: "S", Audit: fold.Audit{Seq: 1, Type: typ + ".v1", Grant: grant, JTI: jti, Parent: parent}}
}

// drawn is a tree in one line.
func drawn(n *lineage.Node) string {
	var children []string
	for _, c := range n.Children {
		children = append(children, drawn(c))
	}
	if n.Cut {
		children = append(children, "…")
	}
	text := n.ID
	if n.State != "" {
		text += "=" + n.State + ":" + n.Reason
	}
	if children != nil {
		text += "(" + strings.Join(children, " ") + ")"
	}
	return text
}

func TestTree(t *testing.T) {
	opened, redeemed := row("grant.opened", "g", "", ""), row("code.redeemed", "g", "j1", "")
	rotated, revoked := row("refresh_token.rotated", "g", "j2", ""), row("grant.revoked", "g", "", "")
	revoked.Reason = "code_reuse"
	one, two := row("token.exchanged", "g", "x1", "j1"), row("token.exchanged", "g", "x2", "x1")
	own, ofOwn := row("access_token.issued", "", "own", ""), row("token.exchanged", "", "x3", "own")
	for name, test := range map[string]struct {
		kind, id string
		limit    int
		rows     []projector.Traced
		want     string
	}{
		"a client": {
			"client", "c", 100,
			[]projector.Traced{opened, redeemed, one, rotated, two, own, ofOwn, revoked},
			"c(g=revoked:code_reuse(j1(x1(x2)) j2) own(x3))",
		},
		"a grant is the root":                   {"grant", "g", 100, []projector.Traced{opened, redeemed, one, revoked}, "g=revoked:code_reuse(j1(x1))"},
		"a grant's token is the root":           {"token", "j1", 100, []projector.Traced{redeemed, one, two}, "j1(x1(x2))"},
		"rows that come again":                  {"client", "c", 100, []projector.Traced{opened, opened, redeemed, redeemed, one, one}, "c(g(j1(x1)))"},
		"opened with tokens":                    {"user", "u", 100, []projector.Traced{row("grant.opened", "g", "j1", ""), rotated}, "u(g(j1 j2))"},
		"the parent is not there, its grant is": {"client", "c", 100, []projector.Traced{opened, two}, "c(g(x2))"},
		"neither is there":                      {"client", "c", 100, []projector.Traced{two}, "c(x2)"},
		"no room for a token":                   {"client", "c", 2, []projector.Traced{opened, redeemed, rotated, one}, "c(g(j1(…) …))"},
		"no room for a grant":                   {"client", "c", 1, []projector.Traced{own, opened, redeemed}, "c(own …)"},
		"what is no part of it":                 {"client", "c", 9, []projector.Traced{row("user.cut_off", "", "", ""), revoked}, "c"},
	} {
		tree := lineage.New(test.kind, test.id, test.limit)
		for _, r := range test.rows {
			tree.Add(r, "")
		}
		if got := drawn(tree.Root); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
		if len(tree.Nodes) > test.limit {
			t.Errorf("%s: %d nodes of %d", name, len(tree.Nodes), test.limit)
		}
	}
}

// TestActorTokens are above what was made with them where it has no other place.
func TestActorTokens(t *testing.T) {
	tree := lineage.New(lineage.KindToken, "actor", 10)
	tree.Add(row("access_token.issued", "", "actor", ""), "")
	tree.Add(row("token.exchanged", "g", "x", "subject"), "actor")
	tree.Add(row("token.exchanged", "g", "y", "x"), "actor")
	if got := drawn(tree.Root); got != "actor(x(y))" {
		t.Error(got)
	}
}
