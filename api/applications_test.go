package api_test

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	zitadelhttp "github.com/zitadel/oidc/v3/pkg/http"
	zitadel "github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
)

// An application is a web application that people sign in to. It begins at
// /login, and shows them who they are.
type application struct {
	*httptest.Server
	pages  *http.ServeMux
	client apitest.Client
}

// newApplication starts an application and registers its client, whose id is
// its name too.
func newApplication(t *testing.T, r *apitest.Replica, id string, settings map[string]any) application {
	t.Helper()
	pages := http.NewServeMux()
	pages.HandleFunc("/favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	server := httptest.NewServer(pages)
	t.Cleanup(server.Close)
	settings["client_id"], settings["client_name"] = id, id
	settings["redirect_uris"] = []string{server.URL + "/callback"}
	settings["scope"] = []string{"openid", "profile", "email", "read"}
	return application{server, pages, register(t, r, settings)}
}

// greet is the page of who is signed in.
func greet(w http.ResponseWriter, claims map[string]any) {
	text, err := json.Marshal(claims)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	_, _ = fmt.Fprintf(w, "<title>Signed in</title><h1>Signed in</h1><pre>%s</pre>", html.EscapeString(string(text)))
}

// zitadelParty is made with zitadel/oidc, which asks for userinfo too.
func zitadelParty(t *testing.T, r *apitest.Replica) application {
	t.Helper()
	p := newApplication(t, r, "bookshop", map[string]any{})
	key := []byte("a key of 32 bytes for cookies ..")
	party, err := rp.NewRelyingPartyOIDC(t.Context(), r.URL, p.client.ID, p.client.Secret, p.URL+"/callback",
		[]string{"openid", "profile", "email", "offline_access"},
		rp.WithPKCE(zitadelhttp.NewCookieHandler(key, key, zitadelhttp.WithUnsecure())))
	if err != nil {
		t.Fatal(err)
	}
	p.pages.Handle("/login", rp.AuthURLHandler(func() string { return "state-of-zitadel" }, party))
	p.pages.Handle("/callback", rp.CodeExchangeHandler(rp.UserinfoCallback(
		func(w http.ResponseWriter, _ *http.Request, tokens *zitadel.Tokens[*zitadel.IDTokenClaims], _ string, _ rp.RelyingParty, info *zitadel.UserInfo) {
			greet(w, map[string]any{
				"sub": tokens.IDTokenClaims.Subject, "name": info.PreferredUsername, "email": info.Email, "refresh": tokens.RefreshToken != "",
			})
		}), party))
	return p
}

// coreosParty is made with coreos/go-oidc and golang.org/x/oauth2.
func coreosParty(t *testing.T, r *apitest.Replica) application {
	t.Helper()
	p := newApplication(t, r, "theatre", map[string]any{"access_token_signing_alg": "RS256"})
	provider, err := oidc.NewProvider(t.Context(), r.URL)
	if err != nil {
		t.Fatal(err)
	}
	config := oauth2.Config{
		ClientID: p.client.ID, ClientSecret: p.client.Secret, Endpoint: provider.Endpoint(), RedirectURL: p.URL + "/callback",
		Scopes: []string{oidc.ScopeOpenID, "email"},
	}
	verifier := oauth2.GenerateVerifier()
	p.pages.HandleFunc("/login", func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, config.AuthCodeURL("state-of-coreos", oidc.Nonce("n-1"), oauth2.S256ChallengeOption(verifier)), http.StatusFound)
	})
	p.pages.HandleFunc("/callback", func(w http.ResponseWriter, req *http.Request) {
		claims, err := func() (map[string]any, error) {
			if q := req.URL.Query(); q.Get("state") != "state-of-coreos" || q.Get("iss") != r.URL {
				return nil, fmt.Errorf("response %v", q)
			}
			token, err := config.Exchange(req.Context(), req.URL.Query().Get("code"), oauth2.VerifierOption(verifier))
			if err != nil {
				return nil, err
			}
			raw, _ := token.Extra("id_token").(string)
			id, err := provider.Verifier(&oidc.Config{ClientID: p.client.ID, SupportedSigningAlgs: []string{oidc.RS256}}).Verify(req.Context(), raw)
			if err != nil {
				return nil, err
			}
			if id.Nonce != "n-1" {
				return nil, fmt.Errorf("nonce %q", id.Nonce)
			}
			info, err := provider.UserInfo(req.Context(), oauth2.StaticTokenSource(token))
			if err != nil {
				return nil, err
			}
			return map[string]any{"sub": id.Subject, "email": info.Email, "at_hash": id.VerifyAccessToken(token.AccessToken) == nil}, nil
		}()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		greet(w, claims)
	})
	return p
}

// TestApplications signs a person in to applications that were made with the
// libraries that others use.
func TestApplications(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{OwnIssuer: true, Settings: withRS256})
	books, plays := zitadelParty(t, r), coreosParty(t, r)
	v := r.NewVisitor(t)
	who := func(p apitest.Page) map[string]any {
		t.Helper()
		if p.Outside == nil {
			t.Fatalf("shows %d %q", p.Status, p.Heading())
		}
		p = v.Open(p.Outside.String())
		var claims map[string]any
		if err := json.Unmarshal([]byte(p.Preformatted()), &claims); err != nil || p.Heading() != "Signed in" {
			t.Fatalf("the application shows %d %s", p.Status, p.Body)
		}
		return claims
	}
	p := signIn(t, v, v.Open(books.URL+"/login"))
	wantPage(t, p, http.StatusOK, "Allow access?")
	first := who(v.Submit(p, "decision", "allow"))
	if first["name"] != "alice" || first["email"] != "alice@example.com" || first["refresh"] != true {
		t.Errorf("signed in as %v", first)
	}
	p = v.Open(plays.URL + "/login")
	wantPage(t, p, http.StatusOK, "Allow access?")
	second := who(v.Submit(p, "decision", "allow"))
	if second["sub"] != first["sub"] || second["email"] != "alice@example.com" || second["at_hash"] != true {
		t.Errorf("signed in as %v", second)
	}
	if third := who(v.Open(plays.URL + "/login")); third["sub"] != first["sub"] {
		t.Errorf("signed in as %v", third)
	}
}

func withRS256(s *config.Settings) {
	patient(s)
	s.SigningAlgorithms = []string{"ES256", "RS256"}
}
