package api

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/pages"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
)

// decisionEverywhere is a button of the account page.
const decisionEverywhere = "sign_out_everywhere"

// notices are what the account page may be asked to say.
var notices = []pages.Notice{pages.SessionEnded, pages.ApplicationRevoked}

// showAccount tells who is signed in where they are, and what has access.
func (s *Server) showAccount(c echo.Context) error {
	auth, err := s.session(c)
	if isNoSession(err) {
		return s.signInFirst(c, s.basePath()+accountPage)
	}
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	profile, err := s.authority.Profile(ctx, auth.User.ID)
	if err != nil {
		return err
	}
	account, err := s.authority.Account(ctx, auth.User)
	if err != nil {
		return err
	}
	page := pages.Account{
		Form: pages.Form{Action: s.basePath() + accountPage, CSRF: s.csrf(c)}, Username: profile.Username,
		Sessions: s.shownSessions(c, auth, account.Sessions), Applications: shownApplications(account.Applications), Now: s.feed.Now(0),
	}
	if done := pages.Notice(c.QueryParam("done")); slices.Contains(notices, done) {
		page.Notice = done
	}
	return s.write(c, http.StatusOK, "", page)
}

// shownSessions has this session first, also where it is not folded yet.
func (s *Server) shownSessions(c echo.Context, auth *authority.Authentication, sessions []authority.SignedIn) []pages.Session {
	current := authority.SignedIn{Session: auth.Session}
	others := slices.DeleteFunc(sessions, func(s authority.SignedIn) bool { return s.ID == current.ID })
	sessions = slices.Concat([]authority.SignedIn{current}, others)
	s.authority.TellAgents(c.Request().Context(), auth.User.ID, sessions)
	var shown []pages.Session
	for _, one := range sessions {
		shown = append(shown, pages.Session{
			ID: one.ID.String(), UserAgent: one.UserAgent, Since: one.OpenedAt, Current: one.ID == current.ID,
		})
	}
	return shown
}

func shownApplications(applications []authority.Application) []pages.Application {
	var shown []pages.Application
	for _, one := range applications {
		shown = append(shown, pages.Application{
			ID: one.Client.ID, Client: pages.Client{ID: one.Client.ID, Name: one.Client.Name},
			Scopes: slices.DeleteFunc(slices.Clone(one.Scope), isRepeatedOffline(one.Scope)), Since: one.Since, LastUsed: one.LastUsed,
		})
	}
	return shown
}

// changeAccount does what a button of the account page says, and shows it again
// when that is durable.
func (s *Server) changeAccount(c echo.Context) error {
	f, err := s.posted(c)
	if err != nil {
		return err
	}
	auth, err := s.session(c)
	if isNoSession(err) {
		return s.signInFirst(c, s.basePath()+accountPage)
	}
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	session, client := f.get("revoke_session"), f.get("revoke_application")
	switch {
	case session != "":
		return s.endOne(c, auth, session)
	case client != "":
		if err := s.authority.RevokeApplication(ctx, auth.User, client, caller(c)); err != nil {
			return err
		}
		return s.accountAgain(c, pages.ApplicationRevoked)
	case f.get("decision") == decisionEverywhere:
		if _, err := s.authority.CutOffUser(ctx, auth.User.ID, events.ReasonUserRequest, caller(c)); err != nil {
			return err
		}
		return s.loggedOut(c, authority.Logout{})
	}
	return asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "decision"})
}

// endOne ends one of the person's sessions. One that is not theirs, or over, is
// nothing to tell of.
func (s *Server) endOne(c echo.Context, auth *authority.Authentication, text string) error {
	id, err := events.ParseGrantID(text)
	if err != nil {
		return asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "revoke_session"})
	}
	if err := s.authority.EndSessionOf(c.Request().Context(), auth.User, id, events.ReasonUserRequest, caller(c)); err != nil && !isNoSession(err) {
		return err
	}
	if id == auth.Session.ID {
		return s.loggedOut(c, authority.Logout{})
	}
	return s.accountAgain(c, pages.SessionEnded)
}

func (s *Server) accountAgain(c echo.Context, done pages.Notice) error {
	query := url.Values{"done": {string(done)}}
	return c.Redirect(http.StatusSeeOther, s.basePath()+accountPage+"?"+query.Encode())
}
