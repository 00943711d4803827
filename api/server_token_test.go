package api_test

import (
	"net/http"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
)

// TestServerToken is the header in which a server says who it is: what is sent
// there must be good, and nothing need be.
func TestServerToken(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := exchanger(t, r, nil, nil)
	server, user := own(t, r, c), r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	asleep := register(t, r, map[string]any{"grant_types": []string{"client_credentials"}})
	dead := own(t, r, asleep)
	wantOK(t, r.Admin(t, http.MethodPost, "/clients/"+asleep.ID+"/disable", nil))
	const header = "X-SERVER-AUTHORIZATION"
	for _, test := range []struct {
		name   string
		header []string
		status int
		code   string
	}{
		{"none", nil, 204, ""},
		{"bare", []string{header, server}, 204, ""},
		{"behind Bearer", []string{header, "Bearer " + server}, 204, ""},
		{"behind bearer", []string{header, "bearer  " + server}, 204, ""},
		{"of the Login API", []string{header, loginIssue(t, r, c, "grant_type", "client_credentials").Text("access_token")}, 204, ""},
		{"beside a user's token", append(bearer(user), header, server), 204, ""},
		{"empty", []string{header, ""}, 401, "002-016"},
		{"Bearer alone", []string{header, "Bearer"}, 401, "002-016"},
		{"Bearer twice", []string{header, "Bearer Bearer " + server}, 401, "002-016"},
		{"another scheme", []string{header, basic(c)}, 401, "002-016"},
		{"damaged", []string{header, server + "x"}, 401, "002-016"},
		{"a user's", []string{header, user}, 401, "002-016"},
		{"exchanged", []string{header, wantOK(t, swap(t, r, c, server)).Text("access_token")}, 401, "002-016"},
		{"of a disabled client", []string{header, dead}, 401, "002-016"},
		{"twice", []string{header, server, header, server}, 400, "0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := request{
				path: validatePath, contentType: "application/json", body: `{"token":"` + user + `"}`, header: test.header,
			}.send(t, r.URL)
			if test.status == http.StatusNoContent {
				wantValid(t, a)
				return
			}
			wantLoginError(t, a, test.status, test.code)
			if got := parameterOf(a); got != "x-server-authorization" {
				t.Errorf("names %q: %s", got, a.Body)
			}
		})
	}
}
