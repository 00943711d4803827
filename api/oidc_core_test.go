package api_test

import (
	"context"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
)

// relyingParty registers a client that may have everything of OpenID Connect.
func relyingParty(t testing.TB, r *apitest.Replica, settings map[string]any) apitest.Client {
	t.Helper()
	all := map[string]any{"scope": []string{"read", "openid", "profile", "email"}}
	maps.Copy(all, settings)
	return register(t, r, all)
}

// idVerifier verifies ID tokens as coreos/go-oidc does, by the published keys.
func idVerifier(t testing.TB, r *apitest.Replica, c apitest.Client, algs ...string) *oidc.IDTokenVerifier {
	t.Helper()
	keys := oidc.NewRemoteKeySet(context.WithoutCancel(t.Context()), r.URL+"/oauth2/jwks")
	return oidc.NewVerifier(apitest.Issuer, keys, &oidc.Config{ClientID: c.ID, SupportedSigningAlgs: algs})
}

// wantIDToken is the ID token of an answer, verified with the access token that
// it came with.
func wantIDToken(t testing.TB, v *oidc.IDTokenVerifier, a apitest.Answer) (*oidc.IDToken, map[string]any) {
	t.Helper()
	token, err := v.Verify(t.Context(), wantOK(t, a).Text("id_token"))
	if err != nil {
		t.Fatalf("%v in %s", err, a.Body)
	}
	if err := token.VerifyAccessToken(a.Text("access_token")); err != nil {
		t.Error(err)
	}
	return token, apitest.Claims(t, a.Text("id_token"))
}

// loginNonce gives a code of an authorization request with a nonce.
func loginNonce(t testing.TB, r *apitest.Replica, c apitest.Client, scope, nonce string) string {
	t.Helper()
	query := apitest.CodeQuery(c.ID, scope)
	query.Set("nonce", nonce)
	return apitest.CodeOf(t, r.LoginWith(t, query))
}

// TestIDToken is OIDC Core §2, §3.1.3.3 and §12.2, as a relying party verifies
// it, for every algorithm.
func TestIDToken(t *testing.T) {
	t.Parallel()
	algs := []string{"ES256", "RS256", "EdDSA"}
	r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) { patient(s); s.SigningAlgorithms = algs }})
	for _, alg := range algs {
		t.Run(alg, func(t *testing.T) {
			c := relyingParty(t, r, map[string]any{"access_token_signing_alg": alg})
			v := idVerifier(t, r, c, alg)
			first := wantOK(t, r.Exchange(t, c, loginNonce(t, r, c, "openid read offline_access", "n-0S6_WzA2Mj")))
			id, claims := wantIDToken(t, v, first)
			access := apitest.Claims(t, first.Text("access_token"))
			if id.Subject != subject(t, first) || id.Nonce != "n-0S6_WzA2Mj" || !slices.Equal(id.Audience, []string{c.ID}) {
				t.Errorf("ID token %+v", id)
			}
			for _, name := range []string{"iss", "sub", "iat", "exp", "auth_time", "amr", "sid"} {
				if claims[name] == nil || !reflect.DeepEqual(claims[name], access[name]) {
					t.Errorf("%s = %v, and in the access token %v", name, claims[name], access[name])
				}
			}
			if aud, ok := claims["aud"].(string); !ok || aud != c.ID {
				t.Errorf("aud = %v", claims["aud"])
			}
			wantOf(t, claims, "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "amr", "sid")

			second := wantOK(t, r.Refresh(t, c, first.Text("refresh_token")))
			_, refreshed := wantIDToken(t, v, second)
			for _, name := range []string{"iss", "sub", "aud", "auth_time", "amr", "sid"} {
				if !reflect.DeepEqual(refreshed[name], claims[name]) {
					t.Errorf("refreshed: %s = %v, was %v", name, refreshed[name], claims[name])
				}
			}
			if refreshed["nonce"] != nil {
				t.Error("a refreshed ID token has a nonce")
			}
			// A retry has the same but for what an access token signed anew changes.
			_, repeated := wantIDToken(t, v, r.Refresh(t, c, first.Text("refresh_token")))
			delete(refreshed, "at_hash")
			delete(repeated, "at_hash")
			if !reflect.DeepEqual(repeated, refreshed) {
				t.Errorf("repeated %v, was %v", repeated, refreshed)
			}
		})
	}
}

// TestAuthenticationRequest is OIDC Core §3.1.2.1 as the ID token shows it: when
// and where the person signed in, and what the client asked with.
func TestAuthenticationRequest(t *testing.T) {
	t.Parallel()
	r := single(t)
	web := apitest.DemoPartner
	verifier := idVerifier(t, r, web, oidc.ES256)
	v := r.NewVisitor(t)
	ask := func(nonce string, pairs ...string) string {
		return authorizeURL(web, append([]string{"scope", "openid offline_access", "nonce", nonce}, pairs...)...)
	}
	redeem := func(code string) map[string]any {
		t.Helper()
		_, claims := wantIDToken(t, verifier, r.Exchange(t, web, code))
		return claims
	}
	wantRefused(t, v.Open(ask("a", "prompt", "none")), "login_required", "prompt")
	wantRefused(t, v.Open(ask("a", "prompt", "none login")), "invalid_request", "prompt")
	p := signIn(t, v, v.Open(ask("b")))
	wantRefused(t, v.Open(ask("b", "prompt", "none")), "consent_required", "prompt") // offline_access: §11
	wantPage(t, p, http.StatusOK, "Allow access?")
	first := redeem(wantCode(t, v.Submit(p, "decision", "allow")))
	silent := redeem(wantCode(t, v.Open(ask("c", "prompt", "none"))))
	recent := redeem(wantCode(t, v.Open(ask("d", "max_age", "600"))))
	for nonce, claims := range map[string]map[string]any{"b": first, "c": silent, "d": recent} {
		if claims["nonce"] != nonce {
			t.Errorf("nonce %v, want %s", claims["nonce"], nonce)
		}
		for _, name := range []string{"sub", "sid", "auth_time"} {
			if claims[name] == nil || claims[name] != first[name] {
				t.Errorf("in one session, %s = %v and %v", name, first[name], claims[name])
			}
		}
		if sub, _ := claims["sub"].(string); len(sub) > 255 || strings.ContainsFunc(sub, func(r rune) bool { return r > 0x7e || r < 0x21 }) {
			t.Errorf("sub %q", sub)
		}
	}
	again := redeem(wantCode(t, signIn(t, v, v.Open(ask("e", "max_age", "0")))))
	if again["sid"] == first["sid"] || again["sub"] != first["sub"] || again["auth_time"].(float64) < first["auth_time"].(float64) {
		t.Errorf("signed in again: %v, before %v", again, first)
	}
	pairwise := pairwiseClient(t, r, "a.example")
	hidden := r.Exchange(t, pairwise, wantCode(t, v.Open(authorizeURL(pairwise, "scope", "openid"))))
	if id, claims := wantIDToken(t, idVerifier(t, r, pairwise, oidc.ES256), hidden); id.Subject == first["sub"] || len(id.Subject) != 43 {
		t.Errorf("a pairwise client is told %v", claims)
	}
}

// wantOf expects claims of exactly these names.
func wantOf(t testing.TB, claims map[string]any, names ...string) {
	t.Helper()
	if got := slices.Sorted(maps.Keys(claims)); !slices.Equal(got, slices.Sorted(slices.Values(names))) {
		t.Errorf("claims %q, want %q", got, names)
	}
}

// TestIDTokenIsForItsClientOnly keeps each kind of token out where the other
// belongs.
func TestIDTokenIsForItsClientOnly(t *testing.T) {
	t.Parallel()
	r := single(t)
	c, other := relyingParty(t, r, nil), relyingParty(t, r, nil)
	tokens := r.Tokens(t, c, "openid")
	id, access := tokens.Text("id_token"), tokens.Text("access_token")
	if _, err := idVerifier(t, r, other, oidc.ES256).Verify(t.Context(), id); err == nil {
		t.Error("another client takes it")
	}
	if _, err := idVerifier(t, r, c, oidc.ES256).Verify(t.Context(), access); err == nil {
		t.Error("the access token passes for an ID token")
	}
	wantInactive(t, r, c, id)
	wantLoginError(t, me(t, r, id), http.StatusUnauthorized, "002-016")
	x := exchanger(t, r, nil, nil)
	wantError(t, swap(t, r, x, id), http.StatusBadRequest, "invalid_request")
	wantOK(t, r.Post(t, revokePath, c, "token", id))
	if !r.Active(t, access) {
		t.Error("revoking an ID token ended the access token")
	}
}

// TestIDTokenWhereItIsAskedFor is OIDC Core §3.1.2.1: without openid it is no
// request of OpenID Connect.
func TestIDTokenWhereItIsAskedFor(t *testing.T) {
	t.Parallel()
	r := single(t)
	web, spa := apitest.DemoPartner, apitest.DemoSPA
	for _, scope := range []string{"", "read", "profile email"} {
		if a := r.Tokens(t, web, scope); a.Text("id_token") != "" || strings.Contains(a.Text("scope"), "openid") {
			t.Errorf("scope %q: %s", scope, a.Body)
		}
	}
	v := idVerifier(t, r, web, oidc.ES256)
	first := loginExchange(t, r, web, loginNonce(t, r, web, "openid offline", "n"))
	if id, _ := wantIDToken(t, v, first); id.Nonce != "n" {
		t.Errorf("nonce %q", id.Nonce)
	}
	wantIDToken(t, v, loginRefresh(t, r, web, first.Text("refresh_token")))
	if a := loginExchange(t, r, web, r.Login(t, web, "read")); a.Text("id_token") != "" {
		t.Errorf("the Login API gave one unasked: %s", a.Body)
	}
	password := r.JSON(t, passwordPath+"?scope=openid&nonce=n&client_id="+spa.ID, alice)
	id, claims := wantIDToken(t, idVerifier(t, r, spa, oidc.ES256), password)
	if id.Nonce != "n" || claims["sid"] != nil {
		t.Errorf("claims %v", claims)
	}

	narrowed := r.Tokens(t, web, "openid read offline_access")
	a := wantOK(t, r.Refresh(t, web, narrowed.Text("refresh_token"), "scope", "read"))
	if a.Text("id_token") != "" {
		t.Errorf("narrowed to read: %s", a.Body)
	}
	wantIDToken(t, v, r.Refresh(t, web, a.Text("refresh_token")))

	c := register(t, r, nil)
	if a := r.LoginAnswer(t, c, "openid"); a.Status != http.StatusUnprocessableEntity {
		t.Errorf("a client without openid: %d %s", a.Status, a.Body)
	}
	query := apitest.CodeQuery(web.ID, "openid")
	query.Set("nonce", strings.Repeat("n", 513))
	wantLoginError(t, r.LoginWith(t, query), http.StatusBadRequest, "0")
}
