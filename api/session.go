package api

import (
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// sessionCookie holds what proves a session.
const sessionCookie = "chancery-session"

// signIn opens the session of a user who has just authenticated, always a new
// one, and ends the one that the browser came with: nobody who knew that may
// know this.
func (s *Server) signIn(c echo.Context, user fold.User, methods ...string) (*authority.Authentication, error) {
	ctx := c.Request().Context()
	auth, text, err := s.authority.OpenSession(ctx, user, methods, "", caller(c))
	if err != nil {
		return nil, err
	}
	s.signedIn(c, text, time.Unix(auth.Session.Expires, 0))
	return auth, nil
}

// signInAccepted opens the session of a login that was accepted.
func (s *Server) signInAccepted(c echo.Context, l authority.AcceptedLogin) error {
	if current, err := s.session(c); err == nil && current.Session.ID == l.Session {
		return nil // the person has loaded the page again
	}
	auth, text, err := s.authority.SignInAccepted(c.Request().Context(), l, caller(c))
	if err != nil {
		return err
	}
	expires := time.Unix(auth.Session.Expires, 0)
	if l.Forget {
		expires = time.Time{}
	}
	s.signedIn(c, text, expires)
	return nil
}

// signedIn gives a browser its new session and ends the one that it came with.
func (s *Server) signedIn(c echo.Context, text string, expires time.Time) {
	ctx := c.Request().Context()
	s.setCookie(c, sessionCookie, text, expires)
	before, err := s.session(c)
	if err == nil {
		err = s.authority.EndSession(ctx, before, events.ReasonSignedInAgain, caller(c))
	}
	if err != nil && !isNoSession(err) {
		s.log(c).Warn("the session before was not ended", "error", err)
	}
}

// session is who is signed in at the browser. The refusal is
// authority.NoSession.
func (s *Server) session(c echo.Context) (*authority.Authentication, error) {
	cookies := c.Request().CookiesNamed(s.cookieName(sessionCookie))
	if len(cookies) != 1 {
		return nil, asError(&rules.Refusal{Reason: authority.NoSession, Detail: "not exactly one cookie"})
	}
	return s.authority.Session(c.Request().Context(), cookies[0].Value)
}

func isNoSession(err error) bool { return isRefusal(err, authority.NoSession) }

func (s *Server) isSecure() bool {
	return !strings.HasPrefix(s.settings.Get().Issuer, "http://")
}
