package api

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

type userView struct {
	ID       string `json:"user_id"`
	Disabled bool   `json:"disabled"`
	Epoch    uint64 `json:"epoch"`
}

func (s *Server) disableUser(c echo.Context) error {
	u, err := s.authority.DisableUser(c.Request().Context(), c.Param("id"), caller(c))
	return answerUser(c, u, err)
}

func (s *Server) enableUser(c echo.Context) error {
	u, err := s.authority.EnableUser(c.Request().Context(), c.Param("id"), caller(c))
	return answerUser(c, u, err)
}

func (s *Server) cutOffUser(c echo.Context) error {
	u, err := s.authority.CutOffUser(c.Request().Context(), c.Param("id"), events.ReasonAdminRequest, caller(c))
	return answerUser(c, u, err)
}

func answerUser(c echo.Context, u fold.User, err error) error {
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, userView{u.ID, u.Disabled, u.Epoch})
}

// userAccount is what administrators are told of a user.
type userAccount struct {
	userView
	// Username and Email are left out where they are not known, or erased.
	Username   string    `json:"username,omitempty"`
	Email      string    `json:"email,omitempty"`
	Registered time.Time `json:"registered"`
	Deleted    bool      `json:"deleted"`
	Erased     bool      `json:"erased"`
	// Sessions and Grants are how many are in force.
	Sessions int `json:"sessions"`
	Grants   int `json:"grants"`
}

func newUserAccount(a authority.UserAccount) userAccount {
	return userAccount{
		userView: userView{a.ID, a.Disabled, a.Epoch}, Username: a.Username, Email: a.Email,
		Registered: a.CreatedAt.UTC(), Deleted: a.Deleted, Erased: a.Erased, Sessions: a.Sessions, Grants: a.Grants,
	}
}

// newUser is the body that creates a user.
type newUser struct {
	Username string `json:"username"`
	Email    string `json:"email"`
	// Password is left out for who is not to sign in by one.
	Password secret.Secret `json:"password"`
}

// check is that of a registration, but for what is left out.
func (u newUser) check() *rules.Refusal {
	sent := credentials{Username: u.Username, Email: u.Email, Password: u.Password}
	checks := []func() *rules.Refusal{sent.checkUsername}
	if u.Email != "" {
		checks = append(checks, sent.checkEmail)
	}
	if !u.Password.IsZero() {
		checks = append(checks, sent.checkNewPassword)
	}
	for _, check := range checks {
		if refusal := check(); refusal != nil {
			return refusal
		}
	}
	return nil
}

// createUserAsAdmin registers a user, also where nobody can by themselves.
func (s *Server) createUserAsAdmin(c echo.Context) error {
	var body newUser
	if refusal := parseJSON(c.Response(), c.Request(), &body, true); refusal != nil {
		return asError(refusal)
	}
	if refusal := body.check(); refusal != nil {
		return asError(refusal)
	}
	u, err := s.authority.Register(c.Request().Context(), authority.Registration{
		Username: body.Username, Email: body.Email, Password: body.Password, ByAdmin: true,
	}, caller(c))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, newUserAccount(authority.UserAccount{User: u, Username: body.Username, Email: body.Email}))
}

// findUsers answers with who has a user name.
func (s *Server) findUsers(c echo.Context) error {
	query := form{c.QueryParams()}
	if refusal := checkValues(query.values); refusal != nil {
		return asError(refusal)
	}
	username, refusal := query.require("username")
	if refusal != nil {
		return asError(refusal)
	}
	found, err := s.authority.FindUsers(c.Request().Context(), username)
	if err != nil {
		return err
	}
	views := []userAccount{}
	for _, one := range found {
		views = append(views, newUserAccount(one))
	}
	return c.JSON(http.StatusOK, map[string]any{"users": views})
}

func (s *Server) showUser(c echo.Context) error {
	account, err := s.authority.UserAccount(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, newUserAccount(account))
}

// erasure is what is told of a user that was erased: also where the log has it.
type erasure struct {
	userView
	Deleted bool   `json:"deleted"`
	Erased  bool   `json:"erased"`
	Stream  string `json:"stream"`
	Seq     uint64 `json:"seq"`
}

func (s *Server) eraseUser(c echo.Context) error {
	u, err := s.authority.EraseUser(c.Request().Context(), c.Param("id"), caller(c))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, erasure{userView{u.ID, u.Disabled, u.Epoch}, u.Deleted, u.Erased, s.parts.Log.Realm().RegistryStream(), u.Seq})
}

// sessionView is what administrators are told of a session.
type sessionView struct {
	ID       events.SessionID `json:"session_id"`
	AuthTime int64            `json:"auth_time"`
	// Expires is in Unix seconds, as AuthTime is.
	Expires int64    `json:"exp"`
	AMR     []string `json:"amr"`
	ACR     string   `json:"acr,omitempty"`
	// UserAgent is left out where it is not known.
	UserAgent string `json:"user_agent,omitempty"`
}

func (s *Server) listSessions(c echo.Context) error {
	sessions, err := s.authority.Sessions(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	views := []sessionView{}
	for _, one := range sessions {
		views = append(views, sessionView{one.ID, one.AuthTime, one.Expires, one.AMR, one.ACR, one.UserAgent})
	}
	return c.JSON(http.StatusOK, map[string]any{"sessions": views})
}

func (s *Server) endSessionAsAdmin(c echo.Context) error {
	id, err := events.ParseGrantID(c.Param("session"))
	if err != nil {
		return asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "session", Cause: err.Error()})
	}
	ctx := c.Request().Context()
	u, err := s.authority.User(ctx, c.Param("id"))
	if err == nil {
		err = s.authority.EndSessionOf(ctx, u, id, events.ReasonAdminRequest, caller(c))
	}
	if isNoSession(err) {
		return asError(&rules.Refusal{Reason: rules.NotFound, Parameter: "session"})
	}
	if err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
