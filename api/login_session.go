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
// the token comes from and of the browser's, with all of everything. A browser
// where somebody else is signed in keeps its session.
func (s *Server) loginLogout(c echo.Context) error {
	f, refusal := parseQuery(c.Request())
	if refusal != nil {
		return asError(refusal)
	}
	claims, err := s.personBearer(c)
	if err != nil {
		return err
	}
	sessions, refusal := f.require("sessions")
	if refusal != nil {
		return asError(refusal)
	}
	here, err := s.session(c)
	if err != nil && !isNoSession(err) {
		return err
	}
	ours := here == nil || here.User.ID == claims.User
	switch sessions {
	case "sso":
		err = s.signOut(c, claims.Session)
	case "all":
		_, err = s.authority.CutOffUser(c.Request().Context(), claims.User, events.ReasonUserRequest, caller(c))
	default:
		err = asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "sessions"})
	}
	if err == nil && ours && here != nil {
		err = s.authority.EndSession(c.Request().Context(), here, events.ReasonUserRequest, caller(c))
	}
	if err != nil {
		return err
	}
	if ours {
		s.setCookie(c, sessionCookie, "", time.Unix(1, 0))
	}
	return c.NoContent(http.StatusNoContent)
}

// signOut ends a session, if there is one and it has not ended.
func (s *Server) signOut(c echo.Context, id events.SessionID) error {
	if id.IsZero() {
		return nil
	}
	auth, err := s.authority.SessionByID(c.Request().Context(), id)
	if isNoSession(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.authority.EndSession(c.Request().Context(), auth, events.ReasonUserRequest, caller(c))
}
