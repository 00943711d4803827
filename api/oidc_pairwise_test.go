package api_test

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// pairwiseClient registers a relying party of a sector.
func pairwiseClient(t testing.TB, r *apitest.Replica, sector string) apitest.Client {
	t.Helper()
	return relyingParty(t, r, map[string]any{"subject_type": "pairwise", "sector_identifier": sector, "first_party": true})
}

const pairwiseScope = "openid profile email read offline_access"

// TestPairwise is OIDC Core §8.1: one sub for each sector, everywhere that a
// client is told one, at every replica and after a restart.
func TestPairwise(t *testing.T) {
	t.Parallel()
	nc := embeddedtest.Single(t).Conn()
	r := apitest.Start(t, nc, apitest.Options{Settings: patient})
	r.Seed(t)
	a, same, other := pairwiseClient(t, r, "a.example"), pairwiseClient(t, r, "a.example"), pairwiseClient(t, r, "b.example")
	byHost := relyingParty(t, r, map[string]any{"subject_type": "pairwise"})
	user := subject(t, r.Tokens(t, apitest.DemoWeb, "read"))
	first := r.Tokens(t, a, pairwiseScope)
	sub := subject(t, first)
	if len(sub) != 43 || sub == user {
		t.Errorf("sub %q", sub)
	}
	if got := subject(t, r.Tokens(t, same, "read")); got != sub {
		t.Errorf("in the same sector %q, want %q", got, sub)
	}
	seen := map[string]bool{user: true, sub: true}
	for _, c := range []apitest.Client{other, byHost} {
		got := subject(t, r.Tokens(t, c, "read"))
		if seen[got] {
			t.Errorf("%q is told in two sectors", got)
		}
		seen[got] = true
	}
	wantSub(t, r, a, first, sub)
	restarted := apitest.Start(t, nc, apitest.Options{Settings: patient})
	if got := subject(t, restarted.Tokens(t, a, "read")); got != sub {
		t.Errorf("after a restart %q, want %q", got, sub)
	}
	second := wantOK(t, restarted.Refresh(t, a, first.Text("refresh_token")))
	wantSub(t, restarted, a, second, sub)
	wantSub(t, restarted, a, wantOK(t, restarted.Refresh(t, a, first.Text("refresh_token"))), sub)

	// What is told is the grant's, whatever becomes of the settings.
	wantOK(t, r.Admin(t, http.MethodPut, "/clients/"+a.ID, map[string]any{
		"grant_types": []string{"authorization_code", "refresh_token"}, "redirect_uris": []string{"http://127.0.0.1:9999/callback"},
		"scope": strings.Fields(pairwiseScope)[:4], "first_party": true,
	}))
	wantSub(t, r, a, wantOK(t, r.Refresh(t, a, second.Text("refresh_token"))), sub)
	if got := subject(t, r.Tokens(t, a, "read")); got != user {
		t.Errorf("a new grant of a client that is public now: %q", got)
	}
}

// wantSub expects a sub, and nothing of the user's id, wherever a client is told
// of a user.
func wantSub(t testing.TB, r *apitest.Replica, c apitest.Client, tokens apitest.Answer, sub string) {
	t.Helper()
	id, _ := wantIDToken(t, idVerifier(t, r, c, oidc.ES256), tokens)
	access := tokens.Text("access_token")
	profile := wantOK(t, me(t, r, access))
	info := wantOK(t, userInfo(t, r, http.MethodGet, access))
	introspected := wantOK(t, r.Post(t, introspectPath, c, "token", access))
	refresh := wantOK(t, r.Post(t, introspectPath, c, "token", tokens.Text("refresh_token")))
	for what, got := range map[string]string{
		"access token": subject(t, tokens), "ID token": id.Subject, "UserInfo": info.Text("sub"), "profile": profile.Text("id"),
		"introspection": introspected.Text("sub"), "introspection of the refresh token": refresh.Text("sub"),
	} {
		if got != sub {
			t.Errorf("%s: sub %q, want %q", what, got, sub)
		}
	}
	if info.Text("email") != "alice@example.com" || profile.Text("username") != "alice" {
		t.Errorf("told of somebody else: %s %s", info.Body, profile.Body)
	}
	fact, err := r.Log.After(t.Context(), events.DefaultRealm.GrantSubject(grantIDOf(t, tokens)), 0)
	if err != nil || len(fact) == 0 {
		t.Fatalf("%d events, %v", len(fact), err)
	}
	user := fact[0].Fact.(events.GrantOpened).User
	told := [][]byte{tokens.Body, profile.Body, info.Body, introspected.Body, refresh.Body}
	for _, token := range []string{access, tokens.Text("id_token")} {
		for part := range strings.SplitSeq(token, ".") {
			told = append(told, decoded(t, part))
		}
	}
	usr, _ := apitest.Claims(t, access)["usr"].(string)
	told = append(told, decoded(t, usr))
	for _, text := range told {
		if bytes.Contains(text, []byte(user)) || bytes.Contains(text, []byte(base64.RawURLEncoding.EncodeToString([]byte(user)))) {
			t.Errorf("the user's id is in %q", text)
		}
	}
}

func grantIDOf(t testing.TB, tokens apitest.Answer) events.GrantID {
	t.Helper()
	id, err := events.ParseGrantID(claim(t, tokens, "grant"))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestPairwiseEnds with its user, by whatever ends them: decisions are by the
// user's id.
func TestPairwiseEnds(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := pairwiseClient(t, r, "a.example")
	x := exchanger(t, r, nil, nil)
	for name, end := range map[string]func(user, token string){
		"disabled":   func(user, _ string) { administer(t, r, "/users/"+user+"/disable") },
		"cut off":    func(user, _ string) { administer(t, r, "/users/"+user+"/cut-off") },
		"signed out": func(_, token string) { wantSignedOut(t, signOut(t, r, "all", token)) },
	} {
		t.Run(name, func(t *testing.T) {
			person := map[string]string{"username": "user-" + name, "password": "a-password", "email": "a@example.com"}
			query := apitest.CodeQuery(c.ID, pairwiseScope)
			login := r.JSON(t, registerPath+"?"+query.Encode(), person)
			tokens := wantOK(t, r.Exchange(t, c, apitest.CodeOf(t, login)))
			swapped := wantOK(t, swap(t, r, x, tokens.Text("access_token")))
			if subject(t, swapped) != subject(t, tokens) {
				t.Errorf("exchanged for the sub %q", subject(t, swapped))
			}
			opened, err := r.Log.After(t.Context(), events.DefaultRealm.GrantSubject(grantIDOf(t, tokens)), 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, token := range []string{tokens.Text("access_token"), swapped.Text("access_token")} {
				if !r.Active(t, token) {
					t.Error("a token is not active")
				}
			}
			end(opened[0].Fact.(events.GrantOpened).User, tokens.Text("access_token"))
			for _, token := range []string{tokens.Text("access_token"), swapped.Text("access_token")} {
				if r.Active(t, token) {
					t.Error("a token outlived its user")
				}
			}
			wantError(t, r.Refresh(t, c, tokens.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
			wantError(t, userInfo(t, r, http.MethodGet, tokens.Text("access_token")), http.StatusUnauthorized, "invalid_token")
		})
	}
	t.Run("of its session", func(t *testing.T) {
		login := r.LoginAnswer(t, c, "read")
		cookie := sessionCookie(t, login)
		tokens := wantOK(t, r.Exchange(t, c, apitest.CodeOf(t, login)))
		wantOK(t, ssoAt(t, r, cookie))
		wantSignedOut(t, signOut(t, r, "sso", tokens.Text("access_token"), cookie))
		wantLoginError(t, ssoAt(t, r, cookie), http.StatusUnauthorized, "002-016")
	})
}

// TestPairwiseExchange lets a pairwise subject be exchanged, and not act: the
// chain of a token tells who acted.
func TestPairwiseExchange(t *testing.T) {
	t.Parallel()
	r := single(t)
	x := exchanger(t, r, nil, nil)
	hidden := r.Tokens(t, pairwiseClient(t, r, "a.example"), "read").Text("access_token")
	a := wantOK(t, swap(t, r, x, hidden, actingBy(own(t, r, x))...))
	claims := apitest.Claims(t, a.Text("access_token"))
	if claims["sub"] != apitest.Claims(t, hidden)["sub"] || claims["usr"] == nil || claims["usr"] == apitest.Claims(t, hidden)["usr"] {
		t.Errorf("claims %v", claims)
	}
	again := wantOK(t, swap(t, r, x, a.Text("access_token")))
	if !r.Active(t, again.Text("access_token")) || subject(t, again) != claims["sub"] {
		t.Errorf("exchanged again: %s", again.Body)
	}
	wantError(t, swap(t, r, x, own(t, r, x), actingBy(hidden)...), http.StatusBadRequest, "invalid_request")
}

// TestPairwiseLoginClaims are the person's, whom the sub does not tell.
func TestPairwiseLoginClaims(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := relyingParty(t, r, map[string]any{"public": true, "password_login": true, "subject_type": "pairwise", "first_party": true})
	a := wantOK(t, r.JSON(t, passwordPath+"?scope=openid&client_id="+c.ID, alice))
	claims := apitest.Claims(t, a.Text("access_token"))
	if claims["username"] != "alice" || claims["type"] != "user" || claims["usr"] == nil {
		t.Errorf("claims %v", claims)
	}
	id, _ := wantIDToken(t, idVerifier(t, r, c, oidc.ES256), a)
	if id.Subject != claims["sub"] || len(id.Subject) != 43 {
		t.Errorf("sub %q and %v", id.Subject, claims["sub"])
	}
}

// TestPairwiseForgery: what is sealed belongs to one token.
func TestPairwiseForgery(t *testing.T) {
	t.Parallel()
	nc := embeddedtest.Single(t).Conn()
	r := apitest.Start(t, nc, apitest.Options{Settings: patient})
	r.Seed(t)
	c := pairwiseClient(t, r, "a.example")
	genuine, another := r.Tokens(t, c, "read").Text("access_token"), r.Tokens(t, c, "read").Text("access_token")
	f := newForger(t, nc, genuine)
	if !r.Active(t, f.sign(t, nil, nil)) {
		t.Fatal("an unchanged forgery is not active, so nothing below means anything")
	}
	for name, usr := range map[string]any{
		"of another token": apitest.Claims(t, another)["usr"], "not base64url": "=", "not sealed": "YWxpY2U", "a number": 1,
	} {
		t.Run(name, func(t *testing.T) {
			wantInactive(t, r, apitest.DemoService, f.sign(t, nil, map[string]any{"usr": usr}))
		})
	}
}

// TestPairwiseSettings are refused by name.
func TestPairwiseSettings(t *testing.T) {
	t.Parallel()
	r := single(t)
	for parameter, settings := range map[string]map[string]any{
		"subject_type":      {"subject_type": "ephemeral"},
		"sector_identifier": {"subject_type": "pairwise", "redirect_uris": []string{"https://a.example/", "https://b.example/"}},
	} {
		a := r.Admin(t, http.MethodPost, "/clients", with(map[string]any{
			"grant_types": []string{"authorization_code"}, "redirect_uris": []string{"https://a.example/"},
		}, settings))
		wantError(t, a, http.StatusBadRequest, "invalid_request")
		if parameterOf(a) != parameter {
			t.Errorf("names %q, want %q", parameterOf(a), parameter)
		}
	}
	c := pairwiseClient(t, r, "a.example")
	shown := wantOK(t, r.Admin(t, http.MethodGet, "/clients/"+c.ID, nil))
	if shown.Text("subject_type") != "pairwise" || shown.Text("sector_identifier") != "a.example" {
		t.Errorf("client %s", shown.Body)
	}
}
