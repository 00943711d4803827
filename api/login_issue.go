package api

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
)

// loginTokens is the Login API's answer with tokens. Its clients want a scope
// in every one, and do not know issued_token_type.
type loginTokens struct {
	AccessToken  string `json:"access_token"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	Scope        string `json:"scope"`
	TokenType    string `json:"token_type"`
}

func newLoginTokens(t *authority.Tokens) loginTokens {
	return loginTokens{
		AccessToken:  t.AccessToken,
		ExpiresIn:    t.ExpiresIn,
		RefreshToken: t.RefreshToken,
		IDToken:      t.IDToken,
		Scope:        strings.Join(t.Scope, " "),
		TokenType:    "bearer",
	}
}

// loginIssue is the Login API's token endpoint. It decides as the one of the RFCs
// does, and wants client_id in the body beside a Basic credential too.
func (s *Server) loginIssue(c echo.Context) error {
	f, refusal := parseForm(c.Response(), c.Request())
	if refusal != nil {
		return asError(refusal)
	}
	if _, refusal = f.require("client_id"); refusal != nil {
		return asError(refusal)
	}
	tokens, err := s.issue(c, f, authority.TokenRequest{LoginClaims: true})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, newLoginTokens(tokens))
}
