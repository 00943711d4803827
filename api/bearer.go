package api

import (
	"errors"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/rules"
)

// bearer is what the access token of a user says that came with a request, in
// the Authorization header and nowhere else (RFC 6750 §2). It says who asks: the
// user, by the token's client, whose origins may read the answer.
func (s *Server) bearer(c echo.Context) (jose.Claims, error) {
	token, refusal := bearerToken(c.Request().Header.Values(echo.HeaderAuthorization))
	if refusal != nil {
		return jose.Claims{}, challenged(c, asError(refusal))
	}
	claims, err := s.authority.Bearer(c.Request().Context(), token)
	if err != nil {
		return jose.Claims{}, challenged(c, err)
	}
	s.forClient(c, claims.ClientID)
	return claims, nil
}

// personBearer is bearer for what only the installation's own clients do in a
// person's name: a token of another's opens no more than people agreed to.
func (s *Server) personBearer(c echo.Context) (jose.Claims, error) {
	claims, err := s.bearer(c)
	if err != nil {
		return claims, err
	}
	client, err := s.authority.Client(claims.ClientID)
	if err != nil {
		return claims, err
	}
	return claims, asError(rules.CheckFirstParty(client))
}

// bearerToken reads the token of Authorization headers. Another scheme is none:
// here nobody is let in by it.
func bearerToken(headers []string) (string, *rules.Refusal) {
	if len(headers) > 1 {
		return "", &rules.Refusal{Reason: duplicateParameter, Parameter: "authorization"}
	}
	if len(headers) == 0 {
		return "", &rules.Refusal{Reason: bearerRequired}
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", &rules.Refusal{Reason: bearerRequired, Detail: "another scheme"}
	}
	return strings.Trim(token, " "), nil // RFC 9110 §11.4: 1*SP
}

// challenged says with an error what would do (RFC 6750 §3). Who sent no token
// is told no error code, and whoever may just come again, nothing.
func challenged(c echo.Context, err error) error {
	challenge := `Bearer realm="chancery"`
	var refusal *rules.Refusal
	if !errors.As(err, &refusal) || refusal.Reason == authority.Unavailable {
		return err
	}
	if refusal.Reason != bearerRequired {
		challenge += `, error="` + answers[refusal.Reason].code + `"`
	}
	if refusal.Reason == rules.InsufficientScope {
		challenge += `, scope="` + rules.ScopeOpenID + `"`
	}
	c.Response().Header().Set(echo.HeaderWWWAuthenticate, challenge)
	return err
}
