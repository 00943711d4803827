//go:build browser

package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/apitest/browser"
	"github.com/chancery-authority/chancery/api/authority"
)

// look keeps a picture of the page at the width of a desk and of a phone, and
// wants no complaint of the browser.
func look(t *testing.T, tab *browser.Tab, name string) {
	t.Helper()
	for _, width := range []int64{390, 1280} {
		tab.View(width, 844, false)
		tab.Screenshot(fmt.Sprintf("flow-%s-%d", name, width))
	}
	if complaints := tab.Complaints(); len(complaints) > 0 {
		t.Errorf("%s: the browser complains: %q", name, complaints)
	}
}

// shownAs is who the page of an application says is signed in.
func shownAs(t *testing.T, tab *browser.Tab) map[string]any {
	t.Helper()
	var claims map[string]any
	if err := json.Unmarshal([]byte(tab.Text("pre")), &claims); err != nil {
		t.Fatalf("%s: %v", tab.URL(), err)
	}
	return claims
}

// TestBrowserSignsIn registers at one application and is known at the next.
func TestBrowserSignsIn(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{OwnIssuer: true, Settings: withRS256})
	books, plays := zitadelParty(t, r), coreosParty(t, r)
	tab := browser.Start(t).Open(t)

	tab.Goto(books.URL + "/login")
	look(t, tab, "sign-in")
	tab.Click(`a[href*="/oauth2/register"]`)
	look(t, tab, "register")
	tab.Fill("#username", "dormouse")
	tab.Fill("#email", "dormouse@example.com")
	tab.Fill("#password", "treacle-well")
	tab.Click("button")
	look(t, tab, "consent")
	tab.Click(`button[value="allow"]`)
	first := shownAs(t, tab)
	if first["name"] != "dormouse" || first["email"] != "dormouse@example.com" || first["refresh"] != true {
		t.Errorf("signed in as %v", first)
	}

	tab.Goto(plays.URL + "/login")
	if !strings.HasPrefix(tab.URL(), r.URL+"/oauth2/consent") {
		t.Fatalf("at %s, want the consent", tab.URL())
	}
	tab.Click(`button[value="allow"]`)
	second := shownAs(t, tab)
	if second["sub"] != first["sub"] || second["at_hash"] != true {
		t.Errorf("signed in as %v", second)
	}

	tab.Goto(r.URL + "/oauth2/authorize?client_id=nobody")
	// The browser complains of the 400 itself, and of nothing else.
	if complaints := tab.Complaints(); len(complaints) != 1 || !strings.Contains(complaints[0], "400") {
		t.Errorf("the browser complains: %q", complaints)
	}
	look(t, tab, "error")

	asked := tab.Requests()
	for _, other := range []string{r.URL, books.URL, plays.URL, "about:blank"} {
		asked = slices.DeleteFunc(asked, func(u string) bool { return strings.HasPrefix(u, other) })
	}
	if len(asked) > 0 {
		t.Errorf("the pages ask others: %q", asked)
	}
}

// TestBrowserConnectsADevice follows the link that a device shows.
func TestBrowserConnectsADevice(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{OwnIssuer: true, Settings: patient})
	tab := browser.Start(t).Open(t)
	begun := beginDevice(t, r, apitest.DemoCLI)
	tab.Goto(begun.Text("verification_uri_complete"))
	tab.Fill("#username", "alice")
	tab.Fill("#password", "wonderland")
	tab.Click("button")
	look(t, tab, "device-code")
	tab.Click("button")
	look(t, tab, "device-confirm")
	if shown := tab.Text("main"); !strings.Contains(shown, begun.Text("user_code")) || !strings.Contains(shown, "Demo command line") {
		t.Errorf("asked about %q", shown)
	}
	wantError(t, pollDevice(t, r, apitest.DemoCLI, begun), http.StatusBadRequest, "authorization_pending")
	tab.Click(`button[value="allow"]`)
	look(t, tab, "device-done")
	wantOK(t, pollDevice(t, r, apitest.DemoCLI, begun))
}

// TestBrowserSignsOut of everything, by the account page, and of the browser's
// session, by the page that asks.
func TestBrowserSignsOut(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{OwnIssuer: true, Settings: withRS256})
	books := zitadelParty(t, r)
	tab := browser.Start(t).Open(t)
	signIn := func() {
		t.Helper()
		tab.Fill("#username", authority.DemoUser)
		tab.Fill("#password", authority.DemoPassword)
		tab.Click("button")
	}
	elsewhere := r.Tokens(t, apitest.DemoSPA, "read offline_access")

	tab.Goto(books.URL + "/login")
	signIn()
	tab.Click(`button[value="allow"]`)
	tab.Goto(r.URL + "/oauth2/account")
	look(t, tab, "account")
	tab.Click(`button[value="sign_out_everywhere"]`)
	if r.Active(t, elsewhere.Text("access_token")) {
		t.Error("what was issued elsewhere lives")
	}
	wantError(t, r.Refresh(t, apitest.DemoSPA, elsewhere.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	for _, address := range []string{r.URL + "/oauth2/account", books.URL + "/login"} {
		if tab.Goto(address); !strings.HasPrefix(tab.URL(), r.URL+"/oauth2/login") {
			t.Errorf("%s leads to %s, want to be asked to sign in", address, tab.URL())
		}
	}

	signIn()
	if shownAs(t, tab)["name"] != authority.DemoUser {
		t.Error("the application does not know who it is")
	}
	tab.Goto(r.URL + "/oauth2/logout")
	look(t, tab, "logout")
	tab.Click(`button[value="sign_out"]`)
	look(t, tab, "logged-out")
	if tab.Goto(books.URL + "/login"); !strings.HasPrefix(tab.URL(), r.URL+"/oauth2/login") {
		t.Errorf("at %s, want to be asked to sign in", tab.URL())
	}
}
