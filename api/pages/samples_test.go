package pages_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"golang.org/x/text/language"

	"github.com/chancery-authority/chancery/api/pages"
)

var (
	now    = time.Date(2026, 3, 12, 14, 5, 0, 0, time.UTC)
	client = pages.Client{ID: "demo-web", Name: "Wonderland Post"}
	form   = pages.Form{Action: "/form?step=1", Request: "the-request", CSRF: "the-token", ToClient: true}
)

// wrong is the form with problems.
func wrong(p ...pages.Problem) pages.Form {
	f := form
	f.Problems = p
	return f
}

// samples are all pages, some in more than one state, by name.
func samples() map[string]pages.Page {
	own := form
	own.ToClient = false
	scopes := []string{"openid", "profile", "email", "offline_access", "letters:write"}
	sessions := []pages.Session{
		{ID: "s1", UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", Since: now.Add(-90 * time.Second), Current: true},
		{ID: "s2", UserAgent: "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Version/19.0 Mobile/15E148 Safari/604.1", Since: now.Add(-50 * time.Hour)},
		{ID: "s3", UserAgent: "curl/8.14.1", Since: now.Add(-400 * time.Hour)},
		{ID: "s4", Since: now.Add(-3 * time.Hour)},
	}
	applications := []pages.Application{
		{ID: "a1", Client: client, Scopes: scopes, Since: now.Add(-1000 * time.Hour), LastUsed: now.Add(-time.Hour)},
		{ID: "a2", Client: pages.Client{ID: "a-client-without-any-name-but-with-a-very-long-id-that-has-to-be-broken-somewhere"}, Since: now},
	}
	return map[string]pages.Page{
		"login":        pages.Login{Form: form, Client: client, RegisterURL: "/register?request=the-request"},
		"login-hinted": pages.Login{Form: own, Username: "alice"},
		"login-wrong":  pages.Login{Form: wrong(pages.WrongCredentials), Client: client, Username: "alice", RegisterURL: "/register"},
		"register":     pages.Register{Form: form, Client: client, LoginURL: "/login", MinPassword: 6},
		"register-wrong": pages.Register{
			Form:   wrong(pages.UsernameTaken, pages.EmailInvalid, pages.PasswordInvalid),
			Client: client, Username: "alice", Email: "alice@", LoginURL: "/login", MinPassword: 6,
		},
		"consent": pages.Consent{
			Form: form, Client: client, Username: "alice", Scopes: scopes, Audiences: []string{"https://mail.wonderland.example", "archive"},
			Lasting: pages.Lasting{For: 30 * 24 * time.Hour}, RedirectURI: "https://post.wonderland.example/callback",
		},
		"consent-until": pages.Consent{
			Form: form, Client: pages.Client{ID: "demo-cli"}, Username: "alice",
			Lasting: pages.Lasting{Until: now}, RedirectURI: "http://127.0.0.1:9999/callback",
		},
		"consent-long": pages.Consent{
			Form: form, Client: pages.Client{ID: "https://client.example/a/very/long/identifier/of/an/application", Name: "The Royal Society for the Advancement of Correspondence"},
			Username: "bartholomew.featherstonehaugh-cholmondeley@departments.example", Scopes: scopes, RedirectURI: "com.example.app:/callback",
		},
		"select-account": pages.SelectAccount{Form: form, Client: client, Username: "alice"},
		"account":        pages.Account{Form: own, Username: "alice", Notice: pages.SessionEnded, Sessions: sessions, Applications: applications, Now: now},
		"account-empty":  pages.Account{Form: own, Username: "alice", Sessions: sessions[:1], Now: now},
		"device-code":    pages.DeviceCode{Form: own},
		"device-code-wrong": pages.DeviceCode{
			Form:     pages.Form{Action: "/device", CSRF: "the-token", Problems: []pages.Problem{pages.CodeUnknown}},
			UserCode: "WDJB-MJHX",
		},
		"device-confirm":         pages.DeviceConfirm{Form: own, Client: client, Username: "alice", UserCode: "WDJB-MJHT", Scopes: scopes, Audiences: []string{"https://files.example"}},
		"device-confirm-nothing": pages.DeviceConfirm{Form: own, Client: client, Username: "alice", UserCode: "WDJB-MJHT"},
		"done-allowed":           pages.Done{Client: client, Allowed: true},
		"done-denied":            pages.Done{Client: client},
		"logout":                 pages.Logout{Form: form, Client: client, Username: "alice"},
		"logged-out":             pages.LoggedOut{LoginURL: "/login"},
		"error":                  pages.Error{Failure: pages.Expired, RequestID: "HZB7FVUVPZ3DOGJWA2VNNC6MEN", AgainURL: "/oauth2/authorize?client_id=demo-web"},
		"error-expired":          pages.Error{Failure: pages.Expired, RequestID: "HZB7FVUVPZ3DOGJWA2VNNC6MEN"},
		"error-client":           pages.Error{Failure: pages.BadRedirect, RequestID: "HZB7FVUVPZ3DOGJWA2VNNC6MEN"},
		"error-unforeseen":       pages.Error{Failure: "unforeseen"},
		"form-post": pages.FormPost{
			Client: client, Target: "https://post.wonderland.example/callback",
			Fields: []pages.Field{{Name: "code", Value: "chc_the-code"}, {Name: "state", Value: "the state"}},
		},
	}
}

func renderer(t *testing.T) *pages.Renderer {
	t.Helper()
	r, err := pages.New(pages.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// write writes a page and returns the answer.
func write(t *testing.T, r *pages.Renderer, lang language.Tag, p pages.Page) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	if err := r.Write(w, http.StatusOK, lang, p); err != nil {
		t.Fatal(err)
	}
	return w
}
