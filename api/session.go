package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// The session's cookie. With https its name keeps other hosts of the domain
// from planting one (RFC 6265bis §4.1.3.2).
const (
	sessionCookie         = "__Host-chancery-session"
	loopbackSessionCookie = "chancery-session"
)

// signIn opens the session of a user who has just authenticated, always a new
// one, and ends the one that the browser came with: nobody who knew that may
// know this.
func (s *Server) signIn(c echo.Context, user fold.User, methods ...string) (*authority.Authentication, error) {
	ctx := c.Request().Context()
	auth, text, err := s.authority.OpenSession(ctx, user, methods, "", caller(c))
	if err != nil {
		return nil, err
	}
	s.setSessionCookie(c, text, time.Unix(auth.Session.Expires, 0))
	before, err := s.session(c)
	if err == nil {
		err = s.authority.EndSession(ctx, before, events.ReasonSignedInAgain, caller(c))
	}
	if err != nil && !isNoSession(err) {
		s.parts.Logger.Warn("the session before was not ended", "request", requestID(c), "error", err)
	}
	return auth, nil
}

// session is who is signed in at the browser. The refusal is
// authority.NoSession.
func (s *Server) session(c echo.Context) (*authority.Authentication, error) {
	cookies := c.Request().CookiesNamed(s.sessionCookieName())
	if len(cookies) != 1 {
		return nil, asError(&rules.Refusal{Reason: authority.NoSession, Detail: "not exactly one cookie"})
	}
	return s.authority.Session(c.Request().Context(), cookies[0].Value)
}

func isNoSession(err error) bool { return isRefusal(err, authority.NoSession) }

func (s *Server) isSecure() bool {
	return !strings.HasPrefix(s.parts.Settings.Issuer, "http://")
}

func (s *Server) sessionCookieName() string {
	if s.isSecure() {
		return sessionCookie
	}
	return loopbackSessionCookie
}

// setSessionCookie sets the cookie, or with a time that is past drops it.
func (s *Server) setSessionCookie(c echo.Context, text string, expires time.Time) {
	c.SetCookie(&http.Cookie{ //nolint:gosec // Secure but for an issuer on loopback
		Name: s.sessionCookieName(), Value: text, Path: "/", Expires: expires,
		HttpOnly: true, Secure: s.isSecure(), SameSite: http.SameSiteLaxMode,
	})
}
