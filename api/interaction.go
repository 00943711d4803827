package api

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/pages"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/projector/fold"
)

// The pages that ask a person for something, below the issuer.
const (
	loginPage    = "/oauth2/login"
	registerPage = "/oauth2/register"
	selectPage   = "/oauth2/select-account"
	consentPage  = "/oauth2/consent"
	continuePage = "/oauth2/continue"
	accountPage  = "/oauth2/account"
	devicePage   = "/oauth2/device"
	confirmPage  = "/oauth2/device/confirm"
)

// Values of the decision that a form is sent with.
const (
	decisionAllow    = "allow"
	decisionDeny     = "deny"
	decisionSwitch   = "switch"
	decisionContinue = "continue"
)

// pageURL is the address of one of our pages, with the pending request.
func (s *Server) pageURL(page, request string) string {
	return s.basePath() + page + "?" + url.Values{"request": {request}}.Encode()
}

// An interaction is a page that is asked for with a pending request.
type interaction struct {
	pending authority.Pending
	client  fold.Client
	// text is the request as it came.
	text string
}

// form is what every form of a page has.
func (s *Server) form(c echo.Context, i interaction, page string, problems ...pages.Problem) pages.Form {
	return pages.Form{Action: s.basePath() + page, Request: i.text, CSRF: s.csrf(c), ToClient: i.pending.Return == "", Problems: problems}
}

func (i interaction) shown() pages.Client { return pages.Client{ID: i.client.ID, Name: i.client.Name} }

// shown is the interaction of a page that is asked for.
func (s *Server) shown(c echo.Context) (interaction, error) {
	f, refusal := parseQuery(c.Request())
	if refusal != nil {
		return interaction{}, asError(refusal)
	}
	return s.interaction(c, f)
}

// answered is a page's form, and the interaction that it belongs to.
func (s *Server) answered(c echo.Context) (f form, i interaction, err error) {
	if f, err = s.posted(c); err != nil {
		return f, i, err
	}
	i, err = s.interaction(c, f)
	return f, i, err
}

// interaction opens the pending request of a page. One that is over gets a page
// that offers a fresh start.
func (s *Server) interaction(c echo.Context, f form) (i interaction, err error) {
	var refusal *rules.Refusal
	if i.text, refusal = f.require("request"); refusal != nil {
		return i, asError(&rules.Refusal{Reason: authority.RequestExpired, Parameter: "request", Detail: "missing"})
	}
	secret, _ := s.knownBrowser(c)
	i.pending, err = s.authority.OpenPending(i.text, derived("pending", secret))
	if err != nil {
		c.Set(againKey, s.again(i.pending))
		return i, err
	}
	if i.pending.Return != "" {
		return i, nil
	}
	i.client, err = s.authority.FindClient(c.Request().Context(), i.pending.Client)
	return i, err
}

// signInFirst has a person sign in, for no client, and come back to a path of
// ours.
func (s *Server) signInFirst(c echo.Context, back string) error {
	p := s.authority.NewPending(authority.PendingLifetime)
	p.Return, p.Browser = back, s.browser(c)
	return s.ask(c, p, rules.AskLogin)
}

// resume goes on with a request once a page has done its part.
func (s *Server) resume(c echo.Context) error {
	i, err := s.shown(c)
	if err != nil {
		return err
	}
	switch p := i.pending; {
	case p.Rejected != nil:
		return s.reject(c, p, i.client)
	case p.Login != nil:
		return s.enter(c, p)
	}
	return s.proceed(c, i.pending, i.client)
}

// reject ends a request as it was rejected.
func (s *Server) reject(c echo.Context, p authority.Pending, client fold.Client) error {
	if p.Return != "" {
		return asError(&rules.Refusal{Reason: rules.AccessDenied, Detail: "rejected"})
	}
	if err := s.authority.PendingUsed(c.Request().Context(), p); err != nil {
		return err
	}
	fields := []pages.Field{{Name: "error", Value: p.Rejected.Error}}
	if text := p.Rejected.Description; text != "" {
		fields = append(fields, pages.Field{Name: "error_description", Value: text})
	}
	return s.respond(c, p, client, fields...)
}

// enter signs in who was accepted for a request, and goes on by way of the
// browser, which brings its new session.
func (s *Server) enter(c echo.Context, p authority.Pending) error {
	if err := s.signInAccepted(c, *p.Login); err != nil {
		return err
	}
	p.Session, p.SignedIn, p.Login = p.Login.Session, true, nil
	text, err := s.authority.SealPending(p)
	if err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, s.pageURL(continuePage, text))
}

// showLogin asks for a user name and a password. Who comes by themselves, not
// for a client, goes on to their account.
func (s *Server) showLogin(c echo.Context) error {
	if c.Request().URL.RawQuery == "" {
		return s.signInFirst(c, s.basePath()+accountPage)
	}
	i, err := s.shown(c)
	if err != nil {
		return err
	}
	if s.operatorPage(rules.AskLogin) != "" {
		return s.ask(c, i.pending, rules.AskLogin)
	}
	return s.writeLogin(c, http.StatusOK, i, i.pending.LoginHint)
}

func (s *Server) writeLogin(c echo.Context, status int, i interaction, username string, problems ...pages.Problem) error {
	p := pages.Login{Form: s.form(c, i, loginPage, problems...), Client: i.shown(), Username: username}
	if s.settings.Get().Registration {
		p.RegisterURL = s.pageURL(registerPage, i.text)
	}
	return s.write(c, status, i.pending.UILocales, p)
}

// signInByPassword signs in who sent the form of showLogin.
func (s *Server) signInByPassword(c echo.Context) error {
	f, i, err := s.answered(c)
	if err != nil {
		return err
	}
	if s.operatorPage(rules.AskLogin) != "" { // there is more to sign in by than what we would ask for
		return s.ask(c, i.pending, rules.AskLogin)
	}
	sent := credentials{Username: f.get("username"), Password: secret.New(f.get("password"))}
	var user fold.User
	if refusal := sent.check(); refusal != nil {
		err = asError(&rules.Refusal{Reason: authority.WrongCredentials, Detail: "cannot be anybody's"})
	} else {
		user, err = s.authority.Login(c.Request().Context(), sent.Username, sent.Password, caller(c))
	}
	if err != nil {
		s.refused(c, "login", false, err)
		return s.formProblem(c, err, func(status int, problem pages.Problem) error {
			return s.writeLogin(c, status, i, sent.Username, problem)
		})
	}
	return s.enter(c, s.authority.AcceptLogin(i.pending, user, authority.Login{AMR: []string{authority.AMRPassword}}))
}

// formProblem shows a form again for what a person can put right in it.
func (s *Server) formProblem(c echo.Context, err error, again func(status int, p pages.Problem) error) error {
	refusal := new(rules.Refusal)
	if !errors.As(err, &refusal) {
		return err
	}
	problem, ok := formProblems[refusal.Reason]
	if refusal.Reason == rules.MissingParameter || refusal.Reason == rules.BadParameter {
		problem, ok = fieldProblems[refusal.Parameter]
	}
	if !ok {
		return err
	}
	p := asProblem(err)
	s.logProblem(c, p)
	status := http.StatusUnprocessableEntity
	if refusal.Reason == authority.Busy {
		status = http.StatusTooManyRequests
		setRetryAfter(c, p)
	}
	return again(status, problem)
}

var formProblems = map[rules.Reason]pages.Problem{
	authority.WrongCredentials: pages.WrongCredentials,
	authority.AccountDisabled:  pages.AccountDisabled,
	authority.UsernameTaken:    pages.UsernameTaken,
	authority.Busy:             pages.TooManyAttempts,
	rules.UnknownUserCode:      pages.CodeUnknown,
}

var fieldProblems = map[string]pages.Problem{
	"username": pages.UsernameInvalid, "email": pages.EmailInvalid, "password": pages.PasswordInvalid,
}

// showRegister asks for what a new account needs.
func (s *Server) showRegister(c echo.Context) error {
	i, err := s.shown(c)
	if err != nil {
		return err
	}
	return s.writeRegister(c, http.StatusOK, i, credentials{})
}

func (s *Server) writeRegister(c echo.Context, status int, i interaction, sent credentials, problems ...pages.Problem) error {
	if !s.registersAtPages() {
		return asError(&rules.Refusal{Reason: registrationClosed})
	}
	return s.write(c, status, i.pending.UILocales, pages.Register{
		Form: s.form(c, i, registerPage, problems...), Client: i.shown(),
		Username: sent.Username, Email: sent.Email, LoginURL: s.pageURL(loginPage, i.text), MinPassword: minPassword,
	})
}

// registersAtPages reports whether our pages take registrations. With a sign-in
// page of the operator's they do not.
func (s *Server) registersAtPages() bool {
	return s.settings.Get().Registration && s.operatorPage(rules.AskLogin) == ""
}

// signInAsNew registers who sent the form of showRegister.
func (s *Server) signInAsNew(c echo.Context) error {
	f, i, err := s.answered(c)
	if err != nil {
		return err
	}
	if !s.registersAtPages() {
		return asError(&rules.Refusal{Reason: registrationClosed})
	}
	sent := credentials{Username: f.get("username"), Email: f.get("email"), Password: secret.New(f.get("password"))}
	user, err := s.register(c, sent)
	if err != nil {
		return s.formProblem(c, err, func(status int, problem pages.Problem) error {
			return s.writeRegister(c, status, i, sent, problem)
		})
	}
	return s.enter(c, s.authority.AcceptLogin(i.pending, user, authority.Login{AMR: []string{authority.AMRPassword}}))
}

// due is the interaction of a page that asks who is signed in for want, with
// their profile. Where something else comes next the browser is sent there, and
// write is not called.
func (s *Server) due(c echo.Context, want rules.Interaction, write func(i interaction, v visit, username string) error) error {
	i, err := s.shown(c)
	if err != nil {
		return err
	}
	v, err := s.visit(c, i.pending, i.client)
	if err != nil {
		return s.refuse(c, i.pending, i.client, err)
	}
	if next, _ := v.Next(); next != want || s.operatorPage(next) != "" {
		return s.proceed(c, i.pending, i.client)
	}
	profile, err := s.authority.Profile(c.Request().Context(), v.auth.User.ID)
	if err != nil {
		return err
	}
	return write(i, v, profile.Username)
}

// showSelect asks whether to go on as who is signed in.
func (s *Server) showSelect(c echo.Context) error {
	return s.due(c, rules.AskAccount, func(i interaction, v visit, username string) error {
		i, err := s.settle(i, v.auth)
		if err != nil {
			return err
		}
		return s.write(c, http.StatusOK, i.pending.UILocales, pages.SelectAccount{
			Form: s.form(c, i, selectPage), Client: i.shown(), Username: username,
		})
	})
}

// settle makes the request one that a page is shown for to who is signed in, so
// that what they decide there is theirs.
func (s *Server) settle(i interaction, auth *authority.Authentication) (interaction, error) {
	i.pending = settled(i.pending, auth)
	var err error
	i.text, err = s.authority.SealPending(i.pending)
	return i, err
}

func settled(p authority.Pending, auth *authority.Authentication) authority.Pending {
	if p.Session != auth.Session.ID {
		p.Session, p.SignedIn = auth.Session.ID, false
	}
	return p
}

// selectAccount goes on as who is signed in, or lets another one sign in.
func (s *Server) selectAccount(c echo.Context) error {
	f, i, err := s.answered(c)
	if err != nil {
		return err
	}
	switch f.get("decision") {
	case decisionContinue:
		return s.proceed(c, i.pending, i.client)
	case decisionSwitch:
		return s.ask(c, i.pending, rules.AskLogin)
	}
	return asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "decision"})
}

// showConsent asks whether the client may have what it asks for. What is shown
// is what is agreed to, whatever becomes of the client's settings meanwhile.
func (s *Server) showConsent(c echo.Context) error {
	return s.due(c, rules.AskConsent, func(i interaction, v visit, username string) error {
		i.pending.Scope, i.pending.Audience, i.pending.Shown = v.asked.Scope, v.asked.Audience, true
		i, err := s.settle(i, v.auth)
		if err != nil {
			return err
		}
		return s.write(c, http.StatusOK, i.pending.UILocales, pages.Consent{
			Form: s.form(c, i, consentPage), Client: i.shown(), Username: username,
			Audiences: v.asked.Audience,
			Scopes:    slices.DeleteFunc(slices.Clone(v.asked.Scope), isRepeatedOffline(v.asked.Scope)),
			Lasting:   s.lasting(i.client, v.asked.Scope), RedirectURI: i.pending.Target,
		})
	})
}

// isRepeatedOffline leaves one of the two names of offline access to show.
func isRepeatedOffline(scope []string) func(string) bool {
	return func(one string) bool {
		return one == rules.ScopeOffline && slices.Contains(scope, rules.ScopeOfflineAccess)
	}
}

// lasting is how long a client's access lasts at most.
func (s *Server) lasting(client fold.Client, scope []string) pages.Lasting {
	policy := s.settings.Get().Policy().For(client.ClientSettings)
	if rules.WantsRefresh(scope) {
		return pages.Lasting{For: policy.RefreshAbsolute}
	}
	return pages.Lasting{For: policy.AccessToken}
}

// consent takes the answer to showConsent.
func (s *Server) consent(c echo.Context) error {
	f, i, err := s.answered(c)
	if err != nil {
		return err
	}
	v, err := s.visit(c, i.pending, i.client)
	if err != nil {
		return s.refuse(c, i.pending, i.client, err)
	}
	next, _ := v.Next()
	if next != rules.AskConsent && next != "" || !v.Settled || s.operatorPage(next) != "" {
		return s.proceed(c, i.pending, i.client)
	}
	switch f.get("decision") {
	case decisionAllow:
		p, err := s.authority.AcceptConsent(c.Request().Context(), i.pending, i.client, v.auth.User, v.asked, caller(c))
		if err != nil {
			return s.refuse(c, i.pending, i.client, err)
		}
		return s.complete(c, p, i.client, v.auth)
	case decisionDeny:
		if err := s.authority.PendingUsed(c.Request().Context(), i.pending); err != nil {
			return err
		}
		return s.refuse(c, i.pending, i.client, asError(&rules.Refusal{Reason: rules.AccessDenied, Detail: "by the person"}))
	case decisionSwitch:
		return s.ask(c, i.pending, rules.AskLogin)
	}
	return asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "decision"})
}
