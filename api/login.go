package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/mail"
	"net/url"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/projector/fold"
)

// Bounds of the Login API, in characters.
const (
	maxUsername = 255
	minPassword = 6
	maxPassword = 100
	maxEmail    = 254
	minState    = 8
	maxState    = 1024
)

// credentials is the JSON body of a login. Members of other names are ignored,
// as clients send some.
type credentials struct {
	Username string        `json:"username"`
	Password secret.Secret `json:"password"`
	Email    string        `json:"email"`
}

// check bounds what is hashed and stored.
func (b credentials) check() *rules.Refusal {
	if refusal := b.checkUsername(); refusal != nil {
		return refusal
	}
	return b.checkPassword()
}

func (b credentials) checkPassword() *rules.Refusal {
	switch {
	case b.Password.IsZero():
		return &rules.Refusal{Reason: rules.MissingParameter, Parameter: "password"}
	case utf8.RuneCountInString(b.Password.Reveal()) > maxPassword:
		return &rules.Refusal{Reason: rules.BadParameter, Parameter: "password"}
	}
	return nil
}

func (b credentials) checkNewPassword() *rules.Refusal {
	if utf8.RuneCountInString(b.Password.Reveal()) < minPassword {
		return &rules.Refusal{Reason: rules.BadParameter, Parameter: "password", Detail: "too short"}
	}
	return b.checkPassword()
}

func (b credentials) checkUsername() *rules.Refusal {
	switch {
	case b.Username == "":
		return &rules.Refusal{Reason: rules.MissingParameter, Parameter: "username"}
	case utf8.RuneCountInString(b.Username) > maxUsername || hasControl(b.Username):
		return &rules.Refusal{Reason: rules.BadParameter, Parameter: "username"}
	}
	return nil
}

// checkNew is check, and what is asked of a new account only.
func (b credentials) checkNew() *rules.Refusal {
	if refusal := b.check(); refusal != nil {
		return refusal
	}
	if refusal := b.checkNewPassword(); refusal != nil {
		return refusal
	}
	return b.checkEmail()
}

func (b credentials) checkEmail() *rules.Refusal {
	if b.Email == "" {
		return &rules.Refusal{Reason: rules.MissingParameter, Parameter: "email"}
	}
	if parsed, err := mail.ParseAddress(b.Email); err != nil || parsed.Address != b.Email || len(b.Email) > maxEmail {
		return &rules.Refusal{Reason: rules.BadParameter, Parameter: "email"}
	}
	return nil
}

func hasControl(s string) bool {
	for _, r := range s {
		if isControl(r) {
			return true
		}
	}
	return false
}

// loginURL is the Login API's answer to a call that issues a code.
type loginURL struct {
	LoginURL string `json:"login_url"`
}

// codeRequest reads the query of a call that issues a code, and refuses what is
// wrong with it before a password is looked at.
func (s *Server) codeRequest(c echo.Context) (authority.AuthorizationRequest, string, error) {
	var none authority.AuthorizationRequest
	f, refusal := parseQuery(c.Request())
	if refusal != nil {
		return none, "", asError(refusal)
	}
	request, err := s.authorizationRequest(c, f)
	if err != nil {
		return none, "", err
	}
	state := f.get("state")
	if n := utf8.RuneCountInString(state); n < minState || n > maxState {
		return none, "", asError(&rules.Refusal{Reason: stateTooShort, Parameter: "state"})
	}
	responseType, refusal := f.require("response_type")
	if refusal != nil {
		return none, "", asError(refusal)
	}
	if responseType != "code" {
		return none, "", asError(&rules.Refusal{Reason: unsupportedResponse, Parameter: "response_type"})
	}
	_, err = s.authority.CheckCodeRequest(request)
	return request, state, targetAsSent(err, f)
}

func (s *Server) authorizationRequest(c echo.Context, f form) (authority.AuthorizationRequest, error) {
	request := authority.AuthorizationRequest{
		RedirectURI: f.get("redirect_uri"), Challenge: f.get("code_challenge"), Nonce: f.get("nonce"), Caller: caller(c),
	}
	id, refusal := f.require("client_id")
	if refusal != nil {
		return request, asError(refusal)
	}
	s.forClient(c, id)
	var err error
	if request.Client, err = s.authority.FindClient(c.Request().Context(), id); err != nil {
		return request, err
	}
	if request.Client.RequirePAR {
		return request, asError(&rules.Refusal{Reason: rules.MissingParameter, Parameter: "request_uri", Detail: "the client pushes its requests"})
	}
	if refusal = rules.ParseChallenge(request.Challenge, f.get("code_challenge_method")); refusal != nil {
		return request, asError(refusal)
	}
	request.Scope, request.Audience, refusal = targets(f)
	return request, asError(refusal)
}

// loginRegister registers a user and answers with a code for them.
func (s *Server) loginRegister(c echo.Context) error {
	if err := s.mayRegister(c); err != nil {
		return err
	}
	request, state, err := s.codeRequest(c)
	if err != nil {
		return err
	}
	var body credentials
	if refusal := parseJSON(c.Response(), c.Request(), &body, false); refusal != nil {
		return asError(refusal)
	}
	user, err := s.createUser(c, body)
	if err != nil {
		return err
	}
	return s.answerSignedIn(c, request, state, user)
}

// register registers a user, where that is open and not too often.
func (s *Server) register(c echo.Context, sent credentials) (fold.User, error) {
	if err := s.mayRegister(c); err != nil {
		return fold.User{}, err
	}
	return s.createUser(c, sent)
}

func (s *Server) mayRegister(c echo.Context) error {
	if !s.settings.Get().Registration {
		return asError(&rules.Refusal{Reason: registrationClosed})
	}
	return tooMany(s.limits.registrations.Address(caller(c).Address, time.Now()))
}

func (s *Server) createUser(c echo.Context, sent credentials) (fold.User, error) {
	if refusal := sent.checkNew(); refusal != nil {
		return fold.User{}, asError(refusal)
	}
	return s.authority.Register(c.Request().Context(), authority.Registration{
		Username: sent.Username, Email: sent.Email, Password: sent.Password,
	}, caller(c))
}

// loginCode checks a user's password and answers with a code.
func (s *Server) loginCode(c echo.Context) error {
	request, state, err := s.codeRequest(c)
	if err != nil {
		return err
	}
	user, err := s.login(c)
	if err != nil {
		return err
	}
	return s.answerSignedIn(c, request, state, user)
}

func (s *Server) login(c echo.Context) (fold.User, error) {
	var body credentials
	if refusal := parseJSON(c.Response(), c.Request(), &body, false); refusal != nil {
		return fold.User{}, asError(refusal)
	}
	if refusal := body.check(); refusal != nil {
		return fold.User{}, asError(refusal)
	}
	user, err := s.authority.Login(c.Request().Context(), body.Username, body.Password, caller(c))
	if err != nil {
		s.refused(c, "login", false, err)
	}
	return user, err
}

// answerSignedIn opens the browser's session, and answers with a code.
func (s *Server) answerSignedIn(c echo.Context, r authority.AuthorizationRequest, state string, user fold.User) error {
	if origin := c.Request().Header.Get(echo.HeaderOrigin); origin != "" && origin != s.ownOrigin && !slices.Contains(r.Client.AllowedOrigins, origin) {
		// Another site must not sign a browser in as somebody it chose.
		return asError(&rules.Refusal{Reason: forgedForm, Detail: "from an origin that the client does not allow"})
	}
	auth, err := s.signIn(c, user, authority.AMRPassword)
	if err != nil {
		return err
	}
	location, err := s.authorizeCode(c, r, state, auth)
	if err != nil {
		return err
	}
	return answerLoginURL(c, location)
}

// authorizeCode opens a grant and gives the redirect URI with its code.
func (s *Server) authorizeCode(c echo.Context, r authority.AuthorizationRequest, state string, auth *authority.Authentication) (location string, err error) {
	code, err := s.authority.OpenWithCode(c.Request().Context(), r, *auth)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(code.RedirectURI)
	if err != nil {
		return "", fmt.Errorf("parse the client's redirect URI: %w", err)
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += "code=" + code.Text + "&state=" + url.QueryEscape(state)
	return u.String(), nil
}

// answerLoginURL writes the URL to go to, as one can read and paste it:
// encoding/json would escape its ampersands.
func answerLoginURL(c echo.Context, location string) error {
	c.Response().Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	c.Response().WriteHeader(http.StatusOK)
	e := json.NewEncoder(c.Response())
	e.SetEscapeHTML(false)
	return e.Encode(loginURL{location})
}

// loginToken checks a user's password and answers a first-party public client
// with tokens at once.
func (s *Server) loginToken(c echo.Context) error {
	f, refusal := parseQuery(c.Request())
	if refusal != nil {
		return asError(refusal)
	}
	request, err := s.authorizationRequest(c, f)
	if err != nil {
		return err
	}
	if refusal := rules.CheckPasswordLogin(request.Client); refusal != nil {
		s.refused(c, "login", false, refusal)
		return asError(refusal)
	}
	user, err := s.login(c)
	if err != nil {
		return err
	}
	request.LoginClaims = true
	tokens, err := s.authority.OpenWithPassword(c.Request().Context(), request, user)
	if err != nil {
		err = targetAsSent(err, f)
		s.refused(c, "login", false, err)
		return err
	}
	return c.JSON(http.StatusOK, newLoginTokens(tokens))
}
