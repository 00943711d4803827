package api_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/projector/fold"
)

const accountPath = "/oauth2/account"

// openAccount signs in, if need be, and goes to the account page.
func openAccount(t testing.TB, v *apitest.Visitor) apitest.Page {
	t.Helper()
	p := v.Open(accountPath)
	if p.Heading() == "Sign in" {
		p = signIn(t, v, p)
	}
	wantPage(t, p, http.StatusOK, "Your account")
	return p
}

// values are those of the page's buttons of a name.
func values(p apitest.Page, name string) []string {
	var all []string
	for _, part := range strings.Split(string(p.Body), `name="`+name+`" value="`)[1:] {
		value, _, _ := strings.Cut(part, `"`)
		all = append(all, value)
	}
	return all
}

// allow has a person let a client in, and gives its tokens.
func allow(t testing.TB, r *apitest.Replica, v *apitest.Visitor, scope string) apitest.Answer {
	t.Helper()
	p := v.Open(authorizeURL(apitest.DemoPartner, "scope", scope))
	if p.Heading() == "Sign in" {
		p = signIn(t, v, p)
	}
	if p.Outside == nil {
		wantPage(t, p, http.StatusOK, "Allow access?")
		p = v.Submit(p, "decision", "allow")
	}
	return wantOK(t, r.Exchange(t, apitest.DemoPartner, wantCode(t, p)))
}

func mustUser(t testing.TB, r *apitest.Replica, id string) fold.User {
	t.Helper()
	u, err := r.Server.Authority().User(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestAccountPage(t *testing.T) {
	t.Parallel()
	r := single(t)
	v := r.NewVisitor(t)
	p := openAccount(t, v)
	if p.URL.Path != accountPath || len(values(p, "revoke_session")) != 1 || !strings.Contains(string(p.Body), "This browser") {
		t.Errorf("shows %s", p.Body)
	}
	if !strings.Contains(string(p.Body), "Signed in as <strong>alice") && !strings.Contains(string(p.Body), "alice") {
		t.Errorf("says not who it is: %s", p.Body)
	}
	if strings.Contains(string(p.Body), "Unknown browser") || !strings.Contains(string(p.Body), "Go-http-client") {
		t.Errorf("does not tell the browser: %s", p.Body)
	}
	for _, path := range []string{accountPath + "?done=session_ended", accountPath + "?done=%3Cb%3E"} {
		if strings.Contains(string(v.Open(path).Body), `role="status"`) != strings.Contains(path, "ended") {
			t.Errorf("%s shows %s", path, v.Open(path).Body)
		}
	}
}

func TestEndASession(t *testing.T) {
	t.Parallel()
	r := single(t)
	v, other := r.NewVisitor(t), r.NewVisitor(t)
	openAccount(t, other)
	p := openAccount(t, v)
	embeddedtest.Eventually(t, "both sessions to be listed", func() bool {
		p = openAccount(t, v)
		return len(values(p, "revoke_session")) == 2
	})
	sessions := values(p, "revoke_session")
	p = v.Submit(p, "revoke_session", sessions[1])
	wantPage(t, p, http.StatusOK, "Your account")
	if !slices.Equal(values(p, "revoke_session"), sessions[:1]) || !strings.Contains(string(p.Body), "That sign-in has ended.") {
		t.Errorf("shows %s", p.Body)
	}
	wantPage(t, other.Open(accountPath), http.StatusOK, "Sign in")

	t.Run("of somebody else", func(t *testing.T) {
		bob := map[string]string{"username": "bob", "password": "a-good-password", "email": "bob@example.com"}
		his := r.NewVisitor(t)
		wantOK(t, r.JSON(t, registerPath+"?"+apitest.CodeQuery("demo-spa", "read").Encode(), bob))
		page := his.Submit(his.Open(accountPath), "username", bob["username"], "password", bob["password"])
		wantPage(t, page, http.StatusOK, "Your account")
		wantPage(t, his.Submit(page, "revoke_session", sessions[0]), http.StatusOK, "Your account")
		openAccount(t, v)
		if p := v.Open(accountPath); p.Heading() != "Your account" {
			t.Errorf("shows %q", p.Heading())
		}
	})
	t.Run("that never was", func(t *testing.T) {
		never := events.NewGrantID(0, [16]byte{1: 9})
		wantPage(t, v.Submit(p, "revoke_session", never.String()), http.StatusOK, "Your account")
		elsewhere := events.NewGrantID(77, [16]byte{1: 9})
		wantPage(t, v.Submit(p, "revoke_session", elsewhere.String()), http.StatusOK, "Your account")
		if p := v.Submit(p, "revoke_session", "garbage"); p.Status != http.StatusBadRequest {
			t.Errorf("garbage: %d %s", p.Status, p.Body)
		}
		if p := v.Submit(p, "decision", "dance"); p.Status != http.StatusBadRequest {
			t.Errorf("nothing to do: %d %s", p.Status, p.Body)
		}
	})
	t.Run("this one", func(t *testing.T) {
		wantPage(t, v.Submit(p, "revoke_session", sessions[0]), http.StatusOK, "You are signed out")
		wantPage(t, v.Open(accountPath), http.StatusOK, "Sign in")
		wantPage(t, v.Submit(p, "revoke_session", sessions[0]), http.StatusOK, "Sign in")
	})
}

// TestRevokeAnApplication ends all that it got from anywhere, and has it ask
// again.
func TestRevokeAnApplication(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: patient, Partitions: 2})
	v := r.NewVisitor(t)
	var all []apitest.Answer
	for _, scope := range []string{"read", "read offline_access", "write", "read offline_access", "read"} {
		all = append(all, allow(t, r, v, scope))
	}
	kept := r.Tokens(t, apitest.DemoSPA, "read offline")
	unspent := wantCode(t, v.Open(authorizeURL(apitest.DemoPartner)))
	var p apitest.Page
	embeddedtest.Eventually(t, "both applications to be listed", func() bool {
		p = openAccount(t, v)
		return len(values(p, "revoke_application")) == 2
	})
	for _, want := range []string{"Demo partner", "Last used"} {
		if !strings.Contains(string(p.Body), want) {
			t.Errorf("says not %q: %s", want, p.Body)
		}
	}
	p = v.Submit(p, "revoke_application", "demo-partner")
	wantPage(t, p, http.StatusOK, "Your account")
	if left := values(p, "revoke_application"); !slices.Equal(left, []string{"demo-spa"}) || !strings.Contains(string(p.Body), "no longer has access") {
		t.Errorf("%v: %s", left, p.Body)
	}
	for _, tokens := range all {
		if r.Active(t, tokens.Text("access_token")) {
			t.Error("an access token lives on")
		}
		if refresh := tokens.Text("refresh_token"); refresh != "" {
			wantError(t, r.Refresh(t, apitest.DemoPartner, refresh), http.StatusBadRequest, "invalid_grant")
		}
	}
	wantError(t, r.Exchange(t, apitest.DemoPartner, unspent), http.StatusBadRequest, "invalid_grant")
	if !r.Active(t, kept.Text("access_token")) {
		t.Error("another application's token is dead")
	}
	wantPage(t, v.Open(authorizeURL(apitest.DemoPartner, "scope", "read")), http.StatusOK, "Allow access?")
	log := string(r.WholeEvents(t))
	if n := strings.Count(log, `"grant.revoked.v1"`); n != 6 || strings.Count(log, `"reason":"user_request"`) != 6 {
		t.Errorf("%d grants revoked", n)
	}
	t.Run("again, or none", func(t *testing.T) {
		for _, client := range []string{"demo-partner", "nobody"} {
			wantPage(t, v.Submit(p, "revoke_application", client), http.StatusOK, "Your account")
		}
		if p := v.Submit(p, "revoke_application", "a.b"); p.Status != http.StatusBadRequest {
			t.Errorf("no client id: %d", p.Status)
		}
	})
}

// TestConsentWithdrawnWhileAGrantIsOpened has the grant opened by a consent that
// was found, and is withdrawn before the grant is.
func TestConsentWithdrawnWhileAGrantIsOpened(t *testing.T) {
	t.Parallel()
	r := single(t)
	user := subject(t, allow(t, r, r.NewVisitor(t), "read"))
	a := r.Server.Authority()
	client, err := a.Client("demo-partner")
	if err != nil {
		t.Fatal(err)
	}
	auth, _, err := a.OpenSession(t.Context(), mustUser(t, r, user), []string{authority.AMRPassword}, "", authority.Caller{})
	if err != nil {
		t.Fatal(err)
	}
	id := events.NewGrantID(0, [16]byte{1: 5})
	open := func(id events.GrantID) error {
		_, err := a.OpenWithCode(t.Context(), authority.AuthorizationRequest{
			Client: client, RedirectURI: authority.DemoRedirect, Scope: []string{"read"}, Challenge: apitest.Challenge, Grant: id, ByConsent: true,
		}, *auth)
		return err
	}
	if err := open(events.NewGrantID(0, [16]byte{1: 4})); err != nil {
		t.Fatalf("with the consent: %v", err)
	}
	if err := a.RevokeApplication(t.Context(), auth.User, "demo-partner", authority.Caller{}); err != nil {
		t.Fatal(err)
	}
	refusal := new(rules.Refusal)
	if err := open(id); !errors.As(err, &refusal) || refusal.Reason != rules.ConsentRequired {
		t.Errorf("got %v, want %s", err, rules.ConsentRequired)
	}
	g, err := a.Grant(t.Context(), id)
	if err != nil || !g.Revoked() {
		t.Errorf("the grant is %+v, %v", g, err)
	}
}

// TestRevokeAnApplicationThatAsksOn has it ask all the time: nothing that it got
// by the old consent is left.
func TestRevokeAnApplicationThatAsksOn(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	r := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	r.Seed(t)
	other := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	v := r.NewVisitor(t)
	allow(t, r, v, "read")
	page := openAccount(t, v)
	const browsers = 6
	var codes [browsers][]string
	begun := make(chan bool, browsers)
	var asking sync.WaitGroup
	for n := range browsers {
		browser := v.At(other)
		asking.Go(func() {
			for {
				p := browser.Open(authorizeURL(apitest.DemoPartner, "scope", "read"))
				if p.Outside == nil || p.Outside.Query().Get("code") == "" {
					return // it has to ask, or was refused
				}
				if codes[n] = append(codes[n], p.Outside.Query().Get("code")); len(codes[n]) == 3 {
					begun <- true
				}
			}
		})
	}
	for range browsers {
		<-begun
	}
	wantPage(t, v.Submit(page, "revoke_application", "demo-partner"), http.StatusOK, "Your account")
	asking.Wait()
	for _, code := range slices.Concat(codes[:]...) {
		wantError(t, r.Exchange(t, apitest.DemoPartner, code), http.StatusBadRequest, "invalid_grant")
	}
	user, _ := r.Server.Authority().Account(t.Context(), mustUser(t, r, subject(t, r.Tokens(t, apitest.DemoSPA, "read"))))
	if slices.ContainsFunc(user.Applications, func(a authority.Application) bool { return a.Client.ID == "demo-partner" }) {
		t.Errorf("left: %+v", user.Applications)
	}
}

func TestSignOutEverywhere(t *testing.T) {
	t.Parallel()
	r := single(t)
	v, other := r.NewVisitor(t), r.NewVisitor(t)
	tokens := allow(t, r, v, "read offline_access")
	openAccount(t, other)
	wantPage(t, v.Submit(openAccount(t, v), "decision", "sign_out_everywhere"), http.StatusOK, "You are signed out")
	for _, one := range []*apitest.Visitor{v, other} {
		wantPage(t, one.Open(accountPath), http.StatusOK, "Sign in")
	}
	wantError(t, r.Refresh(t, apitest.DemoPartner, tokens.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	if r.Active(t, tokens.Text("access_token")) {
		t.Error("the access token lives on")
	}
}

// TestAccountFormsAreOurs refuses what another page, or another browser, sends.
func TestAccountFormsAreOurs(t *testing.T) {
	t.Parallel()
	r := single(t)
	v := r.NewVisitor(t)
	p := openAccount(t, v)
	for name, change := range map[string][]string{"no token": {"csrf", ""}, "another's": {"csrf", openAccount(t, r.NewVisitor(t)).Fields.Get("csrf")}} {
		for _, action := range [][]string{{"decision", "sign_out_everywhere"}, {"revoke_application", "demo-partner"}, {"revoke_session", values(p, "revoke_session")[0]}} {
			if got := v.Submit(p, append(action, change...)...); got.Status != http.StatusForbidden {
				t.Errorf("%s, %s: %d %s", name, action[0], got.Status, got.Body)
			}
		}
	}
	openAccount(t, v)
	if p := v.Open(accountPath); p.Heading() != "Your account" {
		t.Errorf("signed out: %q", p.Heading())
	}
}
