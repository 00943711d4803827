package api_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

const (
	ssoPath    = "/api/oauth2/sso"
	authPath   = "/api/oauth2/auth"
	logoutPath = "/api/oauth2/logout"
)

// sessionCookie is the one that an answer sets.
func sessionCookie(t testing.TB, a apitest.Answer) *http.Cookie {
	t.Helper()
	cookies := (&http.Response{Header: a.Header}).Cookies()
	if len(cookies) != 1 || !strings.HasSuffix(cookies[0].Name, "chancery-session") {
		t.Fatalf("cookies %v", cookies)
	}
	return cookies[0]
}

// browse sends a GET with cookies, without following redirects.
func browse(t testing.TB, target string, cookies ...*http.Cookie) apitest.Answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cookies {
		request.AddCookie(c)
	}
	return apitest.Do(t, request)
}

func ssoAt(t testing.TB, r *apitest.Replica, cookies ...*http.Cookie) apitest.Answer {
	t.Helper()
	return browse(t, r.URL+ssoPath+"?"+apitest.CodeQuery("demo-spa", "read offline").Encode(), cookies...)
}

// signOut asks to be signed out with an access token.
func signOut(t testing.TB, r *apitest.Replica, sessions, token string, cookies ...*http.Cookie) apitest.Answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+logoutPath+"?sessions="+sessions, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	for _, c := range cookies {
		request.AddCookie(c)
	}
	return apitest.Do(t, request)
}

func wantSignedOut(t testing.TB, a apitest.Answer) {
	t.Helper()
	if a.Status != http.StatusNoContent || len(a.Body) > 0 {
		t.Fatalf("answer %d %s, want 204", a.Status, a.Body)
	}
	if c := sessionCookie(t, a); c.Value != "" || c.Expires.After(time.Now()) {
		t.Errorf("the cookie is not dropped: %v", c)
	}
}

// wantAnother is signed out, at a browser where somebody else stays signed in.
func wantAnother(t testing.TB, a apitest.Answer) {
	t.Helper()
	if a.Status != http.StatusNoContent || a.Header.Get("Set-Cookie") != "" {
		t.Errorf("answer %d, cookie %q", a.Status, a.Header.Get("Set-Cookie"))
	}
}

// TestSession signs in once and gets codes without a password.
func TestSession(t *testing.T) {
	t.Parallel()
	r := single(t)
	signedIn := r.LoginAnswer(t, apitest.DemoSPA, "read offline")
	first := wantOK(t, r.Exchange(t, apitest.DemoSPA, apitest.CodeOf(t, signedIn)))
	cookie := sessionCookie(t, signedIn)
	left := time.Until(cookie.Expires)
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" ||
		cookie.Secure || left > 24*time.Hour || left < 23*time.Hour {
		t.Errorf("cookie %v", cookie)
	}
	t.Run("sso", func(t *testing.T) {
		a := ssoAt(t, r, cookie)
		wantNoStore(t, a)
		second := wantOK(t, r.Exchange(t, apitest.DemoSPA, apitest.CodeOf(t, a)))
		was, is := apitest.Claims(t, first.Text("access_token")), apitest.Claims(t, second.Text("access_token"))
		if is["sid"] == nil || is["sid"] != was["sid"] || is["auth_time"] != was["auth_time"] || is["grant"] == was["grant"] {
			t.Errorf("claims %v after %v", is, was)
		}
	})
	t.Run("auth", func(t *testing.T) {
		query := apitest.CodeQuery("demo-spa", "read")
		query.Set("state", "state/with?odd&chars=1")
		a := browse(t, r.URL+authPath+"?"+query.Encode(), cookie)
		to, err := url.Parse(a.Header.Get("Location"))
		if err != nil || a.Status != http.StatusFound || to.Query().Get("state") != query.Get("state") ||
			!strings.HasPrefix(to.String(), authority.DemoRedirect+"?") {
			t.Fatalf("answer %d to %s", a.Status, to)
		}
		wantOK(t, r.Exchange(t, apitest.DemoSPA, to.Query().Get("code")))
	})
	t.Run("what no cookie changes", func(t *testing.T) {
		for _, path := range []string{ssoPath, authPath} {
			query := apitest.CodeQuery("demo-spa", "read")
			query.Set("redirect_uri", "https://evil.example")
			a := browse(t, r.URL+path+"?"+query.Encode(), cookie)
			wantLoginError(t, a, http.StatusBadRequest, "010-023")
			query = apitest.CodeQuery("demo-spa", "read")
			query.Del("code_challenge")
			query.Del("code_challenge_method")
			wantLoginError(t, browse(t, r.URL+path+"?"+query.Encode(), cookie), http.StatusBadRequest, "0")
			query = apitest.CodeQuery("demo-spa", "read")
			query.Set("state", "short")
			wantLoginError(t, browse(t, r.URL+path+"?"+query.Encode(), cookie), http.StatusBadRequest, "010-022")
		}
	})
	t.Run("no session", func(t *testing.T) {
		refresh := first.Text("refresh_token")
		with := func(value string) []*http.Cookie {
			return []*http.Cookie{{Name: cookie.Name, Value: value}}
		}
		for name, cookies := range map[string][]*http.Cookie{
			"none":               nil,
			"two":                {cookie, cookie},
			"another name":       {{Name: "session", Value: cookie.Value}},
			"empty":              with(""),
			"garbage":            with("garbage"),
			"cut":                with(cookie.Value[:len(cookie.Value)-1]),
			"a refresh token":    with(refresh),
			"a token's body":     with("chb_" + refresh[4:]),
			"another's MAC":      with(cookie.Value[:len(cookie.Value)-4] + "AAAA"),
			"another session id": with(cookie.Value[:8] + "AAAAAAAA" + cookie.Value[16:]),
		} {
			t.Run(name, func(t *testing.T) {
				wantLoginError(t, ssoAt(t, r, cookies...), http.StatusUnauthorized, "002-016")
			})
		}
		wantLoginError(t, browse(t, r.URL+authPath+"?"+apitest.CodeQuery("demo-spa", "read").Encode()), http.StatusUnauthorized, "002-016")
	})
	t.Run("a session is no token", func(t *testing.T) {
		wantError(t, r.Refresh(t, apitest.DemoSPA, cookie.Value), http.StatusBadRequest, "invalid_grant")
		wantError(t, r.Exchange(t, apitest.DemoSPA, cookie.Value), http.StatusBadRequest, "invalid_grant")
		wantInactive(t, r, apitest.DemoService, cookie.Value)
	})
}

// TestSessionCookieWithHTTPS is the cookie of an installation in earnest.
func TestSessionCookieWithHTTPS(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	r := apitest.Start(t, node.Conn(), apitest.Options{Settings: func(s *config.Settings) { s.Issuer = "https://id.example" }})
	r.Seed(t)
	cookie := sessionCookie(t, r.LoginAnswer(t, apitest.DemoSPA, "read"))
	if cookie.Name != "__Host-chancery-session" || !cookie.Secure || !cookie.HttpOnly || cookie.Path != "/" || cookie.Domain != "" {
		t.Errorf("cookie %v", cookie)
	}
	apitest.CodeOf(t, ssoAt(t, r, cookie))
}

// TestSessionFixation is CVE-2024-28197: whatever a browser comes with, signing
// in opens another session, and ends the one before.
func TestSessionFixation(t *testing.T) {
	t.Parallel()
	r := single(t)
	planted := sessionCookie(t, r.LoginAnswer(t, apitest.DemoSPA, "read"))
	login := newLogin(t, r)
	login.AddCookie(planted)
	opened := sessionCookie(t, apitest.Do(t, login))
	if opened.Value == planted.Value {
		t.Error("the session stayed the same")
	}
	wantLoginError(t, ssoAt(t, r, planted), http.StatusUnauthorized, "002-016")
	apitest.CodeOf(t, ssoAt(t, r, opened))

	login = newLogin(t, r)
	login.AddCookie(&http.Cookie{Name: planted.Name, Value: "chb_" + strings.Repeat("A", 76)})
	if chosen := sessionCookie(t, apitest.Do(t, login)); strings.Contains(chosen.Value, "AAAAAAAA") {
		t.Error("the browser chose its session")
	}
}

func newLogin(t testing.TB, r *apitest.Replica) *http.Request {
	t.Helper()
	body := `{"username":"` + authority.DemoUser + `","password":"` + authority.DemoPassword + `"}`
	target := r.URL + loginPath + "?" + apitest.CodeQuery("demo-spa", "read").Encode()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	return request
}

// TestSignOut ends sessions, and with all everything else too.
func TestSignOut(t *testing.T) {
	t.Parallel()
	r := single(t)
	type device struct {
		cookie *http.Cookie
		tokens apitest.Answer
	}
	signIn := func(t *testing.T) device {
		t.Helper()
		a := r.LoginAnswer(t, apitest.DemoSPA, "read offline")
		return device{sessionCookie(t, a), wantOK(t, r.Exchange(t, apitest.DemoSPA, apitest.CodeOf(t, a)))}
	}
	wantSession := func(t *testing.T, d device, lives bool) {
		t.Helper()
		if a := ssoAt(t, r, d.cookie); (a.Status == http.StatusOK) != lives {
			t.Errorf("the session lives: %t, want %t: %d %s", !lives, lives, a.Status, a.Body)
		}
	}
	t.Run("sso", func(t *testing.T) {
		here, there := signIn(t), signIn(t)
		wantSignedOut(t, signOut(t, r, "sso", here.tokens.Text("access_token"))) // a script has no cookie to send
		wantSession(t, here, false)
		wantSession(t, there, true)
		if !r.Active(t, here.tokens.Text("access_token")) {
			t.Error("the tokens went with the session")
		}
		wantOK(t, r.Refresh(t, apitest.DemoSPA, here.tokens.Text("refresh_token")))
		wantSignedOut(t, signOut(t, r, "sso", here.tokens.Text("access_token"))) // again
	})
	t.Run("the browser's", func(t *testing.T) {
		byPassword := wantOK(t, r.JSON(t, passwordPath+"?client_id=demo-spa", map[string]string{
			"username": authority.DemoUser, "password": authority.DemoPassword,
		}))
		here := signIn(t)
		wantSignedOut(t, signOut(t, r, "sso", byPassword.Text("access_token"), here.cookie))
		wantSession(t, here, false)
	})
	t.Run("not another's", func(t *testing.T) {
		here := signIn(t)
		bob := map[string]any{"username": "bob", "password": "a-good-password", "email": "bob@example.com"}
		a := r.JSON(t, registerPath+"?"+apitest.CodeQuery("demo-spa", "read").Encode(), bob)
		bobs := wantOK(t, r.Exchange(t, apitest.DemoSPA, apitest.CodeOf(t, a)))
		wantAnother(t, signOut(t, r, "sso", bobs.Text("access_token"), here.cookie))
		wantSession(t, here, true)
		wantLoginError(t, ssoAt(t, r, sessionCookie(t, a)), http.StatusUnauthorized, "002-016")
		wantAnother(t, signOut(t, r, "all", bobs.Text("access_token"), here.cookie))
		wantSession(t, here, true)
		if !r.Active(t, here.tokens.Text("access_token")) {
			t.Error("somebody else's tokens ended")
		}
	})
	t.Run("all", func(t *testing.T) {
		here, there := signIn(t), signIn(t)
		wantSignedOut(t, signOut(t, r, "all", here.tokens.Text("access_token"), here.cookie))
		for _, d := range []device{here, there} {
			wantSession(t, d, false)
			if r.Active(t, d.tokens.Text("access_token")) {
				t.Error("an access token lives")
			}
			wantError(t, r.Refresh(t, apitest.DemoSPA, d.tokens.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
		}
		wantLoginError(t, signOut(t, r, "all", here.tokens.Text("access_token")), http.StatusUnauthorized, "002-016")
		wantSession(t, signIn(t), true)
	})
	t.Run("what is wrong", func(t *testing.T) {
		here := signIn(t)
		token := here.tokens.Text("access_token")
		wantLoginError(t, signOut(t, r, "", token), http.StatusBadRequest, "0")
		wantLoginError(t, signOut(t, r, "none", token), http.StatusBadRequest, "0")
		wantLoginError(t, signOut(t, r, "sso&sessions=all", token), http.StatusBadRequest, "0")
		wantLoginError(t, signOut(t, r, "all", token+"x"), http.StatusUnauthorized, "002-016")
		wantLoginError(t, browse(t, r.URL+logoutPath+"?sessions=all", here.cookie), http.StatusUnauthorized, "002-016")
		wantSession(t, here, true)
	})
	t.Run("a disabled user", func(t *testing.T) {
		here := signIn(t)
		wantOK(t, r.Admin(t, http.MethodPost, "/users/"+subject(t, here.tokens)+"/disable", nil))
		wantSession(t, here, false)
		wantOK(t, r.Admin(t, http.MethodPost, "/users/"+subject(t, here.tokens)+"/enable", nil))
		wantSession(t, here, false)
	})
}

// TestSessionAtEveryReplica opens a session at one replica and ends it at
// another. The first one's read model stands still.
func TestSessionAtEveryReplica(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	ahead := apitest.Start(t, node.Conn(), apitest.Options{})
	ahead.Seed(t)
	var gate apitest.Gate
	behind := apitest.Start(t, node.Conn(), apitest.Options{Gate: gate.Pass})
	behind.WaitFolded(t)
	gate.Shut()
	a := ahead.LoginAnswer(t, apitest.DemoSPA, "read")
	cookie, token := sessionCookie(t, a), wantOK(t, ahead.Exchange(t, apitest.DemoSPA, apitest.CodeOf(t, a))).Text("access_token")
	apitest.CodeOf(t, ssoAt(t, behind, cookie))
	wantSignedOut(t, signOut(t, ahead, "sso", token))
	wantLoginError(t, ssoAt(t, ahead, cookie), http.StatusUnauthorized, "002-016")
	embeddedtest.Eventually(t, "the session ends where the read model stands still", func() bool {
		return ssoAt(t, behind, cookie).Status == http.StatusUnauthorized
	})
	gate.Open()
	behind.WaitFolded(t)
	wantLoginError(t, ssoAt(t, behind, cookie), http.StatusUnauthorized, "002-016")
}

// TestSessionsAreFacts reads a session's life from the log.
func TestSessionsAreFacts(t *testing.T) {
	t.Parallel()
	r := single(t)
	a := r.LoginAnswer(t, apitest.DemoSPA, "read offline")
	tokens := wantOK(t, r.Exchange(t, apitest.DemoSPA, apitest.CodeOf(t, a)))
	wantSignedOut(t, signOut(t, r, "sso", tokens.Text("access_token")))
	sid, err := events.ParseGrantID(claim(t, tokens, "sid"))
	if err != nil {
		t.Fatal(err)
	}
	realm := events.DefaultRealm
	opened, err := r.Log.After(t.Context(), realm.SessionSubject(sid), 0)
	if err != nil || len(opened) != 1 {
		t.Fatalf("%d events: %v", len(opened), err)
	}
	fact, ok := opened[0].Fact.(events.SessionOpened)
	if !ok || fact.User != subject(t, tokens) || !slices.Equal(fact.AMR, []string{"pwd"}) || opened[0].Meta.Origin == "" {
		t.Errorf("opened by %+v", opened[0])
	}
	marks, err := r.Log.After(t.Context(), realm.RevokedSubject(sid.Partition()), opened[0].Seq)
	if err != nil {
		t.Fatal(err)
	}
	want := events.SessionEnded{Session: sid, User: fact.User, Reason: events.ReasonUserRequest, Until: fact.Expires}
	if !slices.ContainsFunc(marks, func(m events.Recorded) bool { return m.Fact == want }) {
		t.Errorf("no %+v in %+v", want, marks)
	}
}
