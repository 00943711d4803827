package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// tokenResponse is RFC 6749 §5.1's.
type tokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"` // OIDC Core §3.1.3.3
	Scope        string `json:"scope,omitempty"`
	// IssuedTokenType is RFC 8693 §2.2.1's.
	IssuedTokenType string `json:"issued_token_type,omitempty"`
}

func newTokenResponse(t *authority.Tokens) tokenResponse {
	return tokenResponse{
		AccessToken:  t.AccessToken,
		TokenType:    "Bearer",
		ExpiresIn:    t.ExpiresIn,
		RefreshToken: t.RefreshToken,
		IDToken:      t.IDToken,
		Scope:        strings.Join(t.Scope, " "),

		IssuedTokenType: t.Type,
	}
}

// A grantHandler answers one grant type of an authenticated client.
type grantHandler func(ctx context.Context, a *authority.Authority, r authority.TokenRequest, f form) (*authority.Tokens, error)

var grantHandlers = map[string]grantHandler{
	rules.GrantAuthorizationCode: redeemCode,
	rules.GrantRefreshToken:      refresh,
	rules.GrantClientCredentials: clientCredentials,
	rules.GrantTokenExchange:     exchangeToken,
	rules.GrantDeviceCode:        pollDevice,
}

// token is the token endpoint (RFC 6749 §3.2).
func (s *Server) token(c echo.Context) error {
	f, refusal := parseForm(c.Response(), c.Request())
	if refusal != nil {
		return asError(refusal)
	}
	tokens, err := s.issue(c, f, authority.TokenRequest{})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, newTokenResponse(tokens))
}

// issue answers a token request in either dialect, which has set what is its own
// in it. The client is authenticated before anything that can change a grant.
func (s *Server) issue(c echo.Context, f form, request authority.TokenRequest) (*authority.Tokens, error) {
	seen(c).GrantType = asked(f)
	if f.get("grant_type") == rules.GrantAuthorizationCode {
		c.Set(noRetry, true)
	}
	client, err := s.authenticate(c, f)
	if err != nil {
		s.refused(c, asked(f), false, err)
		return nil, err
	}
	request.Client, request.Caller = client, caller(c)
	tokens, err := s.grant(c, f, request)
	if err != nil {
		s.refused(c, asked(f), true, err)
	}
	return tokens, err
}

// asked is the grant type of a token request, if there is such a one.
func asked(f form) string {
	grantType := rules.CanonicalGrantType(f.get("grant_type"))
	if _, ok := grantHandlers[grantType]; !ok {
		return "token"
	}
	return grantType
}

// grant answers a token request of an authenticated client.
func (s *Server) grant(c echo.Context, f form, request authority.TokenRequest) (*authority.Tokens, error) {
	grantType, refusal := f.require("grant_type")
	if refusal != nil {
		return nil, asError(refusal)
	}
	grantType = rules.CanonicalGrantType(grantType)
	handle, ok := grantHandlers[grantType]
	if !ok {
		return nil, asError(&rules.Refusal{Reason: unsupportedGrantType, Parameter: "grant_type"})
	}
	if refusal := rules.CheckGrantType(request.Client, grantType); refusal != nil {
		return nil, asError(refusal)
	}
	if request.Scope, request.Audience, refusal = targets(f); refusal != nil {
		return nil, asError(refusal)
	}
	tokens, err := handle(c.Request().Context(), s.authority, request, f)
	return tokens, targetAsSent(err, f)
}

// targets are what a request narrows its answer to: scope, and audience by
// RFC 8707's resource or by name.
func targets(f form) (scope, audience []string, refusal *rules.Refusal) {
	if scope, refusal = rules.ParseScope(f.get("scope")); refusal != nil {
		return nil, nil, refusal
	}
	for _, r := range f.all("resource") {
		if refusal = rules.ParseResource(r); refusal != nil {
			return nil, nil, refusal
		}
		audience = append(audience, r)
	}
	for _, a := range f.all("audience") {
		audience = append(audience, strings.Fields(a)...)
	}
	return scope, audience, nil
}

// targetAsSent names audience where a refused target was asked for by it: the
// rules see one list.
func targetAsSent(err error, f form) error {
	var refusal *rules.Refusal
	if !errors.As(err, &refusal) || refusal.Parameter != "resource" ||
		len(f.all("audience")) == 0 || len(f.all("resource")) > 0 {
		return err
	}
	named := *refusal
	named.Parameter = "audience"
	return asError(&named)
}

func redeemCode(ctx context.Context, a *authority.Authority, r authority.TokenRequest, f form) (*authority.Tokens, error) {
	code, refusal := f.require("code")
	if refusal != nil {
		return nil, refusal
	}
	verifier := f.get("code_verifier")
	if refusal := rules.ParseVerifier(verifier); refusal != nil {
		return nil, refusal
	}
	return a.RedeemCode(ctx, r, code, f.get("redirect_uri"), verifier)
}

func refresh(ctx context.Context, a *authority.Authority, r authority.TokenRequest, f form) (*authority.Tokens, error) {
	token, refusal := f.require("refresh_token")
	if refusal != nil {
		return nil, refusal
	}
	return a.Refresh(ctx, r, token)
}

func clientCredentials(ctx context.Context, a *authority.Authority, r authority.TokenRequest, _ form) (*authority.Tokens, error) {
	return a.ClientCredentials(ctx, r)
}

// pollDevice is a device access token request (RFC 8628 §3.4).
func pollDevice(ctx context.Context, a *authority.Authority, r authority.TokenRequest, f form) (*authority.Tokens, error) {
	code, refusal := f.require("device_code")
	if refusal != nil {
		return nil, refusal
	}
	return a.PollDevice(ctx, r, code)
}

// exchangeToken is a token exchange (RFC 8693 §2.1).
func exchangeToken(ctx context.Context, a *authority.Authority, r authority.TokenRequest, f form) (*authority.Tokens, error) {
	subject, refusal := f.require("subject_token")
	if refusal != nil {
		return nil, refusal
	}
	actor, actorType := f.get("actor_token"), f.get("actor_token_type")
	if refusal := rules.CheckExchangeTypes(rules.ExchangeTypes{
		Subject: f.get("subject_token_type"), Requested: f.get("requested_token_type"), Actor: actorType, HasActor: actor != "",
	}); refusal != nil {
		return nil, refusal
	}
	return a.ExchangeToken(ctx, authority.ExchangeRequest{
		TokenRequest: r, SubjectToken: subject, ActorToken: actor, ActorType: actorType,
	})
}

// clientAndToken reads a request about a token (RFC 7009 §2.1, RFC 7662 §2.1).
// token_type_hint is only a hint, and the token tells what it is.
func (s *Server) clientAndToken(c echo.Context, what string) (client fold.Client, token string, err error) {
	f, refusal := parseForm(c.Response(), c.Request())
	if refusal != nil {
		return client, "", asError(refusal)
	}
	if client, err = s.authenticate(c, f); err != nil {
		s.refused(c, what, false, err)
		return client, "", err
	}
	if token, refusal = f.require("token"); refusal != nil {
		s.refused(c, what, true, refusal)
	}
	return client, token, asError(refusal)
}

// revoke is the revocation endpoint (RFC 7009). 200 means durable.
func (s *Server) revoke(c echo.Context) error {
	client, token, err := s.clientAndToken(c, "revocation")
	if err != nil {
		return err
	}
	if err := s.authority.Revoke(c.Request().Context(), client, token, caller(c)); err != nil {
		s.refused(c, "revocation", true, err)
		return err
	}
	return c.NoContent(http.StatusOK)
}

// introspection is RFC 7662 §2.2's answer about an active token.
type introspection struct {
	Active    bool     `json:"active"`
	Scope     string   `json:"scope,omitempty"`
	ClientID  string   `json:"client_id,omitempty"`
	TokenType string   `json:"token_type,omitempty"`
	Exp       int64    `json:"exp,omitempty"`
	Iat       int64    `json:"iat,omitempty"`
	Sub       string   `json:"sub,omitempty"`
	Aud       []string `json:"aud,omitempty"`
	Iss       string   `json:"iss,omitempty"`
	JTI       string   `json:"jti,omitempty"`
	AuthTime  int64    `json:"auth_time,omitempty"`
	Grant     string   `json:"grant,omitempty"`
	// Act and MayAct are RFC 8693 §4.1's and §4.4's.
	Act    *events.Actor     `json:"act,omitempty"`
	MayAct map[string]string `json:"may_act,omitempty"`
}

// introspect is the introspection endpoint (RFC 7662).
func (s *Server) introspect(c echo.Context) error {
	client, token, err := s.clientAndToken(c, "introspection")
	if err != nil {
		return err
	}
	found, err := s.authority.Introspect(c.Request().Context(), client, token)
	s.introspected(found, err)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, newIntrospection(found))
}

func newIntrospection(i *authority.Introspection) introspection {
	if i == nil {
		return introspection{}
	}
	told := introspection{
		Active: true, Scope: strings.Join(i.Scope, " "), ClientID: i.ClientID, TokenType: "Bearer",
		Exp: i.Expires, Iat: i.IssuedAt, Sub: i.Subject, Aud: i.Audience, Iss: i.Issuer, JTI: i.JTI, AuthTime: i.AuthTime,
		Act: i.Act, MayAct: i.MayAct,
	}
	if !i.Grant.IsZero() {
		told.Grant = i.Grant.String()
	}
	if i.Refresh {
		told.TokenType = ""
	}
	return told
}
