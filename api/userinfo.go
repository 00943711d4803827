package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/rules"
)

// userInfo are the claims about a person (OIDC Core §5.1). What is not known, or
// not asked for by a scope, is left out.
type userInfo struct {
	Subject string `json:"sub"`

	Name              string `json:"name,omitempty"`
	GivenName         string `json:"given_name,omitempty"`
	FamilyName        string `json:"family_name,omitempty"`
	Nickname          string `json:"nickname,omitempty"`
	PreferredUsername string `json:"preferred_username,omitempty"`
	Birthdate         string `json:"birthdate,omitempty"`

	Email string `json:"email,omitempty"`
	// EmailVerified goes with Email.
	EmailVerified *bool `json:"email_verified,omitempty"`
}

// answerUserInfo is the UserInfo endpoint (OIDC Core §5.3). A POST has its token
// in the header too, and its body is not read.
func (s *Server) answerUserInfo(c echo.Context) error {
	claims, err := s.bearer(c)
	if err != nil {
		return err
	}
	if refusal := rules.CheckUserInfo(claims.Scope); refusal != nil {
		return challenged(c, asError(refusal))
	}
	var p authority.Profile
	if rules.AsksForPerson(claims.Scope) {
		p, err = s.authority.Profile(c.Request().Context(), claims.User)
		if err != nil && !isRefusal(err, authority.NoSuchUser) { // of the erased only the sub is left
			return err
		}
	}
	return c.JSON(http.StatusOK, newUserInfo(claims, p))
}

// newUserInfo is what the token's scopes tell of a person (OIDC Core §5.4).
// Nothing verifies e-mail addresses yet.
func newUserInfo(claims jose.Claims, p authority.Profile) userInfo {
	told := userInfo{Subject: claims.Subject}
	if slices.Contains(claims.Scope, rules.ScopeProfile) {
		told.Name = strings.TrimSpace(p.FirstName + " " + p.LastName)
		told.GivenName, told.FamilyName, told.Nickname = p.FirstName, p.LastName, p.Nickname
		told.PreferredUsername, told.Birthdate = p.Username, p.Birthday
	}
	if slices.Contains(claims.Scope, rules.ScopeEmail) && p.Email != "" {
		told.Email, told.EmailVerified = p.Email, new(bool)
	}
	return told
}
