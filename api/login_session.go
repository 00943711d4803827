package api

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
)

// loginSSO answers with a code for who has a session at this browser.
func (s *Server) loginSSO(c echo.Context) error {
	location, err := s.codeBySession(c)
	if err != nil {
		return err
	}
	return answerLoginURL(c, location)
}

// loginAuth is loginSSO for a browser that is sent here itself.
func (s *Server) loginAuth(c echo.Context) error {
	location, err := s.codeBySession(c)
	if err != nil {
		return err
	}
	return c.Redirect(http.StatusFound, location)
}

func (s *Server) codeBySession(c echo.Context) (location string, err error) {
	request, state, err := s.codeRequest(c)
	if err != nil {
		return "", err
	}
	auth, err := s.session(c)
	if err != nil {
		return "", err
	}
	asked, err := s.authority.CheckCodeRequest(request)
	if err != nil {
		return "", err
	}
	consented, err := s.authority.Consented(c.Request().Context(), request.Client, auth.User.ID, asked)
	if err != nil {
		return "", err
	}
	if !consented {
		return "", asError(&rules.Refusal{Reason: rules.ConsentRequired})
	}
	request.ByConsent = true
	return s.authorizeCode(c, request, state, auth)
}

// loginLogout signs the token's user out: with sessions=sso of the session that
// the token comes from and of the browser's, with all of everything.
func (s *Server) loginLogout(c echo.Context) error {
	f, refusal := parseQuery(c.Request())
	if refusal != nil {
		return asError(refusal)
	}
	claims, err := s.bearer(c)
	if err != nil {
		return err
	}
	sessions, refusal := f.require("sessions")
	if refusal != nil {
		return asError(refusal)
	}
	switch sessions {
	case "sso":
		err = s.signOut(c, claims.User, claims.Session)
	case "all":
		_, err = s.authority.CutOffUser(c.Request().Context(), claims.User, events.ReasonUserRequest, caller(c))
	default:
		err = asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "sessions"})
	}
	if err != nil {
		return err
	}
	s.setCookie(c, sessionCookie, "", time.Unix(1, 0))
	return c.NoContent(http.StatusNoContent)
}

// signOut ends a session of a user, if there is one, and the browser's if it is
// the same user's.
func (s *Server) signOut(c echo.Context, user string, id events.SessionID) error {
	ctx := c.Request().Context()
	if !id.IsZero() {
		auth, err := s.authority.SessionByID(ctx, id)
		if err == nil {
			err = s.authority.EndSession(ctx, auth, events.ReasonUserRequest, caller(c))
		}
		if err != nil && !isNoSession(err) {
			return err
		}
	}
	auth, err := s.session(c)
	switch {
	case isNoSession(err):
		return nil
	case err != nil:
		return err
	case auth.User.ID != user:
		return nil
	}
	return s.authority.EndSession(ctx, auth, events.ReasonUserRequest, caller(c))
}
