package api

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
)

// profile is what the Login API tells users about themselves.
type profile struct {
	ID       string `json:"id"`
	Username string `json:"username"`
	Email    string `json:"email,omitempty"`
	// Registered is in RFC 3339's form.
	Registered time.Time `json:"registered"`
}

func newProfile(p authority.Profile) profile {
	return profile{ID: p.ID, Username: p.Username, Email: p.Email, Registered: p.Registered.UTC()}
}

// showMe answers a user's access token with the profile of its user.
func (s *Server) showMe(c echo.Context) error {
	claims, err := s.bearer(c)
	if err != nil {
		return err
	}
	p, err := s.authority.Profile(c.Request().Context(), claims.Subject)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, newProfile(p))
}
