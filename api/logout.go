package api

import (
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/pages"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
)

// The end-session endpoint and the page that asks, below the issuer.
const (
	logoutPage  = "/oauth2/logout"
	signOutPage = "/oauth2/sign-out"
)

// Values of the decision that the form of the logout page is sent with.
const (
	decisionSignOut = "sign_out"
	decisionStay    = "stay"
)

// endSession is where clients send people to be signed out (OpenID Connect
// RP-Initiated Logout 1.0 §2). Nobody is signed out unasked but by a client that
// shows an ID token of the session, and nobody is sent anywhere but to an
// address that the client has registered.
func (s *Server) endSession(c echo.Context) error {
	l, err := s.logoutRequest(c)
	if err != nil {
		return err
	}
	if c.Request().Method == http.MethodPost {
		// From another site only a GET brings our cookies.
		return s.logoutAgain(c, l)
	}
	auth, err := s.session(c)
	switch {
	case isNoSession(err):
		return s.loggedOut(c, l)
	case err != nil:
		return err
	case l.IsOf(auth):
		return s.logOut(c, l, auth)
	}
	return s.askLogout(c, l, auth)
}

// logoutRequest reads the request, or the one that a POST was, which comes again
// with a GET.
func (s *Server) logoutRequest(c echo.Context) (l authority.Logout, err error) {
	f, refusal := authorizeParameters(c.Response(), c.Request())
	if refusal == nil {
		refusal = checkValues(f.values)
	}
	for _, name := range []string{"state", "ui_locales"} {
		if refusal == nil && utf8.RuneCountInString(f.get(name)) > maxPlain {
			refusal = &rules.Refusal{Reason: rules.BadParameter, Parameter: name, Detail: "too long"}
		}
	}
	if refusal != nil {
		return l, asError(refusal)
	}
	if text := f.get("request"); text != "" {
		return s.authority.OpenLogout(text)
	}
	return s.authority.CheckLogout(c.Request().Context(), authority.LogoutRequest{
		IDTokenHint: f.get("id_token_hint"), Client: f.get("client_id"), RedirectURI: f.get("post_logout_redirect_uri"),
		State: f.get("state"), UILocales: f.get("ui_locales"),
	})
}

func (s *Server) logoutAgain(c echo.Context, l authority.Logout) error {
	text, err := s.authority.SealLogout(l)
	if err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, s.pageURL(logoutPage, text))
}

// askLogout asks whether to sign out.
func (s *Server) askLogout(c echo.Context, l authority.Logout, auth *authority.Authentication) error {
	text, err := s.authority.SealLogout(l)
	if err != nil {
		return err
	}
	profile, err := s.authority.Profile(c.Request().Context(), auth.User.ID)
	if err != nil {
		return err
	}
	var asks pages.Client
	if client, err := s.authority.Client(l.Client); err == nil {
		asks = pages.Client{ID: client.ID, Name: client.Name}
	}
	return s.write(c, http.StatusOK, l.UILocales, pages.Logout{
		Form:   pages.Form{Action: s.basePath() + signOutPage, Request: text, CSRF: s.csrf(c), ToClient: l.Target != ""},
		Client: asks, Username: profile.Username,
	})
}

// signOutByForm takes the answer to askLogout. Who stays is not sent to the
// client, which would take them for signed out.
func (s *Server) signOutByForm(c echo.Context) error {
	f, err := s.posted(c)
	if err != nil {
		return err
	}
	l, err := s.authority.OpenLogout(f.get("request"))
	if err != nil {
		return err
	}
	switch f.get("decision") {
	case decisionStay:
		return c.Redirect(http.StatusSeeOther, s.basePath()+accountPage)
	case decisionSignOut:
	default:
		return asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "decision"})
	}
	auth, err := s.session(c)
	if isNoSession(err) {
		return s.loggedOut(c, l)
	}
	if err != nil {
		return err
	}
	return s.logOut(c, l, auth)
}

// logOut ends the session, and tells the person once that is in the log.
func (s *Server) logOut(c echo.Context, l authority.Logout, auth *authority.Authentication) error {
	if err := s.authority.EndSession(c.Request().Context(), auth, events.ReasonUserRequest, caller(c)); err != nil {
		return err
	}
	return s.loggedOut(c, l)
}

func (s *Server) loggedOut(c echo.Context, l authority.Logout) error {
	s.setCookie(c, sessionCookie, "", time.Unix(1, 0))
	if l.Target == "" {
		return s.write(c, http.StatusOK, l.UILocales, pages.LoggedOut{LoginURL: s.basePath() + loginPage})
	}
	var fields []pages.Field
	if l.State != "" {
		fields = append(fields, pages.Field{Name: "state", Value: l.State})
	}
	location, err := withParameters(l.Target, fields)
	if err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, location)
}
