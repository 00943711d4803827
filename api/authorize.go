package api

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/pages"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/projector/fold"
)

// Response modes (OAuth 2.0 Multiple Response Type Encoding Practices §2.1,
// Form Post Response Mode §1). A fragment is not one of them: it is for
// responses that hold tokens, and would outlive redirects of the client.
const (
	modeQuery    = "query"
	modeFormPost = "form_post"
)

// requestURN is how pushed requests are named (RFC 9126 §2.2).
const requestURN = "urn:ietf:params:oauth:request_uri:"

// maxPlain bounds the parameters that are kept and shown, or sent back.
const maxPlain = 2048

// authorize is the authorization endpoint (RFC 6749 §3.1). Until client and
// redirect URI are known to be right, what is wrong is told to the person;
// after that, to the client.
func (s *Server) authorize(c echo.Context) error {
	f, refusal := authorizeParameters(c.Response(), c.Request())
	if refusal != nil {
		return asError(refusal)
	}
	p, client, err := s.pending(c, f)
	if err != nil {
		return s.refuse(c, p, client, err)
	}
	if c.Request().Method == http.MethodPost {
		return s.comeAgain(c, p, f.get("request_uri"))
	}
	// From here on the person's time counts.
	p.Browser, p.Expires = s.browser(c), s.authority.PendingExpiry(authority.PendingLifetime)
	return s.proceed(c, p, client)
}

// comeAgain has a browser that was sent here by POST come with a GET, which
// alone brings our cookies from another site.
func (s *Server) comeAgain(c echo.Context, p authority.Pending, uri string) error {
	if uri == "" {
		text, err := s.authority.SealPending(p)
		if err != nil {
			return err
		}
		uri = requestURN + text
	}
	q := url.Values{"client_id": {p.Client}, "request_uri": {uri}}
	return c.Redirect(http.StatusSeeOther, s.basePath()+"/oauth2/authorize?"+q.Encode())
}

// authorizeParameters are those of the query or, of a POST, of the body (RFC
// 6749 §3.1). Repeated ones are looked at by pending, which may tell the client.
func authorizeParameters(w http.ResponseWriter, r *http.Request) (form, *rules.Refusal) {
	text := r.URL.RawQuery
	if r.Method == http.MethodPost {
		if text != "" {
			return form{}, &rules.Refusal{Reason: malformedRequest, Detail: "a query beside the body"}
		}
		body, refusal := readBody(w, r, "application/x-www-form-urlencoded")
		if refusal != nil {
			return form{}, refusal
		}
		text = string(body)
	}
	values, err := url.ParseQuery(text)
	if err != nil {
		return form{}, &rules.Refusal{Reason: malformedRequest, Detail: "form encoding"}
	}
	for _, name := range []string{"client_id", "redirect_uri", "request_uri"} {
		if refusal := checkValues(url.Values{name: values[name]}); refusal != nil {
			return form{}, refusal
		}
	}
	return form{values}, nil
}

// pending reads an authorization request. With an error, p has a Target if the
// error may be told to the client there.
func (s *Server) pending(c echo.Context, f form) (p authority.Pending, client fold.Client, err error) {
	id, refusal := f.require("client_id")
	if refusal != nil {
		return p, client, asError(refusal)
	}
	if client, err = s.authority.FindClient(c.Request().Context(), id); err != nil {
		return p, client, err
	}
	if uri := f.get("request_uri"); uri != "" {
		p, err = s.pushed(c, client, uri)
		return p, client, err
	}
	p, err = s.readPending(c, client, f)
	if err == nil && client.RequirePAR {
		err = asError(&rules.Refusal{Reason: rules.MissingParameter, Parameter: "request_uri"})
	}
	return p, client, err
}

// pushed is a request that the client sent ahead (RFC 9126 §4). Until a code
// was given it may be loaded again, as people do with pages.
func (s *Server) pushed(c echo.Context, client fold.Client, uri string) (authority.Pending, error) {
	text, ok := strings.CutPrefix(uri, requestURN)
	if !ok {
		return authority.Pending{}, asError(&rules.Refusal{Reason: requestURINotSupported, Parameter: "request_uri"})
	}
	p, err := s.authority.OpenPending(text, "")
	if err == nil && p.Client != client.ID {
		err = asError(&rules.Refusal{Reason: authority.RequestExpired, Parameter: "request_uri", Detail: "another client's"})
	}
	if err != nil {
		return authority.Pending{}, err
	}
	if err := s.authority.PendingUsed(c.Request().Context(), p); err != nil {
		return authority.Pending{}, err
	}
	return p, nil
}

// readPending reads the parameters themselves. With an error, p has a Target if
// the error may be told to the client there.
func (s *Server) readPending(c echo.Context, client fold.Client, f form) (authority.Pending, error) {
	p := s.authority.NewPending(authority.PushedLifetime)
	p.Client, p.RedirectURI = client.ID, f.get("redirect_uri")
	target, refusal := rules.Authorization{Client: client, RedirectURI: p.RedirectURI}.Redirect()
	if refusal != nil {
		return p, asError(refusal)
	}
	p.Target, p.State = target, single(f, "state")
	for _, check := range []func(*authority.Pending, form) *rules.Refusal{
		readMode, readPlain, readTargets, readPrompt,
	} {
		if refusal := check(&p, f); refusal != nil {
			return p, asError(refusal)
		}
	}
	if p.Challenge == "" && (client.Public || !client.PKCEOptional) {
		return p, asError(&rules.Refusal{Reason: rules.ChallengeRequired, Parameter: "code_challenge"})
	}
	if _, err := s.authority.CheckCodeRequest(authorizationOf(p, client, caller(c))); err != nil {
		return p, targetAsSent(err, f)
	}
	if hint := f.get("id_token_hint"); hint != "" {
		var err error
		if p.Subject, err = s.authority.HintedSubject(client, hint); err != nil {
			return p, err
		}
	}
	return p, s.authority.CheckPendingSize(p)
}

// single is a parameter that was sent once, or else nothing: of several no one
// can be sent back, nor one that is too long.
func single(f form, name string) string {
	if len(f.values[name]) != 1 || utf8.RuneCountInString(f.get(name)) > maxPlain {
		return ""
	}
	return f.get(name)
}

// readMode comes first: it says how to tell of whatever else is wrong.
func readMode(p *authority.Pending, f form) *rules.Refusal {
	p.ResponseMode = modeQuery
	switch mode := f.get("response_mode"); {
	case mode == "" || mode == modeQuery:
	case mode == modeFormPost && (strings.HasPrefix(p.Target, "https:") || strings.HasPrefix(p.Target, "http:")):
		p.ResponseMode = mode
	default:
		return &rules.Refusal{Reason: rules.BadParameter, Parameter: "response_mode"}
	}
	return nil
}

// readPlain refuses what is repeated, too long or asks for what there is not.
func readPlain(p *authority.Pending, f form) *rules.Refusal {
	if refusal := checkValues(f.values); refusal != nil {
		return refusal
	}
	for _, name := range []string{"state", "nonce", "login_hint", "ui_locales", "acr_values"} {
		if utf8.RuneCountInString(f.get(name)) > maxPlain {
			return &rules.Refusal{Reason: rules.BadParameter, Parameter: name, Detail: "too long"}
		}
	}
	for name, reason := range map[string]rules.Reason{
		"request": requestNotSupported, "registration": registrationNotSupported, "claims": rules.BadParameter,
	} {
		if f.get(name) != "" {
			return &rules.Refusal{Reason: reason, Parameter: name, Detail: "not supported"}
		}
	}
	p.Nonce, p.LoginHint, p.UILocales = f.get("nonce"), f.get("login_hint"), f.get("ui_locales")
	p.ACRValues = strings.Fields(f.get("acr_values"))
	responseType, refusal := f.require("response_type")
	if refusal == nil && responseType != "code" {
		return &rules.Refusal{Reason: unsupportedResponse, Parameter: "response_type"}
	}
	return refusal
}

func readTargets(p *authority.Pending, f form) (refusal *rules.Refusal) {
	p.Challenge = f.get("code_challenge")
	if refusal = rules.ParseChallenge(p.Challenge, f.get("code_challenge_method")); refusal != nil {
		return refusal
	}
	p.Scope, p.Audience, refusal = targets(f)
	return refusal
}

func readPrompt(p *authority.Pending, f form) (refusal *rules.Refusal) {
	if p.Prompt, refusal = rules.ParsePrompt(f.get("prompt")); refusal != nil {
		return refusal
	}
	if text := f.get("max_age"); text != "" {
		age, err := strconv.ParseInt(text, 10, 32)
		if err != nil || age < 0 {
			return &rules.Refusal{Reason: rules.BadParameter, Parameter: "max_age"}
		}
		p.MaxAge = &age
	}
	return nil
}

func authorizationOf(p authority.Pending, client fold.Client, by authority.Caller) authority.AuthorizationRequest {
	return authority.AuthorizationRequest{
		Client: client, Grant: p.Grant, RedirectURI: p.RedirectURI, Scope: p.Scope, Audience: p.Audience, Exact: p.Shown,
		Challenge: p.Challenge, Nonce: p.Nonce, Caller: by,
	}
}

// proceed asks the person for what is still to be asked for, or gives the
// client its code.
func (s *Server) proceed(c echo.Context, p authority.Pending, client fold.Client) error {
	if p.Return != "" {
		return c.Redirect(http.StatusSeeOther, p.Return)
	}
	visit, err := s.visit(c, p, client)
	if err != nil {
		return s.refuse(c, p, client, err)
	}
	next, refusal := visit.Next()
	switch {
	case refusal != nil:
		return s.refuse(c, p, client, refusal)
	case next == rules.AskConsent && s.operatorPage(next) != "":
		p = settled(p, visit.auth)
		p.Scope, p.Audience, p.Shown = visit.asked.Scope, visit.asked.Audience, true
		return s.ask(c, p, next)
	case next != "":
		return s.ask(c, p, next)
	}
	return s.complete(c, p, client, visit.auth)
}

// A visit is a browser that comes with a request.
type visit struct {
	rules.Visit
	// auth is who is signed in, nil for nobody.
	auth *authority.Authentication
	// asked is what the client would get.
	asked rules.Asked
}

func (s *Server) visit(c echo.Context, p authority.Pending, client fold.Client) (v visit, err error) {
	v.Visit = rules.Visit{Prompt: p.Prompt, MaxAge: p.MaxAge, Now: s.feed.Now(p.Grant.Partition())}
	if v.asked, err = s.authority.CheckCodeRequest(authorizationOf(p, client, caller(c))); err != nil {
		return v, err
	}
	if v.auth, err = s.session(c); err != nil {
		if isNoSession(err) {
			return v, nil
		}
		return v, err
	}
	v.Session, v.Settled = v.auth.Session, v.auth.Session.ID == p.Session
	v.SignedIn = v.Settled && p.SignedIn
	v.Another = p.Subject != "" && p.Subject != s.authority.SubjectOf(client, v.auth.User.ID)
	v.Consented, err = s.authority.Consented(c.Request().Context(), client, v.auth.User.ID, v.asked)
	v.Agreed = p.Agreed == v.auth.User.ID
	return v, err
}

// ask sends the browser to one of our pages, or to the operator's in its place.
func (s *Server) ask(c echo.Context, p authority.Pending, next rules.Interaction) error {
	text, err := s.authority.SealPending(p)
	if err != nil {
		return err
	}
	if page := s.operatorPage(next); page != "" {
		location, err := withParameters(page, []pages.Field{{Name: "request", Value: text}})
		if err != nil {
			return err
		}
		return c.Redirect(http.StatusSeeOther, location)
	}
	page := map[rules.Interaction]string{rules.AskLogin: loginPage, rules.AskAccount: selectPage, rules.AskConsent: consentPage}[next]
	return c.Redirect(http.StatusSeeOther, s.pageURL(page, text))
}

// complete opens the grant and gives the client its code.
func (s *Server) complete(c echo.Context, p authority.Pending, client fold.Client, auth *authority.Authentication) error {
	request := authorizationOf(p, client, caller(c))
	request.ByConsent = true
	code, err := s.authority.OpenWithCode(c.Request().Context(), request, *auth)
	if err != nil {
		return s.refuse(c, p, client, err)
	}
	return s.respond(c, p, client, pages.Field{Name: "code", Value: code.Text})
}

// refuse tells the client what was wrong, if there is a redirect URI to trust,
// and otherwise the person. A request that is over is never the client's to
// hear of: its response was sent, or it has stopped waiting.
func (s *Server) refuse(c echo.Context, p authority.Pending, client fold.Client, err error) error {
	problem := asProblem(err)
	over := problem.Reason == authority.RequestExpired || problem.Reason == authority.RequestUsed
	if p.Target == "" || !client.Exists() || client.Disabled || over || isAboutRedirect(err) {
		return err
	}
	s.logProblem(c, problem)
	return s.respond(c, p, client,
		pages.Field{Name: "error", Value: problem.redirectCode()}, pages.Field{Name: "error_description", Value: problem.text()})
}

// isAboutRedirect tells what would be an open redirect to answer there.
func isAboutRedirect(err error) bool {
	refusal := new(rules.Refusal)
	return errors.As(err, &refusal) && refusal.Parameter == "redirect_uri"
}

// redirectCode is the error code for a client that is told by redirect (RFC
// 6749 §4.1.2.1), which has no name for having asked too often.
func (p problem) redirectCode() string {
	if p.Reason == authority.Busy {
		return codeUnavailable
	}
	return p.code
}

// respond sends the browser to the client with a response, and with state and
// iss (RFC 9207 §2).
func (s *Server) respond(c echo.Context, p authority.Pending, client fold.Client, fields ...pages.Field) error {
	if p.State != "" {
		fields = append(fields, pages.Field{Name: "state", Value: p.State})
	}
	fields = append(fields, pages.Field{Name: "iss", Value: s.settings.Get().Issuer})
	if p.ResponseMode == modeFormPost {
		return s.write(c, http.StatusOK, p.UILocales, pages.FormPost{
			Client: pages.Client{ID: client.ID, Name: client.Name}, Target: p.Target, Fields: fields,
		})
	}
	location, err := withParameters(p.Target, fields)
	if err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, location)
}

// withParameters adds parameters to a redirect URI, whose own query stays (RFC
// 6749 §4.1.2).
func withParameters(uri string, fields []pages.Field) (string, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", errors.New("parse the client's redirect URI")
	}
	var query []string
	if u.RawQuery != "" {
		query = []string{u.RawQuery}
	}
	for _, f := range fields {
		query = append(query, url.QueryEscape(f.Name)+"="+url.QueryEscape(f.Value))
	}
	u.RawQuery = strings.Join(query, "&")
	return u.String(), nil
}

// pushedAnswer is RFC 9126 §2.2's.
type pushedAnswer struct {
	RequestURI string `json:"request_uri"`
	ExpiresIn  int64  `json:"expires_in"`
}

// pushAuthorization takes an authorization request from the client itself (RFC
// 9126 §2), which authenticates as at the token endpoint.
func (s *Server) pushAuthorization(c echo.Context) error {
	f, refusal := parseForm(c.Response(), c.Request())
	if refusal != nil {
		return asError(refusal)
	}
	client, err := s.authenticate(c, f)
	if err != nil {
		s.refused(c, "authorization", false, err)
		return err
	}
	if f.get("request_uri") != "" {
		return asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "request_uri"})
	}
	p, err := s.readPending(c, client, f)
	if err != nil {
		return err
	}
	p.Pushed = true
	text, err := s.authority.SealPending(p)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, pushedAnswer{requestURN + text, int64(authority.PushedLifetime.Seconds())})
}

// again is the address that begins a request anew, which is the client's own,
// or empty for one that cannot be read.
func (s *Server) again(p authority.Pending) string {
	switch {
	case p.Client == "":
		return p.Return
	case p.Pushed || p.Subject != "": // what was pushed is not for addresses, and the hint is gone
		return ""
	}
	q := url.Values{"client_id": {p.Client}, "response_type": {"code"}, "response_mode": {p.ResponseMode}}
	for name, value := range map[string]string{
		"redirect_uri": p.RedirectURI, "state": p.State, "nonce": p.Nonce, "scope": strings.Join(p.Scope, " "),
		"code_challenge": p.Challenge, "prompt": strings.Join(p.Prompt, " "), "login_hint": p.LoginHint,
		"ui_locales": p.UILocales, "acr_values": strings.Join(p.ACRValues, " "),
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if p.Challenge != "" {
		q.Set("code_challenge_method", rules.ChallengeMethodS256)
	}
	if p.MaxAge != nil {
		q.Set("max_age", strconv.FormatInt(*p.MaxAge, 10))
	}
	q["audience"] = slices.Clone(p.Audience)
	return s.basePath() + "/oauth2/authorize?" + q.Encode()
}
