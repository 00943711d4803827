package api_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/pkg/client"
	"github.com/zitadel/oidc/v3/pkg/client/rs"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
)

// issuerClient is an HTTP client for which the issuer's address, which all
// endpoints of the metadata have, is where r listens.
func issuerClient(t *testing.T, r *apitest.Replica) *http.Client {
	t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(r.URL, "http://"))
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// using makes x/oauth2 use an HTTP client.
func using(t *testing.T, c *http.Client) context.Context {
	t.Helper()
	return context.WithValue(t.Context(), oauth2.HTTPClient, c)
}

// discovered is the metadata as an independent client reads it.
func discovered(t *testing.T, c *http.Client) *oidc.DiscoveryConfiguration {
	t.Helper()
	found, err := client.Discover(t.Context(), apitest.Issuer, c, apitest.Issuer+metadataPath)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestOAuth2Client drives the server with golang.org/x/oauth2: code with PKCE,
// exchange, refreshes, and the errors it reads.
func TestOAuth2Client(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := issuerClient(t, r)
	found := discovered(t, c)
	for name, config := range map[string]oauth2.Config{
		"header": {ClientID: apitest.DemoWeb.ID, ClientSecret: apitest.DemoWeb.Secret, Endpoint: oauth2.Endpoint{AuthStyle: oauth2.AuthStyleInHeader}},
		"params": {ClientID: apitest.DemoWeb.ID, ClientSecret: apitest.DemoWeb.Secret, Endpoint: oauth2.Endpoint{AuthStyle: oauth2.AuthStyleInParams}},
		"detect": {ClientID: apitest.DemoWeb.ID, ClientSecret: apitest.DemoWeb.Secret},
		"public": {ClientID: apitest.DemoSPA.ID, Endpoint: oauth2.Endpoint{AuthStyle: oauth2.AuthStyleInParams}},
	} {
		t.Run(name, func(t *testing.T) {
			config.Endpoint.AuthURL, config.Endpoint.TokenURL = r.URL+loginPath, found.TokenEndpoint
			config.RedirectURL, config.Scopes = authority.DemoRedirect, []string{"read", "offline_access"}
			verifier := oauth2.GenerateVerifier()
			// The call that logs in takes the query of an authorization request.
			login := config.AuthCodeURL("a-state-of-16-ch", oauth2.S256ChallengeOption(verifier))
			code := apitest.CodeOf(t, r.JSON(t, strings.TrimPrefix(login, r.URL), alice))

			first, err := config.Exchange(using(t, c), code, oauth2.VerifierOption(verifier))
			if err != nil {
				t.Fatal(err)
			}
			if first.Type() != "Bearer" || first.Extra("scope") != "read offline_access" || !first.Valid() {
				t.Errorf("%s token for %v until %v", first.Type(), first.Extra("scope"), first.Expiry)
			}
			_, err = config.Exchange(using(t, c), code, oauth2.VerifierOption(verifier))
			wantRetrieveError(t, err, "invalid_grant")

			first.Expiry = time.Now().Add(-time.Minute)
			second, err := config.TokenSource(using(t, c), first).Token()
			if err != nil {
				t.Fatal(err)
			}
			if second.RefreshToken == first.RefreshToken || second.AccessToken == first.AccessToken {
				t.Error("nothing new was issued")
			}
			if !r.Active(t, second.AccessToken) {
				t.Error("the refreshed token is not active")
			}
			// Another process with the same stored token.
			again, err := config.TokenSource(using(t, c), first).Token()
			if err != nil || again.RefreshToken != second.RefreshToken {
				t.Errorf("a retry: %v", err)
			}
			config.ClientID = "nobody"
			_, err = config.TokenSource(using(t, c), first).Token()
			wantRetrieveError(t, err, "invalid_client")
		})
	}
}

func wantRetrieveError(t *testing.T, err error, code string) {
	t.Helper()
	told := new(oauth2.RetrieveError)
	if !errors.As(err, &told) || told.ErrorCode != code || told.ErrorDescription == "" {
		t.Errorf("error %v, want %s", err, code)
	}
}

// TestOAuth2ClientCredentials is the same for a client that asks for itself.
func TestOAuth2ClientCredentials(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := issuerClient(t, r)
	for name, style := range map[string]oauth2.AuthStyle{
		"header": oauth2.AuthStyleInHeader, "params": oauth2.AuthStyleInParams, "detect": oauth2.AuthStyleAutoDetect,
	} {
		t.Run(name, func(t *testing.T) {
			config := clientcredentials.Config{
				ClientID: apitest.DemoService.ID, ClientSecret: apitest.DemoService.Secret,
				TokenURL: discovered(t, c).TokenEndpoint, Scopes: []string{"read"}, AuthStyle: style,
			}
			token, err := config.Token(using(t, c))
			if err != nil {
				t.Fatal(err)
			}
			if token.RefreshToken != "" || token.Extra("scope") != "read" || !r.Active(t, token.AccessToken) {
				t.Errorf("scope %v, refresh token %t", token.Extra("scope"), token.RefreshToken != "")
			}
			config.Scopes = []string{"root"}
			_, err = config.Token(using(t, c))
			wantRetrieveError(t, err, "invalid_scope")
		})
	}
}

// TestResourceServerClient introspects with zitadel/oidc, as a resource server
// would, at the endpoint that the metadata names.
func TestResourceServerClient(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := issuerClient(t, r)
	found := discovered(t, c)
	server := func(as apitest.Client) rs.ResourceServer {
		// It looks only for OpenID Connect's metadata by itself.
		s, err := rs.NewResourceServerClientCredentials(t.Context(), apitest.Issuer, as.ID, as.Secret,
			rs.WithClient(c), rs.WithStaticEndpoints(found.TokenEndpoint, found.IntrospectionEndpoint))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	tokens := r.Tokens(t, apitest.DemoWeb, "read offline_access")
	access := tokens.Text("access_token")

	told, err := rs.Introspect[*oidc.IntrospectionResponse](t.Context(), server(apitest.DemoService), access)
	if err != nil {
		t.Fatal(err)
	}
	claims := apitest.Claims(t, access)
	if !told.Active || told.Subject != claims["sub"] || told.ClientID != apitest.DemoWeb.ID || told.JWTID != claims["jti"] ||
		told.Issuer != apitest.Issuer || strings.Join(told.Scope, " ") != "read offline_access" ||
		float64(told.Expiration.AsTime().Unix()) != claims["exp"] {
		t.Errorf("told %+v of %v", told, claims)
	}
	if len(told.Audience) != 1 || told.Audience[0] != apitest.Issuer {
		t.Errorf("audience %q", told.Audience)
	}
	for what, ask := range map[string]struct {
		as    apitest.Client
		token string
	}{
		"garbage":                       {apitest.DemoService, "garbage"},
		"a token of somebody else's":    {register(t, r, nil), access},
		"a token that has been revoked": {apitest.DemoService, revokedToken(t, r)},
	} {
		told, err := rs.Introspect[*oidc.IntrospectionResponse](t.Context(), server(ask.as), ask.token)
		if err != nil || told.Active || told.Subject != "" {
			t.Errorf("%s: %+v, %v", what, told, err)
		}
	}
	wrong := apitest.Client{ID: apitest.DemoService.ID, Secret: "wrong"}
	if _, err := rs.Introspect[*oidc.IntrospectionResponse](t.Context(), server(wrong), access); err == nil {
		t.Error("a wrong secret was let in")
	}
}

func revokedToken(t *testing.T, r *apitest.Replica) string {
	t.Helper()
	tokens := r.Tokens(t, apitest.DemoWeb, "read")
	revoke(t, r, apitest.DemoWeb, tokens.Text("access_token"))
	return tokens.Text("access_token")
}
