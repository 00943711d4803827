package api_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api"
	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/rules"
)

// planted is a value that no answer may repeat. It is too short for a state.
const planted = "PLANTED"

// A told is how one reason must be told in each dialect.
type told struct {
	status      int
	code        string
	loginStatus int
	loginCode   string
	// parameter is the one that is named, if the requests reach the reason by one.
	parameter string
	// oauth and login are requests that are refused for the reason. A dialect
	// that has none is asked to render it.
	oauth, login func() apitest.Answer
	// sent is what no answer may repeat, planted if empty.
	sent string
}

// TestRefusals walks the table of refusals in both dialects.
func TestRefusals(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) { patient(s); s.FailureLimit = anHour }})
	all := map[rules.Reason]told{}
	for _, rows := range []func(testing.TB, *apitest.Replica) map[rules.Reason]told{
		formRefusals, grantRefusals, deviceRefusals, exchangeRefusals, loginRefusals, personRefusals, adminRefusals, modelRefusals, keyRefusals, otherRefusals,
	} {
		maps.Copy(all, rows(t, r))
	}
	for _, reason := range api.Reasons() {
		t.Run(string(reason), func(t *testing.T) {
			row, ok := all[reason]
			if !ok {
				t.Fatal("no row here")
			}
			oauth, login := row.answers(t, reason)
			wantError(t, oauth, row.status, row.code)
			wantLoginError(t, login, row.loginStatus, row.loginCode)
			for _, a := range []apitest.Answer{oauth, login} {
				if got := parameterOf(a); got != row.parameter {
					t.Errorf("names %q, want %q: %s", got, row.parameter, a.Body)
				}
				if strings.Contains(string(a.Body), or(row.sent, planted)) {
					t.Errorf("repeats what was sent: %s", a.Body)
				}
				if a.Status == http.StatusTooManyRequests && a.Header.Get("Retry-After") == "" {
					t.Error("429 without Retry-After")
				}
			}
		})
	}
}

// answers are those of both dialects, over HTTP where there is a way to it.
func (row told) answers(t *testing.T, reason rules.Reason) (oauth, login apitest.Answer) {
	t.Helper()
	err := fmt.Errorf("%s: %w", planted, &rules.Refusal{Reason: reason, Parameter: row.parameter, Detail: planted})
	server := httptest.NewServer(api.Refusing(err))
	t.Cleanup(server.Close)
	if row.oauth == nil {
		row.oauth = func() apitest.Answer { return request{path: "/" + planted}.send(t, server.URL) }
	}
	if row.login == nil {
		row.login = func() apitest.Answer { return request{path: "/api/" + planted}.send(t, server.URL) }
	}
	return row.oauth(), row.login()
}

// inBoth sends a request to the token endpoints of both dialects.
func (row told) inBoth(t testing.TB, r *apitest.Replica, q request) told {
	t.Helper()
	suffix := q.path
	send := func(path string) func() apitest.Answer {
		return func() apitest.Answer { q.path = path + suffix; return q.send(t, r.URL) }
	}
	row.oauth, row.login = send(tokenPath), send(loginIssuePath)
	return row
}

// as is a body of a client that authenticates in it.
func as(c apitest.Client, pairs ...string) string {
	all := append([]string{"client_id", c.ID}, pairs...)
	if c.Secret != "" {
		all = append(all, "client_secret", c.Secret)
	}
	return form(all...)
}

// formRefusals are of what is wrong with a request whatever it asks for.
func formRefusals(t testing.TB, r *apitest.Replica) map[rules.Reason]told {
	bad := func(parameter string) told { return told{400, "invalid_request", 400, "0", parameter, nil, nil, ""} }
	s := apitest.DemoService
	large, method, route := bad(""), bad(""), bad("")
	large.status = 413
	method.status, method.loginStatus = 405, 405
	route.status, route.code, route.loginStatus, route.loginCode = 404, "not_found", 404, "003-061"
	route.oauth = func() apitest.Answer { return request{path: "/oauth2/" + planted}.send(t, r.URL) }
	route.login = func() apitest.Answer { return request{path: "/api/" + planted}.send(t, r.URL) }
	return map[rules.Reason]told{
		"malformed_request":   bad("").inBoth(t, r, request{body: planted + "=%zz"}),
		"duplicate_parameter": bad("code").inBoth(t, r, request{body: form("code", planted, "code", planted)}),
		"parameter_in_query":  bad("client_secret").inBoth(t, r, request{path: "?client_secret=" + planted, body: as(s)}),
		"wrong_content_type":  bad("").inBoth(t, r, request{contentType: "text/" + planted, body: as(s)}),
		"body_too_large":      large.inBoth(t, r, request{body: form("a", strings.Repeat(planted, 10_000))}),
		"several_client_authentications": bad("client_secret").inBoth(t, r, request{
			body: form("client_id", s.ID, "client_secret", planted), header: []string{"Authorization", basic(s)},
		}),
		"wrong_method": method.inBoth(t, r, request{method: http.MethodPatch, path: "?a=" + planted}),
		"no_route":     route,
	}
}

// grantRefusals are of token requests.
func grantRefusals(t testing.TB, r *apitest.Replica) map[rules.Reason]told {
	s, spa := apitest.DemoService, apitest.DemoSPA
	row := func(status int, code string, loginStatus int, loginCode, parameter string, c apitest.Client, pairs ...string) told {
		return told{status, code, loginStatus, loginCode, parameter, nil, nil, ""}.inBoth(t, r, request{body: as(c, pairs...)})
	}
	own := []string{"grant_type", "client_credentials"}
	busy := row(429, "too_many_requests", 429, "0", "", apitest.Client{ID: planted + "4", Secret: planted}, own...)
	for range 3 {
		wantError(t, busy.oauth(), http.StatusUnauthorized, "invalid_client")
	}
	return map[rules.Reason]told{
		"client_authentication_failed": row(401, "invalid_client", 400, "010-019", "", apitest.Client{ID: s.ID, Secret: planted}, own...),
		authority.Busy:                 busy,
		"unsupported_grant_type":       row(400, "unsupported_grant_type", 400, "0", "grant_type", s, "grant_type", planted),
		rules.MissingParameter:         row(400, "invalid_request", 400, "0", "grant_type", s, "scope", planted),
		rules.UnauthorizedClient:       row(400, "unauthorized_client", 422, "003-020", "grant_type", s, "grant_type", "refresh_token", "refresh_token", planted),
		rules.InvalidScope:             row(400, "invalid_scope", 422, "0", "scope", s, append(own, "scope", planted)...),
		rules.InvalidTarget:            row(400, "invalid_target", 422, "0", "audience", s, append(own, "audience", planted)...),
		rules.BadParameter: row(400, "invalid_request", 400, "0", "code_verifier", spa,
			"grant_type", "authorization_code", "code", planted, "code_verifier", planted),
		rules.InvalidCode: row(400, "invalid_grant", 400, "010-023", "code", spa,
			"grant_type", "authorization_code", "code", planted, "code_verifier", apitest.Verifier),
		rules.InvalidRefreshToken: row(400, "invalid_grant", 400, "010-023", "refresh_token", spa,
			"grant_type", "refresh_token", "refresh_token", planted),
	}
}

// deviceRefusals are of devices that poll. To slow down and to have waited for
// too long take what only other tests do, and to a user code only people come.
func deviceRefusals(t testing.TB, r *apitest.Replica) map[rules.Reason]told {
	cli := apitest.DemoCLI
	row := func(code string, loginStatus int, loginCode, parameter, deviceCode string) told {
		return told{400, code, loginStatus, loginCode, parameter, nil, nil, deviceCode}.
			inBoth(t, r, request{body: as(cli, pollWith(deviceCode)...)})
	}
	waiting, denied := beginDevice(t, r, cli), beginDevice(t, r, cli)
	v := signedIn(t, r)
	v.Submit(confirm(t, v, denied.Text("user_code")), "decision", "deny")
	return map[rules.Reason]told{
		rules.AuthorizationPending: row("authorization_pending", 400, "0", "", waiting.Text("device_code")),
		rules.DeviceDenied:         row("access_denied", 401, "010-026", "", denied.Text("device_code")),
		rules.InvalidDeviceCode:    row("invalid_grant", 400, "010-023", "device_code", planted),
		// Only of an administrator who adds partitions.
		authority.StreamDenied:  {409, "conflict", 422, "0", "", nil, nil, ""},
		authority.StreamRefused: {409, "conflict", 422, "0", "", nil, nil, ""},

		rules.SlowDown:          {400, "slow_down", 429, "0", "", nil, nil, ""},
		rules.DeviceCodeExpired: {400, "expired_token", 400, "010-023", "", nil, nil, ""},
		rules.UnknownUserCode:   {400, "invalid_request", 400, "0", "", nil, nil, ""},
	}
}

// exchangeRefusals are of token exchanges.
func exchangeRefusals(t testing.TB, r *apitest.Replica) map[rules.Reason]told {
	c := exchanger(t, r, nil, map[string]any{"max_depth": 1})
	alices := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	once := wantOK(t, swap(t, r, c, alices)).Text("access_token")
	row := func(status int, code, parameter, subject string, pairs ...string) told {
		return told{400, "invalid_request", status, code, parameter, nil, nil, ""}.
			inBoth(t, r, request{body: as(c, exchangeForm(subject, pairs...)...)})
	}
	deep := row(422, "003-020", "subject_token", once)
	deep.sent = once
	return map[rules.Reason]told{
		rules.InvalidSubjectToken: row(400, "010-023", "subject_token", planted),
		rules.InvalidActorToken:   row(400, "010-023", "actor_token", alices, actingBy(planted)...),
		rules.ExchangeNotAllowed:  deep,
	}
}

// loginRefusals are of calls that only the Login API has.
func loginRefusals(t testing.TB, r *apitest.Replica) map[rules.Reason]told {
	credentials := map[string]string{"username": authority.DemoUser, "password": authority.DemoPassword, "email": planted + "@example.com"}
	row := func(code string, loginStatus int, loginCode, parameter, path string, query, body []string) told {
		q, sent := apitest.CodeQuery("demo-spa", "read"), maps.Clone(credentials)
		for i := 0; i < len(query); i += 2 {
			q.Set(query[i], query[i+1])
		}
		for i := 0; i < len(body); i += 2 {
			sent[body[i]] = body[i+1]
		}
		call := func() apitest.Answer { return r.JSON(t, path+"?"+q.Encode(), sent) }
		return told{400, code, loginStatus, loginCode, parameter, nil, call, ""}
	}
	noProject := told{404, "not_found", 404, "003-019", "project_id", nil, nil, ""}
	noProject.login = func() apitest.Answer {
		return request{method: http.MethodGet, path: keysPath(planted + "3")}.send(t, r.URL)
	}
	invalidToken := told{401, "invalid_token", 422, "002-016", "token", nil, nil, ""}
	invalidToken.login = func() apitest.Answer { return r.JSON(t, validatePath, map[string]string{"token": planted}) }
	bearerless := told{401, "invalid_token", 401, "002-016", "", nil, nil, ""}
	badBearer := bearerless
	bearerless.login = func() apitest.Answer { return request{method: http.MethodGet, path: mePath}.send(t, r.URL) }
	unknown := told{400, "invalid_request", 400, "0", "username", nil, nil, ""}
	spas := r.Tokens(t, apitest.DemoSPA, "read").Text("access_token")
	unknown.login = func() apitest.Answer { return patchMe(t, r, spas, map[string]any{"username": planted}) }
	badBearer.login = func() apitest.Answer { return me(t, r, planted) }
	sessionless := told{401, "login_required", 401, "002-016", "", nil, nil, ""}
	sessionless.login = func() apitest.Answer { return ssoAt(t, r) }
	return map[rules.Reason]told{
		authority.NoSession:         sessionless,
		"no_such_project":           noProject,
		authority.InvalidToken:      invalidToken,
		authority.WrongCredentials:  row("invalid_grant", 401, "003-001", "", loginPath, nil, []string{"password", planted}),
		authority.UsernameTaken:     row("invalid_request", 422, "003-003", "username", registerPath, nil, nil),
		authority.AccountDisabled:   row("access_denied", 401, "010-026", "", loginPath, nil, disabledUser(t, r)),
		authority.NoSuchClient:      row("invalid_request", 404, "003-061", "client_id", loginPath, []string{"client_id", planted + "3"}, nil),
		"bearer_token_required":     bearerless,
		rules.InvalidBearer:         badBearer,
		"unknown_member":            unknown,
		authority.NoSuchUser:        {404, "not_found", 404, "003-002", "", nil, nil, ""},
		"unsupported_response_type": row("unsupported_response_type", 400, "0", "response_type", loginPath, []string{"response_type", planted}, nil),
		"state_too_short":           row("invalid_request", 400, "010-022", "state", loginPath, []string{"state", planted}, nil),
		rules.RedirectNotAllowed:    row("invalid_request", 400, "010-023", "redirect_uri", loginPath, []string{"redirect_uri", "https://" + planted}, nil),
		rules.ChallengeRequired: row("invalid_request", 400, "0", "code_challenge", loginPath,
			[]string{"code_challenge", "", "code_challenge_method", ""}, nil),
	}
}

// disabledUser are the credentials of a user who was disabled.
func disabledUser(t testing.TB, r *apitest.Replica) []string {
	t.Helper()
	body := map[string]string{"username": "dora", "password": planted, "email": "dora@example.com"}
	code := apitest.CodeOf(t, r.JSON(t, registerPath+"?"+apitest.CodeQuery("demo-spa", "read").Encode(), body))
	dora := subject(t, wantOK(t, r.Exchange(t, apitest.DemoSPA, code)))
	wantOK(t, r.Admin(t, http.MethodPost, "/users/"+dora+"/disable", nil))
	return []string{"username", body["username"], "password", body["password"]}
}

// personRefusals are of what people see in pages, and clients by redirect: here
// they are rendered as the dialects would. Only the Login API tells of consent.
func personRefusals(t testing.TB, r *apitest.Replica) map[rules.Reason]told {
	row := func(status int, code string, loginStatus int, loginCode string) told {
		return told{status, code, loginStatus, loginCode, "", nil, nil, ""}
	}
	unagreed := row(400, "consent_required", 401, "010-026")
	cookie := sessionCookie(t, r.LoginAnswer(t, apitest.DemoSPA, "read"))
	unagreed.login = func() apitest.Answer {
		return browse(t, r.URL+ssoPath+"?"+apitest.CodeQuery("demo-partner", "read").Encode(), cookie)
	}
	return map[rules.Reason]told{
		rules.LoginRequired:            row(400, "login_required", 401, "002-016"),
		rules.AccountSelectionRequired: row(400, "account_selection_required", 401, "002-016"),
		rules.ConsentRequired:          unagreed,
		rules.AccessDenied:             row(403, "access_denied", 401, "010-026"),
		authority.RequestExpired:       row(400, "invalid_request_uri", 400, "0"),
		authority.RequestUsed:          row(400, "invalid_request_uri", 400, "0"),
		rules.FirstPartyRequired:       row(403, "access_denied", 403, "010-026"),
		"forged_form":                  row(403, "access_denied", 403, "010-026"),
		"registration_closed":          row(403, "access_denied", 422, "003-020"),
		"request_not_supported":        row(400, "request_not_supported", 400, "0"),
		"request_uri_not_supported":    row(400, "request_uri_not_supported", 400, "0"),
		"registration_not_supported":   row(400, "registration_not_supported", 400, "0"),
	}
}

// adminRefusals are of calls that only administrators have.
func adminRefusals(t testing.TB, r *apitest.Replica) map[rules.Reason]told {
	registerAs(t, r, planted, map[string]any{})
	if second := r.Admin(t, http.MethodPost, "/clients/"+planted+"/secrets", nil); second.Status != http.StatusCreated {
		t.Fatalf("add a second secret: %d %s", second.Status, second.Body)
	}
	admin := func(method, path string, body any) func() apitest.Answer {
		return func() apitest.Answer { return r.Admin(t, method, path, body) }
	}
	stranger := func() apitest.Answer {
		return request{method: http.MethodGet, path: "/admin/v1/clients", header: bearer(planted)}.send(t, r.AdminURL)
	}
	again := map[string]any{"client_id": planted, "grant_types": []string{"client_credentials"}}
	return map[rules.Reason]told{
		"admin_key_required": {401, "invalid_token", 401, "002-016", "", stranger, nil, ""},
		rules.AlreadyExists:  {409, "already_exists", 422, "003-003", "client_id", admin(http.MethodPost, "/clients", again), nil, ""},
		rules.NotFound:       {404, "not_found", 404, "003-061", "client_id", admin(http.MethodGet, "/clients/"+url.PathEscape(planted+"2"), nil), nil, ""},
		rules.Conflict:       {409, "conflict", 422, "0", "client_id", admin(http.MethodPost, "/clients/"+planted+"/secrets", nil), nil, ""},
	}
}

// otherRefusals are of the one call that only the RFCs have, and those that take
// a fault to reach.
func otherRefusals(t testing.TB, r *apitest.Replica) map[rules.Reason]told {
	token := r.Tokens(t, apitest.DemoWeb, "read offline").Text("refresh_token")
	foreign := func() apitest.Answer { return r.Post(t, revokePath, apitest.DemoSPA, "token", token) }
	narrow := told{403, "insufficient_scope", 403, "010-026", "", nil, nil, ""}
	narrow.oauth = func() apitest.Answer {
		return userInfo(t, r, http.MethodGet, r.Tokens(t, apitest.DemoWeb, "read").Text("access_token"))
	}
	unavailable := told{503, "temporarily_unavailable", 418, "004-001", "", nil, nil, ""}
	return map[rules.Reason]told{
		rules.TokenOfAnotherClient: {400, "invalid_request", 400, "010-023", "token", foreign, nil, token},
		rules.InsufficientScope:    narrow,
		rules.BehindTheToken:       unavailable,
		authority.Unavailable:      unavailable,
		authority.ServerError:      {500, "server_error", 418, "004-001", "", nil, nil, ""},
	}
}
