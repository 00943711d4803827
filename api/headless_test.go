package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

const (
	operatorsLogin   = "https://people.example/login?from=chancery"
	operatorsConsent = "https://people.example/consent"
)

func headless(s *config.Settings) {
	patient(s)
	s.LoginURL, s.ConsentURL = operatorsLogin, operatorsConsent
}

// sentTo is the request that a browser is sent to an operator's page with.
func sentTo(t testing.TB, p apitest.Page, page string) string {
	t.Helper()
	if p.Outside == nil || p.Status != http.StatusSeeOther || !strings.HasPrefix(p.Outside.String(), page) {
		t.Fatalf("%s shows %d %q and leads to %s, want %s", p.URL, p.Status, p.Heading(), p.Outside, page)
	}
	request := p.Outside.Query().Get("request")
	if request == "" {
		t.Fatalf("no request in %s", p.Outside)
	}
	return request
}

// decide calls the admin API as an operator's server does.
func decide(t testing.TB, r *apitest.Replica, what, request string, members ...any) apitest.Answer {
	t.Helper()
	body := map[string]any{"request": request}
	for i := 0; i < len(members); i += 2 {
		body[fmt.Sprint(members[i])] = members[i+1]
	}
	return r.Admin(t, http.MethodPost, "/authorizations/"+what, body)
}

// back is the path of ours that the browser is to come back to.
func back(t testing.TB, a apitest.Answer) string {
	t.Helper()
	path, ok := strings.CutPrefix(wantOK(t, a).Text("redirect_to"), apitest.Issuer)
	if !ok || !strings.HasPrefix(path, "/oauth2/continue?request=") {
		t.Fatalf("sent back to %s", a.Body)
	}
	return path
}

func acceptLogin(t testing.TB, r *apitest.Replica, request, subject string, members ...any) apitest.Answer {
	t.Helper()
	return decide(t, r, "accept-login", request, append([]any{"subject", subject, "amr", []string{"hwk", "mfa"}}, members...)...)
}

// TestHeadlessLogin is the whole way, with the operator's server at another
// replica than the browser.
func TestHeadlessLogin(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	r := apitest.Start(t, node.Conn(), apitest.Options{Settings: headless})
	r.Seed(t)
	other := apitest.Start(t, node.Conn(), apitest.Options{Settings: headless})
	v := r.NewVisitor(t)
	request := sentTo(t, v.Open(authorizeURL(apitest.DemoPartner, "scope", "openid email read offline_access",
		"prompt", "login consent", "max_age", "60", "login_hint", "duchess", "acr_values", "gold silver", "ui_locales", "de")), operatorsLogin)
	shown := wantOK(t, decide(t, other, "show", request))
	client, _ := shown.JSON["client"].(map[string]any)
	if client["client_id"] != "demo-partner" || client["client_name"] != "Demo partner" || client["first_party"] != false ||
		fmt.Sprintln(shown.JSON["scope"], shown.JSON["prompt"], shown.JSON["login_hint"], shown.JSON["acr_values"], shown.JSON["ui_locales"], shown.JSON["max_age"]) !=
			"[openid email read offline_access] [consent login] duchess [gold silver] de 60\n" || shown.JSON["subject"] != nil {
		t.Errorf("shown %s", shown.Body)
	}
	accepted := back(t, acceptLogin(t, other, request, "the-duchess", "acr", "gold",
		"claims", map[string]string{"email": "duchess@example.com", "preferred_username": "The Duchess", "given_name": "Her"}))
	request = sentTo(t, v.Open(accepted), operatorsConsent)
	if shown := wantOK(t, decide(t, other, "show", request)); shown.JSON["subject"] != "the-duchess" {
		t.Errorf("after the sign-in: %s", shown.Body)
	}
	agreed := back(t, decide(t, other, "accept-consent", request, "scope", []string{"openid", "email", "read"}))
	tokens := wantOK(t, r.Exchange(t, apitest.DemoPartner, wantCode(t, v.Open(agreed))))
	claims := apitest.Claims(t, tokens.Text("id_token"))
	if tokens.Text("scope") != "openid email read" || claims["sub"] != "the-duchess" || claims["acr"] != "gold" || fmt.Sprint(claims["amr"]) != "[hwk mfa]" {
		t.Errorf("tokens %s with %v", tokens.Body, claims)
	}
	account := wantOK(t, r.Admin(t, http.MethodGet, "/users/the-duchess", nil))
	if account.Text("username") != "The Duchess" || account.Text("email") != "duchess@example.com" {
		t.Errorf("account %s", account.Body)
	}
	log := string(r.WholeEvents(t))
	for _, personal := range []string{"Duchess", "duchess@example.com", request, accepted} {
		if strings.Contains(log, personal) {
			t.Errorf("the log has %q", personal)
		}
	}
	t.Run("signed in and agreed", func(t *testing.T) {
		wantCode(t, v.Open(authorizeURL(apitest.DemoPartner, "scope", "read", "prompt", "none")))
	})
	t.Run("used", func(t *testing.T) {
		wantPage(t, v.Open(agreed), http.StatusBadRequest, "This page is no longer open")
		wantError(t, decide(t, r, "accept-consent", request), http.StatusBadRequest, "invalid_request_uri")
	})
	t.Run("accepted twice", func(t *testing.T) {
		// The same browser after signing out: nobody is signed in again by a copy.
		openAccount(t, v)
		wantPage(t, v.Submit(v.Open(accountPath), "decision", "sign_out_everywhere"), http.StatusOK, "You are signed out")
		wantPage(t, v.Open(accepted), http.StatusBadRequest, "This page is no longer open")
	})
}

// TestHeadlessPagesTakeThePlaceOfOurs has nobody get around them.
func TestHeadlessPagesTakeThePlaceOfOurs(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: headless})
	v := r.NewVisitor(t)
	p := v.Open(authorizeURL(apitest.DemoPartner))
	query := "?" + url.Values{"request": {sentTo(t, p, operatorsLogin)}}.Encode()
	sentTo(t, v.Open("/oauth2/login"+query), operatorsLogin)
	if p := v.Open("/oauth2/register" + query); p.Status != http.StatusForbidden {
		t.Errorf("register: %d %q", p.Status, p.Heading())
	}
	sentTo(t, v.Open(accountPath), operatorsLogin)
	t.Run("with a form of ours", func(t *testing.T) {
		request := sentTo(t, v.Open(accountPath), operatorsLogin)
		account := v.Open(back(t, acceptLogin(t, r, request, "the-duchess")))
		wantPage(t, account, http.StatusOK, "Your account")
		for _, page := range []string{"/oauth2/login", "/oauth2/register", "/oauth2/consent"} {
			sent := account
			sent.Action = page
			got := v.Submit(sent, "request", request, "username", authority.DemoUser, "password", authority.DemoPassword, "email", "a@example.com", "decision", "allow")
			if page == "/oauth2/login" {
				sentTo(t, got, operatorsLogin)
			} else if got.Status < http.StatusBadRequest {
				t.Errorf("%s: %d %q", page, got.Status, got.Heading())
			}
		}
	})
}

func TestHeadlessLoginBinding(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: headless})
	v := r.NewVisitor(t)
	start := func() string {
		return sentTo(t, v.Open(authorizeURL(apitest.DemoSPA, "prompt", "login")), operatorsLogin)
	}
	t.Run("another browser", func(t *testing.T) {
		accepted := back(t, acceptLogin(t, r, start(), "the-duchess"))
		thief := r.NewVisitor(t)
		thief.Open(authorizeURL(apitest.DemoSPA))
		for _, one := range []*apitest.Visitor{r.NewVisitor(t), thief} {
			wantPage(t, one.Open(accepted), http.StatusBadRequest, "This page is no longer open")
			sentTo(t, one.Open(accountPath), operatorsLogin)
		}
		wantCode(t, v.Open(accepted))
	})
	t.Run("loaded twice", func(t *testing.T) {
		accepted := back(t, acceptLogin(t, r, sentTo(t, v.Open(authorizeURL(apitest.DemoPartner, "prompt", "login")), operatorsLogin), "the-duchess"))
		for range 2 {
			sentTo(t, v.Open(accepted), operatorsConsent)
		}
	})
	t.Run("not to be remembered", func(t *testing.T) {
		for _, remember := range []bool{true, false} {
			v := r.NewVisitor(t)
			request := sentTo(t, v.Open(authorizeURL(apitest.DemoSPA)), operatorsLogin)
			target := back(t, acceptLogin(t, r, request, "the-duchess", "remember", remember))
			if c := sessionCookie(t, browse(t, r.URL+target, v.Cookies()...)); c.Value == "" || c.Expires.IsZero() == remember {
				t.Errorf("remember %v: cookie %v", remember, c)
			}
		}
	})
	t.Run("cut off in between", func(t *testing.T) {
		accepted := back(t, acceptLogin(t, r, start(), "the-hare"))
		wantOK(t, r.Admin(t, http.MethodPost, "/users/the-hare/cut-off", nil))
		wantPage(t, r.NewVisitor(t).Open(accepted), http.StatusBadRequest, "This page is no longer open")
		wantPage(t, v.Open(accepted), http.StatusBadRequest, "This page is no longer open")
	})
	t.Run("disabled in between", func(t *testing.T) {
		accepted := back(t, acceptLogin(t, r, start(), "the-cat"))
		wantOK(t, r.Admin(t, http.MethodPost, "/users/the-cat/disable", nil))
		if p := v.Open(accepted); p.Status != http.StatusBadRequest || p.Outside != nil {
			t.Errorf("%d %q", p.Status, p.Heading())
		}
		wantError(t, acceptLogin(t, r, start(), "the-cat"), http.StatusBadRequest, "access_denied")
	})
	t.Run("deleted", func(t *testing.T) {
		back(t, acceptLogin(t, r, start(), "the-dodo"))
		if a := r.Admin(t, http.MethodDelete, "/users/the-dodo", nil); a.Status != http.StatusOK {
			t.Fatalf("delete: %d", a.Status)
		}
		wantError(t, acceptLogin(t, r, start(), "the-dodo"), http.StatusBadRequest, "access_denied")
	})
	t.Run("somebody else than before", func(t *testing.T) {
		accepted := back(t, acceptLogin(t, r, start(), "the-duchess"))
		tokens := wantOK(t, r.Exchange(t, apitest.DemoSPA, wantCode(t, v.Open(accepted))))
		if subject(t, tokens) != "the-duchess" {
			t.Errorf("tokens of %s", subject(t, tokens))
		}
	})
}

func TestHeadlessRejection(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: headless})
	v := r.NewVisitor(t)
	request := sentTo(t, v.Open(authorizeURL(apitest.DemoPartner)), operatorsLogin)
	rejected := back(t, decide(t, r, "reject", request, "error", "access_denied", "error_description", "not on Tuesdays"))
	q := wantResponse(t, v.Open(rejected))
	if q.Get("error") != "access_denied" || q.Get("error_description") != "not on Tuesdays" || q.Has("code") {
		t.Errorf("response %v", q)
	}
	wantPage(t, r.NewVisitor(t).Open(rejected), http.StatusBadRequest, "This page is no longer open")
	t.Run("for no client", func(t *testing.T) {
		request := sentTo(t, v.Open(accountPath), operatorsLogin)
		if p := v.Open(back(t, decide(t, r, "reject", request, "error", "access_denied"))); p.Status != http.StatusForbidden || p.Outside != nil {
			t.Errorf("%d %q", p.Status, p.Heading())
		}
		wantError(t, decide(t, r, "accept-consent", request), http.StatusConflict, "conflict")
		if a := wantOK(t, decide(t, r, "show", request)); a.JSON["client"] != nil {
			t.Errorf("shown %s", a.Body)
		}
	})
}

// TestHeadlessRefusals is what an operator's server is told.
func TestHeadlessRefusals(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: headless})
	v := r.NewVisitor(t)
	held := sentTo(t, v.Open(authorizeURL(apitest.DemoPartner)), operatorsLogin)
	var parameters []string
	for name, values := range apitest.CodeQuery("demo-partner", "read") {
		if name != "client_id" {
			parameters = append(parameters, name, values[0])
		}
	}
	pushed := r.Post(t, "/oauth2/par", apitest.DemoPartner, parameters...).Text("request_uri")
	pushed = pushed[strings.LastIndex(pushed, ":")+1:]
	for name, test := range map[string]struct {
		what, request string
		members       []any
		status        int
		code          string
	}{
		"no request":                {"show", "", nil, 400, "invalid_request"},
		"garbage":                   {"show", "garbage", nil, 400, "invalid_request_uri"},
		"tampered with":             {"show", held + "AAAA", nil, 400, "invalid_request_uri"},
		"pushed, and no browser":    {"show", pushed, nil, 400, "invalid_request_uri"},
		"unknown member":            {"show", held, []any{"subject", "x"}, 400, "invalid_request"},
		"no subject":                {"accept-login", held, []any{"amr", []string{"pwd"}}, 400, "invalid_request"},
		"no id":                     {"accept-login", held, []any{"amr", []string{"pwd"}, "subject", "a.b"}, 400, "invalid_request"},
		"too long an id":            {"accept-login", held, []any{"amr", []string{"pwd"}, "subject", strings.Repeat("a", 65)}, 400, "invalid_request"},
		"a client's id":             {"accept-login", held, []any{"amr", []string{"pwd"}, "subject", "demo-partner"}, 409, "conflict"},
		"no methods":                {"accept-login", held, []any{"subject", "x", "amr", []string{}}, 400, "invalid_request"},
		"an empty method":           {"accept-login", held, []any{"subject", "x", "amr", []string{""}}, 400, "invalid_request"},
		"too long an acr":           {"accept-login", held, []any{"subject", "x", "amr", []string{"pwd"}, "acr", strings.Repeat("a", 65)}, 400, "invalid_request"},
		"an unknown claim":          {"accept-login", held, []any{"subject", "x", "amr", []string{"pwd"}, "claims", map[string]string{"shoe_size": "9"}}, 400, "invalid_request"},
		"a bad address":             {"accept-login", held, []any{"subject", "x", "amr", []string{"pwd"}, "claims", map[string]string{"email": "x"}}, 400, "invalid_request"},
		"a bad day":                 {"accept-login", held, []any{"subject", "x", "amr", []string{"pwd"}, "claims", map[string]string{"birthdate": "x"}}, 400, "invalid_request"},
		"consent of nobody":         {"accept-consent", held, nil, 400, "login_required"},
		"no error":                  {"reject", held, nil, 400, "invalid_request"},
		"an error of one's own":     {"reject", held, []any{"error", "tuesday"}, 400, "invalid_request"},
		"a description with quotes": {"reject", held, []any{"error", "access_denied", "error_description", `"`}, 400, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, decide(t, r, test.what, test.request, test.members...), test.status, test.code)
		})
	}
	for _, id := range []string{"x", "a.b", "demo-partner"} {
		if a := r.Admin(t, http.MethodGet, "/users/"+id, nil); a.Status != http.StatusNotFound {
			t.Errorf("%s is a user: %s", id, a.Body)
		}
	}
	t.Run("scopes that were not asked for", func(t *testing.T) {
		request := sentTo(t, v.Open(back(t, acceptLogin(t, r, held, "the-duchess"))), operatorsConsent)
		for _, scope := range [][]string{{}, {"write"}, {"read", "openid"}} {
			wantError(t, decide(t, r, "accept-consent", request, "scope", scope), http.StatusBadRequest, "invalid_request")
		}
	})
	t.Run("a user's id for a client", func(t *testing.T) {
		wantError(t, r.Admin(t, http.MethodPost, "/clients", map[string]any{"client_id": "the-duchess", "grant_types": []string{"client_credentials"}}), http.StatusBadRequest, "invalid_request")
	})
	t.Run("without the admin key", func(t *testing.T) {
		for _, what := range []string{"show", "accept-login", "accept-consent", "reject"} {
			q := request{method: http.MethodPost, path: "/admin/v1/authorizations/" + what, contentType: "application/json", body: `{"request":"x"}`}
			wantError(t, q.send(t, r.AdminURL), http.StatusUnauthorized, "invalid_token")
			if a := q.send(t, r.URL); a.Status != http.StatusNotFound {
				t.Errorf("%s on the public listener: %d", what, a.Status)
			}
		}
	})
}

// TestHeadlessSubjectRegisteredAtOnce has several replicas meet a new subject.
func TestHeadlessSubjectRegisteredAtOnce(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: headless})
	const together = 8
	requests, answers := [together]string{}, make(chan apitest.Answer, together)
	for n := range together {
		requests[n] = sentTo(t, r.NewVisitor(t).Open(authorizeURL(apitest.DemoSPA)), operatorsLogin)
	}
	for _, one := range requests {
		go func() { answers <- acceptLogin(t, r, one, "the-queen") }()
	}
	for range together {
		back(t, <-answers)
	}
	log := string(r.WholeEvents(t))
	if n := strings.Count(log, "main.user.the-queen"); n != 1 {
		t.Errorf("%d events of the user", n)
	}
	if !slices.Contains(strings.Split(string(wantOK(t, r.Admin(t, http.MethodGet, "/users/the-queen", nil)).Body), ","), `"username":"the-queen"`) {
		t.Error("has no name")
	}
}
