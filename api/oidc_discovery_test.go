package api_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	zitadel "github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/config"
)

const discoveryPath = "/.well-known/openid-configuration"

// TestDiscovery is OpenID Connect Discovery §3 and §4: the document of RFC 8414,
// behind the issuer's path, with what OpenID Connect asks for.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	for issuer, path := range map[string]string{apitest.Issuer: "", "https://as.example/tenants/one": "/tenants/one"} {
		t.Run(issuer, func(t *testing.T) {
			r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) {
				patient(s)
				s.Issuer, s.SigningAlgorithms = issuer, []string{"EdDSA", "ES256"}
			}})
			a := wantOK(t, request{method: http.MethodGet, path: path + discoveryPath}.send(t, r.URL))
			same := wantOK(t, request{method: http.MethodGet, path: metadataPath + path}.send(t, r.URL))
			if string(a.Body) != string(same.Body) || a.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%v %s, and by RFC 8414 %s", a.Header, a.Body, same.Body)
			}
			if a.Text("issuer") != issuer || a.Text("userinfo_endpoint") != issuer+userInfoPath || a.Text("end_session_endpoint") != issuer+endSessionPath {
				t.Errorf("metadata %s", a.Body)
			}
			for name, want := range map[string]string{
				"id_token_signing_alg_values_supported": "EdDSA ES256", "response_types_supported": "code",
				"scopes_supported": "openid profile email offline_access",
			} {
				if got := texts(t, a.JSON[name]); !slices.Equal(got, strings.Fields(want)) {
					t.Errorf("%s = %q, want %s", name, got, want)
				}
			}
			for _, name := range []string{"claims_parameter_supported", "request_parameter_supported", "request_uri_parameter_supported"} {
				if a.JSON[name] != false {
					t.Errorf("%s = %v", name, a.JSON[name])
				}
			}
			for _, absent := range []string{discoveryPath + "/tenants/one", "/tenants/two" + discoveryPath} {
				if got := (request{method: http.MethodGet, path: absent}).send(t, r.URL).Status; got != http.StatusNotFound {
					t.Errorf("%s: %d", absent, got)
				}
			}
		})
	}
}

func texts(t testing.TB, v any) (list []string) {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Errorf("no list of texts: %s", raw)
	}
	return list
}

// TestSupportedClaims are those that are given, and all of them but for acr,
// which needs a login that claims a level.
func TestSupportedClaims(t *testing.T) {
	t.Parallel()
	r := single(t)
	a := wantOK(t, request{method: http.MethodGet, path: discoveryPath}.send(t, r.URL))
	tokens := r.Exchange(t, apitest.DemoWeb, loginNonce(t, r, apitest.DemoWeb, "openid profile email", "n"))
	told := map[string]any{"nickname": "Al", "first_name": "Alice", "last_name": "Liddell", "birthday": "1852-05-04"}
	wantOK(t, patchMe(t, r, tokens.Text("access_token"), told))
	given := []string{"acr"}
	for _, claims := range []map[string]any{
		apitest.Claims(t, tokens.Text("id_token")), userInfo(t, r, http.MethodGet, tokens.Text("access_token")).JSON,
	} {
		for name := range claims {
			if !slices.Contains(given, name) {
				given = append(given, name)
			}
		}
	}
	supported := texts(t, a.JSON["claims_supported"])
	slices.Sort(supported)
	slices.Sort(given)
	if !slices.Equal(supported, given) {
		t.Errorf("supported %q, given %q", supported, given)
	}
}

// letIn signs a person in who goes to an address of the issuer, and lets the
// client have what it asks for.
func letIn(t testing.TB, v *apitest.Visitor, target string) (code string) {
	t.Helper()
	p := signIn(t, v, v.Open(strings.TrimPrefix(target, apitest.Issuer)))
	wantPage(t, p, http.StatusOK, "Allow access?")
	return wantCode(t, v.Submit(p, "decision", "allow"))
}

// TestGoOIDC drives the server with coreos/go-oidc, from discovery over the pages
// to the UserInfo endpoint.
func TestGoOIDC(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := issuerClient(t, r)
	ctx := oidc.ClientContext(t.Context(), c)
	provider, err := oidc.NewProvider(ctx, apitest.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	config := oauth2.Config{
		ClientID: apitest.DemoPartner.ID, ClientSecret: apitest.DemoPartner.Secret, Endpoint: provider.Endpoint(),
		RedirectURL: authority.DemoRedirect, Scopes: []string{oidc.ScopeOpenID, "email", oidc.ScopeOfflineAccess},
	}
	verifier := oauth2.GenerateVerifier()
	v := r.NewVisitor(t)
	code := letIn(t, v, config.AuthCodeURL("a-state-of-16-ch", oauth2.S256ChallengeOption(verifier), oidc.Nonce("a-nonce")))
	tokens, err := config.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := tokens.Extra("id_token").(string)
	id, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: apitest.DemoPartner.ID}).Verify(ctx, text)
	if err != nil || id.Nonce != "a-nonce" || id.VerifyAccessToken(tokens.AccessToken) != nil {
		t.Fatalf("ID token %+v, %v", id, err)
	}
	info, err := provider.UserInfo(ctx, config.TokenSource(ctx, tokens))
	if err != nil || info.Subject != id.Subject || info.Email != "alice@example.com" || info.EmailVerified {
		t.Errorf("UserInfo %+v, %v", info, err)
	}
}

// TestZitadelRelyingParty is the same with the relying party of zitadel/oidc.
func TestZitadelRelyingParty(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := issuerClient(t, r)
	party, err := rp.NewRelyingPartyOIDC(t.Context(), apitest.Issuer, apitest.DemoPartner.ID, apitest.DemoPartner.Secret, authority.DemoRedirect,
		[]string{"openid", "profile", "offline_access"}, rp.WithHTTPClient(c), rp.WithVerifierOpts(rp.WithSupportedSigningAlgorithms("ES256")))
	if err != nil {
		t.Fatal(err)
	}
	verifier := oauth2.GenerateVerifier()
	challenge := rp.WithCodeChallenge(zitadel.NewSHACodeChallenge(verifier))
	code := letIn(t, r.NewVisitor(t), rp.AuthURL("a-state-of-16-ch", party, challenge))
	tokens, err := rp.CodeExchange[*zitadel.IDTokenClaims](t.Context(), code, party, rp.WithCodeVerifier(verifier))
	if err != nil {
		t.Fatal(err)
	}
	info, err := rp.Userinfo[*zitadel.UserInfo](t.Context(), tokens.AccessToken, tokens.TokenType, tokens.IDTokenClaims.Subject, party)
	if err != nil || info.PreferredUsername != "alice" {
		t.Errorf("UserInfo %+v, %v", info, err)
	}
	again, err := rp.RefreshTokens[*zitadel.IDTokenClaims](t.Context(), party, tokens.RefreshToken, "", "")
	if err != nil || again.IDTokenClaims.Subject != tokens.IDTokenClaims.Subject || again.IDTokenClaims.SessionID != tokens.IDTokenClaims.SessionID {
		t.Errorf("refreshed %+v, %v", again, err)
	}
}
