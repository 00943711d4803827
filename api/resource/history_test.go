package resource_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/resource"
	"github.com/chancery-authority/chancery/api/resource/natsresource"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/projector"
)

// issued is a token of a history.
type issued struct {
	apitest.Client
	access, refresh string
}

// A history issues and ends tokens at random.
type history struct {
	*apitest.Replica
	*rand.Rand
	clients []apitest.Client
	user    string
	tokens  []issued
	ends    int
}

func newHistory(t *testing.T, seed uint64) *history {
	t.Helper()
	h := &history{
		Replica: start(t, func(o *apitest.Options) { o.Partitions = 2 }),
		Rand:    rand.New(rand.NewPCG(seed, seed)),
	}
	code := []string{"authorization_code", "refresh_token", "client_credentials", exchangeGrant}
	for _, settings := range []map[string]any{
		{"client_name": "public subjects"},
		{"client_name": "pairwise subjects", "subject_type": "pairwise"},
		{"client_name": "exchanging"},
	} {
		settings["grant_types"], settings["redirect_uris"], settings["scope"] = code, []string{authority.DemoRedirect}, []string{"read"}
		settings["first_party"], settings["pkce_optional"] = true, true
		settings["token_exchange"] = map[string]any{"impersonation": true, "delegation": true, "max_depth": 3}
		a := h.Admin(t, http.MethodPost, "/clients", settings)
		if a.Status != http.StatusCreated {
			t.Fatalf("register a client: %d %s", a.Status, a.Body)
		}
		h.clients = append(h.clients, apitest.Client{ID: a.Text("client_id"), Secret: a.Text("client_secret")})
	}
	h.user = apitest.Claims(t, h.Tokens(t, h.clients[0], "read").Text("access_token"))["sub"].(string)
	return h
}

const (
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessType    = "urn:ietf:params:oauth:token-type:access_token"
)

func pick[T any](h *history, from []T) T { return from[h.IntN(len(from))] }

// keep remembers what was issued, if anything was: who is disabled gets nothing.
func (h *history) keep(c apitest.Client, a apitest.Answer) {
	if a.Status == http.StatusOK && a.Text("access_token") != "" {
		h.tokens = append(h.tokens, issued{c, a.Text("access_token"), a.Text("refresh_token")})
	}
}

// step does one thing.
func (h *history) step(t *testing.T) {
	c, token := pick(h, h.clients), issued{}
	if len(h.tokens) > 0 {
		token = pick(h, h.tokens)
	}
	kind := h.IntN(26)
	if kind > 15 || len(h.tokens) < 4 {
		kind %= 7 // issues
	}
	if len(h.tokens) < 4 {
		kind %= 3 // from nothing
	}
	switch kind {
	case 0, 1:
		h.Admin(t, http.MethodPost, "/users/"+h.user+"/enable", nil)
		a := h.LoginAnswer(t, c, "read offline_access")
		if a.Status == http.StatusOK {
			h.keep(c, h.Exchange(t, c, apitest.CodeOf(t, a)))
		}
	case 2:
		h.keep(c, h.Token(t, c, "grant_type", "client_credentials"))
	case 3:
		h.keep(token.Client, h.Refresh(t, token.Client, token.refresh))
	case 4, 5, 6:
		pairs := []string{"grant_type", exchangeGrant, "subject_token", token.access, "subject_token_type", accessType}
		if actor := pick(h, h.tokens); h.IntN(2) == 0 {
			pairs = append(pairs, "actor_token", actor.access, "actor_token_type", accessType)
		}
		h.keep(c, h.Token(t, c, pairs...))
	default:
		h.end(t, kind, c, token)
	}
}

// end does one thing that may end tokens.
func (h *history) end(t *testing.T, kind int, c apitest.Client, token issued) {
	t.Helper()
	h.ends++
	clients, users := "/clients/"+c.ID, "/users/"+h.user
	switch kind {
	case 7, 8:
		h.Post(t, "/oauth2/revoke", token.Client, "token", token.access)
	case 9:
		h.Post(t, "/oauth2/revoke", token.Client, "token", token.refresh)
	case 10:
		h.Admin(t, http.MethodPost, clients+"/disable", nil)
	case 11, 12:
		h.Admin(t, http.MethodPost, clients+"/enable", nil)
	case 13:
		h.Admin(t, http.MethodPost, clients+"/cut-off", nil)
	case 14:
		h.Admin(t, http.MethodPost, users+pick(h, []string{"/cut-off", "/disable"}), nil)
	case 15:
		h.Refresh(t, token.Client, token.refresh) // perhaps once too often
	}
}

// compare has a verifier and introspection say the same of all tokens.
func (h *history) compare(t *testing.T, v *resource.Verifier, name string) (active int) {
	t.Helper()
	for i, token := range h.tokens {
		_, err := v.Verify(t.Context(), token.access)
		if errors.Is(err, resource.ErrUnavailable) {
			t.Fatalf("%s: %v", name, err)
		}
		want := h.Active(t, token.access)
		if (err == nil) != want {
			t.Fatalf("%s: token %d of %s: %v, introspection says %v", name, i, token.ID, err, want)
		}
		if want {
			active++
		}
	}
	return active
}

// TestLocalIsIntrospection goes through random histories.
func TestLocalIsIntrospection(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	h := newHistory(t, seed)
	v := open(t, h.Replica)
	for round := range 6 {
		for range 14 {
			h.step(t)
		}
		knows(t, v)
		late := begin(t, h.Replica) // is told everything at once
		embeddedtest.Eventually(t, "a new one to be ready", func() bool { return late.Ready(t.Context()) == nil })
		active := h.compare(t, v, "followed")
		h.compare(t, late, "opened now")
		late.Close()
		t.Logf("round %d: %d of %d tokens are active", round, active, len(h.tokens))
		if len(h.tokens) > 24 {
			h.tokens = slices.Clone(h.tokens[len(h.tokens)-16:])
		}
	}
	if h.ends == 0 {
		t.Error("nothing ended")
	}
}

// TestNATSIsIntrospection is the same from the log itself, but for clients with
// pairwise subjects.
func TestNATSIsIntrospection(t *testing.T) {
	t.Parallel()
	h := newHistory(t, 1)
	pairwise := h.clients[1]
	h.clients = slices.Delete(h.clients, 1, 2)
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	defer cancel()
	feed, err := projector.OpenFeed(ctx, h.Log, projector.FeedConfig{Source: "resource", NewID: newID})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(feed.Close)
	v := open(t, h.Replica, func(c *resource.Config) { c.Revocations = natsresource.New(feed) })
	for range 6 {
		for range 6 {
			h.step(t)
		}
		knows(t, v)
		h.compare(t, v, "from the log")
	}
	h.Admin(t, http.MethodPost, "/users/"+h.user+"/enable", nil)
	token := h.Tokens(t, pairwise, "read").Text("access_token")
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, resource.ErrUnavailable) {
		t.Errorf("a token that does not tell its user: %v", err)
	}
}

// TestChangedSector ends a user whose token has the subject of a sector that its
// client has left since.
func TestChangedSector(t *testing.T) {
	t.Parallel()
	h := newHistory(t, 1)
	pairwise := h.clients[1]
	v := open(t, h.Replica)
	before := h.Admin(t, http.MethodGet, "/clients/"+pairwise.ID, nil)
	token := h.Tokens(t, pairwise, "read").Text("access_token")
	changed := map[string]any{
		"client_name": "moved", "subject_type": "pairwise", "sector_identifier": "elsewhere.example",
		"redirect_uris": before.JSON["redirect_uris"], "grant_types": before.JSON["grant_types"], "scope": before.JSON["scope"],
	}
	if a := h.Admin(t, http.MethodPut, "/clients/"+pairwise.ID, changed); a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if knows(t, v); !accepts(t, v, token) {
		t.Fatal("not accepted after the change")
	}
	h.Admin(t, http.MethodPost, "/users/"+h.user+"/cut-off", nil)
	if knows(t, v); accepts(t, v, token) {
		t.Error("accepted after the cut-off")
	}
}
