package api

import (
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/projector/fold"
)

// operatorPage is the operator's own page in place of ours, if there is one.
func (s *Server) operatorPage(next rules.Interaction) string {
	switch next {
	case rules.AskLogin:
		return s.settings.Get().LoginURL
	case rules.AskConsent:
		return s.settings.Get().ConsentURL
	}
	return ""
}

// Bounds of what is accepted, in number and in characters.
const (
	maxAMR         = 10
	maxMethod      = 64
	maxDescription = 256
)

// rejections are the errors that an authorization may be rejected with (RFC 6749
// §4.1.2.1, OIDC Core §3.1.2.6).
var rejections = []string{
	codeAccessDenied, codeServerError, codeUnavailable, "login_required", "consent_required", "interaction_required", "account_selection_required",
}

// authorizationView is a pending authorization as an operator's pages see it.
type authorizationView struct {
	// Client is left out where a person signs in for none.
	Client    *authorizationClient `json:"client,omitempty"`
	Scope     []string             `json:"scope"`
	Audience  []string             `json:"audience,omitempty"`
	Prompt    []string             `json:"prompt,omitempty"`
	LoginHint string               `json:"login_hint,omitempty"`
	ACRValues []string             `json:"acr_values,omitempty"`
	UILocales string               `json:"ui_locales,omitempty"`
	// MaxAge is in seconds, as the client sent it.
	MaxAge *int64 `json:"max_age,omitempty"`
	// Subject is who has signed in for the request, if anybody has.
	Subject string `json:"subject,omitempty"`
	// Expires is in Unix seconds.
	Expires int64 `json:"exp"`
}

type authorizationClient struct {
	ID         string `json:"client_id"`
	Name       string `json:"client_name,omitempty"`
	FirstParty bool   `json:"first_party"`
}

// authorizationBody names a pending authorization by the text that the browser
// brought.
type authorizationBody struct {
	Request string `json:"request"`
}

// A held is a pending authorization that an administrator has opened.
type held struct {
	pending authority.Pending
	// client and asked are zero where a person signs in for no client.
	client fold.Client
	asked  rules.Asked
}

func (s *Server) opened(c echo.Context, request string) (h held, err error) {
	if request == "" {
		return h, asError(&rules.Refusal{Reason: rules.MissingParameter, Parameter: "request"})
	}
	ctx := c.Request().Context()
	if h.pending, err = s.authority.OpenPendingAnywhere(ctx, request); err != nil || h.pending.Return != "" {
		return h, err
	}
	if h.client, err = s.authority.FindClient(ctx, h.pending.Client); err != nil {
		return h, err
	}
	h.asked, err = s.authority.CheckCodeRequest(authorizationOf(h.pending, h.client, caller(c)))
	return h, err
}

// showAuthorization tells what a person is asked for.
func (s *Server) showAuthorization(c echo.Context) error {
	var body authorizationBody
	if refusal := parseJSON(c.Response(), c.Request(), &body, true); refusal != nil {
		return asError(refusal)
	}
	h, err := s.opened(c, body.Request)
	if err != nil {
		return err
	}
	p := h.pending
	view := authorizationView{
		Scope: slices.Concat([]string{}, h.asked.Scope), Audience: h.asked.Audience, Prompt: p.Prompt, LoginHint: p.LoginHint,
		ACRValues: p.ACRValues, UILocales: p.UILocales, MaxAge: p.MaxAge, Expires: p.Expires,
	}
	if h.client.Exists() {
		view.Client = &authorizationClient{h.client.ID, h.client.Name, h.client.FirstParty}
	}
	auth, err := s.authority.PersonOf(c.Request().Context(), p)
	switch {
	case err == nil:
		view.Subject = auth.User.ID
	case !isRefusal(err, rules.LoginRequired):
		return err
	}
	return c.JSON(http.StatusOK, view)
}

// acceptLoginBody says who has authenticated, and how.
type acceptLoginBody struct {
	authorizationBody
	Subject string   `json:"subject"`
	AMR     []string `json:"amr"`
	ACR     string   `json:"acr"`
	// Remember is whether the sign-in outlives the browser's run; true if left
	// out.
	Remember *bool        `json:"remember"`
	Claims   personClaims `json:"claims"`
}

// personClaims are the claims of OpenID Connect Core §5.1 that a record keeps.
type personClaims struct {
	Username  string `json:"preferred_username"`
	Email     string `json:"email"`
	Nickname  string `json:"nickname"`
	FirstName string `json:"given_name"`
	LastName  string `json:"family_name"`
	Birthday  string `json:"birthdate"`
}

func (b acceptLoginBody) check(now time.Time) *rules.Refusal {
	if b.Subject == "" {
		return &rules.Refusal{Reason: rules.MissingParameter, Parameter: "subject"}
	}
	method := func(m string) bool {
		return m == "" || utf8.RuneCountInString(m) > maxMethod || strings.ContainsFunc(m, isControl)
	}
	switch {
	case len(b.AMR) == 0:
		return &rules.Refusal{Reason: rules.MissingParameter, Parameter: "amr"}
	case len(b.AMR) > maxAMR || slices.ContainsFunc(b.AMR, method):
		return &rules.Refusal{Reason: rules.BadParameter, Parameter: "amr"}
	case b.ACR != "" && method(b.ACR):
		return &rules.Refusal{Reason: rules.BadParameter, Parameter: "acr"}
	}
	for name, value := range map[string]string{
		"preferred_username": b.Claims.Username, "nickname": b.Claims.Nickname, "given_name": b.Claims.FirstName,
		"family_name": b.Claims.LastName, "birthday": b.Claims.Birthday,
	} {
		if value != "" && !validMember(name, value, now) {
			return &rules.Refusal{Reason: rules.BadParameter, Parameter: "claims"}
		}
	}
	if b.Claims.Email != "" && (credentials{Email: b.Claims.Email}).checkEmail() != nil {
		return &rules.Refusal{Reason: rules.BadParameter, Parameter: "claims"}
	}
	return nil
}

// acceptLogin has whom the operator has authenticated signed in when the browser
// comes back. A subject that is no user yet becomes one.
func (s *Server) acceptLogin(c echo.Context) error {
	var body acceptLoginBody
	if refusal := parseJSON(c.Response(), c.Request(), &body, true); refusal != nil {
		return asError(refusal)
	}
	if refusal := body.check(s.feed.Now(0)); refusal != nil {
		return asError(refusal)
	}
	h, err := s.opened(c, body.Request)
	if err != nil {
		return err
	}
	u, err := s.authority.Subject(c.Request().Context(), body.Subject, authority.PersonClaims(body.Claims), caller(c))
	if err != nil {
		return err
	}
	forget := body.Remember != nil && !*body.Remember
	return s.sendBack(c, s.authority.AcceptLogin(h.pending, u, authority.Login{AMR: body.AMR, ACR: body.ACR, Forget: forget}))
}

// acceptConsentBody says what the person agreed to: all of it, without a scope.
type acceptConsentBody struct {
	authorizationBody
	Scope []string `json:"scope"`
}

func (s *Server) acceptConsent(c echo.Context) error {
	var body acceptConsentBody
	if refusal := parseJSON(c.Response(), c.Request(), &body, true); refusal != nil {
		return asError(refusal)
	}
	h, err := s.opened(c, body.Request)
	if err != nil {
		return err
	}
	if !h.client.Exists() {
		return asError(&rules.Refusal{Reason: rules.Conflict, Parameter: "request", Detail: "for no client"})
	}
	p, err := s.authority.AcceptConsentTo(c.Request().Context(), h.pending, h.client, body.Scope, h.asked, caller(c))
	if err != nil {
		return err
	}
	return s.sendBack(c, p)
}

// rejectBody says what the client is told.
type rejectBody struct {
	authorizationBody
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// rejectAuthorization ends a request with an error when the browser comes back.
func (s *Server) rejectAuthorization(c echo.Context) error {
	var body rejectBody
	if refusal := parseJSON(c.Response(), c.Request(), &body, true); refusal != nil {
		return asError(refusal)
	}
	switch {
	case body.Error == "":
		return asError(&rules.Refusal{Reason: rules.MissingParameter, Parameter: "error"})
	case !slices.Contains(rejections, body.Error):
		return asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "error"})
	case len(body.Description) > maxDescription || strings.ContainsFunc(body.Description, notInDescription):
		return asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "error_description"})
	}
	h, err := s.opened(c, body.Request)
	if err != nil {
		return err
	}
	h.pending.Rejected = &authority.Rejection{Error: body.Error, Description: body.Description}
	return s.sendBack(c, h.pending)
}

// notInDescription is what an error_description may not hold (RFC 6749 §4.1.2.1).
func notInDescription(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }

// sentBack is where the operator's page is to send the browser.
type sentBack struct {
	RedirectTo string `json:"redirect_to"`
}

func (s *Server) sendBack(c echo.Context, p authority.Pending) error {
	text, err := s.authority.SealPending(p)
	if err != nil {
		return err
	}
	location := strings.TrimSuffix(s.settings.Get().Issuer, s.basePath()) + s.pageURL(continuePage, text)
	return c.JSON(http.StatusOK, sentBack{location})
}
