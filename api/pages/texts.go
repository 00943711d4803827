package pages

import (
	"html/template"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// texts are all words of the pages in one language, read from one file. What
// stands in {braces} is filled in.
type texts struct {
	tag language.Tag

	// ProblemTitle comes before the title of a page that has a problem.
	ProblemTitle string
	// Problems are why a form is shown again; ProblemsHeading stands above them.
	Problems        map[Problem]string
	ProblemsHeading string
	Failures        map[Failure]failureText
	Notices         map[Notice]string
	// Scopes are what a scope allows, by its name.
	Scopes map[string]string

	Username, Email, Password, PasswordHint string
	ClientID                                string
	SwitchQuestion, SwitchButton            string
	SignedInAs                              string
	Allow, Deny                             string

	LoginTitle, LoginFor, LoginButton                   string
	RegisterQuestion, RegisterLink                      string
	RegisterTitle, RegisterFor, RegisterButton          string
	LoginQuestion, LoginLink                            string
	ConsentTitle, ConsentIntro, ConsentNothing          string
	ConsentAudiences                                    string
	LastsUntil, LastsFor, LastsUntilRevoked, RevokeHint string
	GoesTo, GoesToDevice                                string
	SelectTitle, SelectFor, SelectButton, SelectOther   string

	AccountTitle                                                        string
	SessionsHeading, SessionsHint, ThisSession, SessionSince, EndButton string
	UnknownAgent, AgentOn                                               string
	ApplicationsHeading, ApplicationsHint, NoApplications               string
	ApplicationSince, ApplicationUsed, RevokeButton                     string
	EverywhereHeading, EverywhereHint, EverywhereButton                 string

	DeviceTitle, DeviceIntro, DeviceLabel, DeviceButton                string
	DeviceConfirmTitle, DeviceConfirmIntro, DeviceCompare              string
	DoneAllowedTitle, DoneAllowedText, DoneDeniedTitle, DoneDeniedText string
	CloseWindow                                                        string
	LogoutTitle, LogoutFor, LogoutHint, LogoutButton, LogoutStay       string
	LoggedOutTitle, LoggedOutText, LoggedOutLink                       string
	RequestIDLabel, AgainLink                                          string
	FormPostTitle, FormPostText, FormPostButton                        string

	// Date and DateTime have {day}, {month}, {year} and {time}, which is UTC.
	Date, DateTime string
	Months         []string
	// Span joins a {larger} and a {smaller} unit of time.
	Span    string
	Minutes counted
	Hours   counted
	Days    counted
	Years   counted
	JustNow string
	// MinutesAgo and its like are told of the past.
	MinutesAgo, HoursAgo, DaysAgo counted
}

// failureText says what happened, and what a person can do. Back is what to do
// if the page cannot offer a fresh start.
type failureText struct{ Title, Text, Back string }

// Lang is for the lang attribute.
func (t *texts) Lang() string { return t.tag.String() }

// Problem is why a form is shown again.
func (t *texts) Problem(p Problem) string { return t.Problems[p] }

// Notice is what has just been done.
func (t *texts) Notice(n Notice) string { return t.Notices[n] }

// Scope is what a scope allows, empty if that is not known.
func (t *texts) Scope(name string) string { return t.Scopes[name] }

// Failure is what went wrong.
func (t *texts) Failure(f Failure) failureText { return t.failure(f) }

// failure falls back to what is said of everything that is not foreseen.
func (t *texts) failure(f Failure) failureText {
	if text, ok := t.Failures[f]; ok {
		return text
	}
	return t.Failures[ServerError]
}

// fill puts values in the place of {names}, each escaped and set apart, so that
// a name that reads from right to left cannot turn the sentence around it.
func fill(text string, pairs ...string) template.HTML {
	var replace []string
	for pair := range slices.Chunk(pairs, 2) {
		replace = append(replace, "{"+pair[0]+"}", "<bdi>"+template.HTMLEscapeString(pair[1])+"</bdi>")
	}
	return template.HTML(strings.NewReplacer(replace...).Replace(template.HTMLEscapeString(text))) //nolint:gosec // both are escaped
}
