package pages

import (
	"time"
)

// A Form is where a page's form goes, and what goes with it unseen, as fields
// named request and csrf.
type Form struct {
	// Action is a path of this origin, with a query or without.
	Action string
	// Request is the opaque id of a pending request, empty if there is none.
	Request string
	CSRF    string
	// ToClient says that the answer may lead to a client by redirects.
	ToClient bool
	// Problems are why the form is shown again, none at first.
	Problems []Problem
}

// A Client is an application as its name and id tell of it. Without a name the
// id is shown.
type Client struct{ ID, Name string }

// Shown is what people are told of the client.
func (c Client) Shown() string {
	if c.Name == "" {
		return c.ID
	}
	return c.Name
}

// Login asks for a user name and a password, in fields named username and
// password.
type Login struct {
	Form
	// Client is who asks, the zero value if nobody does.
	Client Client
	// Username is what was typed or is hinted at (login_hint).
	Username string
	// RegisterURL leads to the registration, empty if that is not open.
	RegisterURL string
}

// Register asks for a user name, an email address and a password, in fields
// named username, email and password.
type Register struct {
	Form
	Client          Client
	Username, Email string
	// LoginURL leads back to the sign-in.
	LoginURL string
	// MinPassword is how many characters a password has at least.
	MinPassword int
}

// Lasting is how long access lasts: until a moment, or for a time, or with
// neither until it is revoked.
type Lasting struct {
	Until time.Time
	For   time.Duration
}

// Consent asks whether a client may have what it asks for. The field named
// decision is allow, deny, or switch to use another account.
type Consent struct {
	Form
	Client   Client
	Username string
	// Scopes are named as in a request; those that are not known here are shown
	// as they are.
	Scopes []string
	// Audiences are where the access is for, none if that is here.
	Audiences []string
	Lasting
	// RedirectURI is the client's; its host is shown.
	RedirectURI string
}

// SelectAccount asks whether to go on as who is signed in. The field named
// decision is continue or switch.
type SelectAccount struct {
	Form
	Client   Client
	Username string
}

// Account shows a person where they are signed in and what has access. Its
// buttons are named revoke_session and revoke_application, with the id as their
// value, and decision, with the value sign_out_everywhere.
type Account struct {
	Form
	Username     string
	Notice       Notice
	Sessions     []Session
	Applications []Application
	// Now is what times are told relative to.
	Now time.Time
}

// A Session is one place where a person is signed in.
type Session struct {
	ID        string
	UserAgent string
	Since     time.Time
	// Current is the session the page is asked for with.
	Current bool
}

// An Application is a client that has access. Its id is whatever the caller
// revokes by.
type Application struct {
	ID     string
	Client Client
	Scopes []string
	Since  time.Time
	// LastUsed is zero if it is not known.
	LastUsed time.Time
}

// DeviceCode asks for the code that a device shows (RFC 8628 §3.3), in a field
// named user_code.
type DeviceCode struct {
	Form
	UserCode string
}

// DeviceConfirm asks whether a device may have access (RFC 8628 §3.3.1). The
// field named decision is allow, deny, or switch to use another account.
type DeviceConfirm struct {
	Form
	Client   Client
	Username string
	UserCode string
	// Scopes and Audiences are as in Consent.
	Scopes, Audiences []string
	Lasting
}

// Done says how a device's request ended.
type Done struct {
	Client  Client
	Allowed bool
}

// Logout asks whether to sign out. The field named decision is sign_out or
// stay.
type Logout struct {
	Form
	// Client is who asks for it, the zero value if nobody does.
	Client   Client
	Username string
}

// LoggedOut says that a person is signed out.
type LoggedOut struct {
	// LoginURL leads to a new sign-in, empty if there is none to offer.
	LoginURL string
}

// Error says what a person can do when something went wrong. It has no room for
// text that was sent.
type Error struct {
	Failure Failure
	// RequestID finds the request in the log.
	RequestID string
	// AgainURL leads to a fresh start, empty if only the client can offer one.
	AgainURL string
}

// FormPost sends the parameters of a response to a client (OAuth 2.0 Form Post
// Response Mode §2): at once, or by a button where scripts are off.
type FormPost struct {
	Client Client
	// Target is the client's redirect URI, http or https.
	Target string
	Fields []Field
}

// A Field is one parameter of a response.
type Field struct{ Name, Value string }

func (p Login) describe(t *texts) description {
	return description{template: "login", title: t.LoginTitle, form: &p.Form, links: []string{p.RegisterURL}, inFlow: true}
}

func (p Register) describe(t *texts) description {
	return description{template: "register", title: t.RegisterTitle, form: &p.Form, links: []string{p.LoginURL}, inFlow: true}
}

func (p Consent) describe(t *texts) description {
	return description{template: "consent", title: t.ConsentTitle, form: &p.Form, inFlow: true}
}

func (p SelectAccount) describe(t *texts) description {
	return description{template: "select_account", title: t.SelectTitle, form: &p.Form, inFlow: true}
}

func (p Account) describe(t *texts) description {
	return description{template: "account", title: t.AccountTitle, form: &p.Form}
}

func (p DeviceCode) describe(t *texts) description {
	return description{template: "device_code", title: t.DeviceTitle, form: &p.Form}
}

func (p DeviceConfirm) describe(t *texts) description {
	return description{template: "device_confirm", title: t.DeviceConfirmTitle, form: &p.Form}
}

func (p Done) describe(t *texts) description {
	title := t.DoneDeniedTitle
	if p.Allowed {
		title = t.DoneAllowedTitle
	}
	return description{template: "done", title: title}
}

func (p Logout) describe(t *texts) description {
	return description{template: "logout", title: t.LogoutTitle, form: &p.Form, inFlow: true}
}

func (p LoggedOut) describe(t *texts) description {
	return description{template: "logged_out", title: t.LoggedOutTitle, links: []string{p.LoginURL}, inFlow: true}
}

func (p Error) describe(t *texts) description {
	return description{template: "error", title: t.failure(p.Failure).Title, links: []string{p.AgainURL}, inFlow: true}
}

func (p FormPost) describe(t *texts) description {
	return description{template: "form_post", title: t.FormPostTitle, target: p.Target, inFlow: true}
}
