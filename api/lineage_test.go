package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/lineage"
)

type lineageAnswer struct {
	Root        *lineage.Node
	Nodes       int
	Truncated   bool
	LeftOut     int  `json:"left_out"`
	LeftOutMore bool `json:"left_out_more"`
}

func askLineage(t testing.TB, r *apitest.Replica, query string) (tree lineageAnswer) {
	t.Helper()
	a := wantOK(t, apitest.Settled(t, func() apitest.Answer { return r.Admin(t, http.MethodGet, "/lineage?"+query, nil) }))
	if err := json.Unmarshal(a.Body, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

// lines are the tokens of a tree, each as the jtis from its root.
func lines(n *lineage.Node, above ...string) (all []string) {
	above = append(slices.Clone(above), n.ID)
	all = append(all, strings.Join(above, " "))
	for _, c := range n.Children {
		all = append(all, lines(c, above...)...)
	}
	return all
}

// nodes are all nodes of a tree by their ids.
func nodesOf(n *lineage.Node) map[string]*lineage.Node {
	all := map[string]*lineage.Node{n.ID: n}
	for _, c := range n.Children {
		maps.Copy(all, nodesOf(c))
	}
	return all
}

func jti(t testing.TB, token string) string {
	t.Helper()
	id, _ := apitest.Claims(t, token)["jti"].(string)
	return id
}

// TestLineageOfALine finds three exchanges, one made from the other, under each
// thing that they can be asked for by, and says how they stand.
func TestLineageOfALine(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Partitions: 2})
	l := newLine(t, r)
	root := l.root.Text("access_token")
	grant := r.GrantOf(t, root)
	ids := []string{jti(t, root)}
	for _, token := range l.tokens {
		ids = append(ids, jti(t, token))
	}
	rotated := jti(t, wantOK(t, refreshed(t, r, l.rootClient, l.root.Text("refresh_token"))).Text("access_token"))

	tree := askLineage(t, r, "grant="+grant)
	whole := strings.Join(append([]string{grant}, ids...), " ")
	if got := lines(tree.Root); !slices.Contains(got, whole) || !slices.Contains(got, grant+" "+rotated) || tree.Nodes != 5 || tree.Truncated {
		t.Errorf("of the grant: %q, want %q", got, whole)
	}
	all := nodesOf(tree.Root)
	if n := all[rotated]; n.Generation != 2 || n.State != "active" || n.Expires <= n.IssuedAt || n.IssuedAt == 0 || n.Client != l.rootClient.ID || n.Seq == 0 {
		t.Errorf("generation 2: %+v", n)
	}
	if n := tree.Root; n.State != "active" || n.User == "" || n.Type != "grant.opened.v1" || n.Expires == 0 {
		t.Errorf("the grant: %+v", n)
	}
	if n := all[ids[3]]; n.Client != l.clients[2].ID || n.State != "active" || n.Grant != grant {
		t.Errorf("the last: %+v", n)
	}
	for query, want := range map[string]string{
		"client=" + l.rootClient.ID:               l.rootClient.ID + " " + whole,
		"user=" + tree.Root.User + "&limit=10000": tree.Root.User + " " + whole,
		"jti=" + ids[0]:                           strings.Join(ids, " "),
		"jti=" + ids[1]:                           strings.Join(ids[1:], " "),
		"client=" + l.clients[1].ID:               l.clients[1].ID + " " + strings.Join(ids[2:], " "),
		"jti=" + jti(t, l.actorToken):             jti(t, l.actorToken) + " " + strings.Join(ids[1:], " "),
		"address=127.0.0.1&grant=" + grant:        "127.0.0.1 " + whole,
		"client=" + l.actor.ID:                    strings.Join([]string{l.actor.ID, jti(t, l.actorToken), strings.Join(ids[1:], " ")}, " "),
	} {
		if got := lines(askLineage(t, r, query).Root); !slices.Contains(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	for _, row := range exported(t, r, "ancestor", ids[1]) {
		if !slices.Contains(ids[2:], row.JTI) {
			t.Errorf("made from %s: %+v", ids[1], row)
		}
	}
	if got := exported(t, r, "ancestor", ids[0]); len(got) != 3 {
		t.Errorf("%d events of what was made from the root", len(got))
	}

	revoke(t, r, l.clients[1], l.tokens[1])
	all = nodesOf(askLineage(t, r, "grant="+grant).Root)
	for i, want := range []string{"active ", "active ", "revoked token_revoked", "revoked ancestor_ended"} {
		if n := all[ids[i]]; n.State+" "+n.Reason != want {
			t.Errorf("%d exchanges away: %s %s, want %s", i, n.State, n.Reason, want)
		}
	}
	wantOK(t, r.Admin(t, http.MethodPost, "/clients/"+l.clients[0].ID+"/cut-off", nil))
	if n := nodesOf(askLineage(t, r, "grant="+grant).Root)[ids[1]]; n.Reason != "client_cut_off" {
		t.Errorf("of a client that was cut off: %+v", n)
	}
	wantOK(t, r.Admin(t, http.MethodPost, "/grants/"+grant+"/revoke", nil))
	for id, n := range nodesOf(askLineage(t, r, "grant="+grant).Root) {
		if n.State != "revoked" || n.Reason == "" {
			t.Errorf("%s of a revoked grant: %s %s", id, n.State, n.Reason)
		}
	}
}

// TestLineageIsBounded, and says how much it leaves out.
func TestLineageIsBounded(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{})
	manyGrants(t, r, 5) // each with a token
	tree := askLineage(t, r, "client=demo-spa&limit=4")
	if tree.Nodes != 4 || !tree.Truncated || tree.LeftOut != 3 || tree.LeftOutMore {
		t.Errorf("%+v", tree)
	}
	if tree = askLineage(t, r, "client=demo-spa&limit=10"); tree.Nodes != 10 || tree.Truncated {
		t.Errorf("%+v", tree)
	}
	if tree = askLineage(t, r, "client=nobody"); tree.Nodes != 0 || tree.Truncated {
		t.Errorf("%+v", tree)
	}
}

// TestLineagesThatMakeNoSense are refused.
func TestLineagesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	r := single(t)
	for query, want := range map[string]string{
		"": "grant", "client=a&user=b": "grant", "client=a.b": "client", "grant=00": "grant", "limit=0&client=a": "limit",
		"limit=10001&client=a": "limit", "address=127.0.0.1": "address", "address=x&client=a": "address", "since=now&client=a": "since",
		"address=127.0.0.1&kid=k&client=a": "address", "session=x": "session",
	} {
		a := r.Admin(t, http.MethodGet, "/lineage?"+query, nil)
		wantError(t, a, http.StatusBadRequest, "invalid_request")
		if !strings.HasPrefix(a.Text("error_description"), want+":") {
			t.Errorf("%s: %s", query, a.Body)
		}
	}
	wantError(t, r.Admin(t, http.MethodGet, fmt.Sprintf("/lineage?grant=%032d", 0), nil), http.StatusNotFound, "not_found")
}
