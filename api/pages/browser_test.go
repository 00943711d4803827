//go:build browser

package pages_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"golang.org/x/text/language"

	"github.com/chancery-authority/chancery/api/apitest/browser"
	"github.com/chancery-authority/chancery/api/pages"
)

// show serves a page of samples at each of their names, in the language of the
// query. FormPost leads to where there is nothing, so browsers stay.
func show(t *testing.T) *httptest.Server {
	t.Helper()
	r, all := renderer(t), samples()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		page, ok := all[strings.TrimPrefix(req.URL.Path, "/")]
		if !ok {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if post, ok := page.(pages.FormPost); ok {
			post.Target = "http://" + req.Host + "/form-post-goes-nowhere"
			page = post
		}
		if err := r.Write(w, http.StatusOK, language.Make(req.URL.Query().Get("lang")), page); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// TestBrowserShowsEveryPage looks for what a person would see broken, at the
// width of a phone and of a desk, in light and dark.
func TestBrowserShowsEveryPage(t *testing.T) {
	server, tab := show(t), browser.Start(t).Open(t)
	for _, name := range slices.Sorted(maps.Keys(samples())) {
		for _, width := range []int64{1280, 390} {
			for _, lang := range []string{"en", "de"} {
				for _, scheme := range []string{"light", "dark"} {
					tab.View(width, 844, scheme == "dark")
					tab.Goto(server.URL + "/" + name + "?lang=" + lang)
					look(t, tab, fmt.Sprintf("%s-%d-%s-%s", name, width, scheme, lang), width, server.URL+"/"+name)
				}
			}
		}
	}
}

func look(t *testing.T, tab *browser.Tab, shot string, width int64, own string) {
	t.Helper()
	tab.Screenshot(shot)
	if wide := browser.Eval[int64](tab, "document.documentElement.scrollWidth"); wide > width {
		t.Errorf("%s: %d pixels wide", shot, wide)
	}
	for _, complaint := range tab.Complaints() {
		t.Errorf("%s: %s", shot, complaint)
	}
	for _, address := range tab.Requests() {
		if !strings.HasPrefix(address, own) && !strings.HasPrefix(address, "data:") {
			t.Errorf("%s: asks for %s", shot, address)
		}
	}
}

// TestBrowserFindsEveryPageAccessible asks axe-core, at the width that text must
// reflow to (WCAG 2.2 §1.4.10).
func TestBrowserFindsEveryPageAccessible(t *testing.T) {
	const width = 320
	server, tab := show(t), browser.Start(t).Open(t)
	for _, name := range slices.Sorted(maps.Keys(samples())) {
		for _, scheme := range []string{"light", "dark"} {
			tab.View(width, 640, scheme == "dark")
			tab.Goto(server.URL + "/" + name)
			if wide := browser.Eval[int64](tab, "document.documentElement.scrollWidth"); wide > width {
				t.Errorf("%s: %d pixels wide", name, wide)
			}
			for _, found := range tab.Axe() {
				t.Errorf("%s in %s: %s", name, scheme, found)
			}
		}
	}
}

// A client is an origin that forms lead to. It sends people on to the one given,
// or else shows that they have arrived.
type arrival struct {
	form   url.Values
	origin string
}

func arrivals(t *testing.T, next string) (*httptest.Server, chan arrival) {
	t.Helper()
	came := make(chan arrival, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/callback" {
			return
		}
		_ = r.ParseForm()
		came <- arrival{r.PostForm, r.Header.Get("Origin")}
		if next != "" {
			http.Redirect(w, r, next, http.StatusSeeOther)
			return
		}
		_, _ = w.Write([]byte(`<!DOCTYPE html><link rel=icon href=data:,><p id="arrived">arrived</p>`))
	}))
	t.Cleanup(server.Close)
	return server, came
}

// TestBrowserSignsInByKeyboard goes from the focus of the page to a client that
// redirects on to yet another origin, without a mouse and without scripts.
func TestBrowserSignsInByKeyboard(t *testing.T) {
	last, end := arrivals(t, "")
	first, came := arrivals(t, last.URL+"/callback")
	posted := make(chan arrival, 1)
	r := renderer(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost {
			_ = req.ParseForm()
			posted <- arrival{req.PostForm, req.Header.Get("Origin")}
			http.Redirect(w, req, first.URL+"/callback", http.StatusSeeOther)
			return
		}
		if err := r.Write(w, http.StatusOK, language.English, pages.Login{Form: form, Client: client}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	tab := browser.Start(t).Open(t)
	tab.WithoutScripts(true)
	tab.Goto(server.URL)
	tab.Await("#username:focus")
	tab.Type("alice" + kb.Tab + "wonderland")
	tab.Press(kb.Enter)
	tab.Await("#arrived")
	<-came
	<-end
	got := <-posted
	want := url.Values{"username": {"alice"}, "password": {"wonderland"}, "request": {"the-request"}, "csrf": {"the-token"}}
	if got.form.Encode() != want.Encode() || got.origin != server.URL {
		t.Errorf("posted %v from %q, want %v from %q", got.form, got.origin, want, server.URL)
	}
	if complaints := tab.Complaints(); len(complaints) > 0 {
		t.Errorf("the browser complains: %q", complaints)
	}
}

// TestBrowserPostsResponses is FormPost with scripts and without.
func TestBrowserPostsResponses(t *testing.T) {
	b := browser.Start(t)
	for _, scripts := range []bool{true, false} {
		to, came := arrivals(t, "")
		page := pages.FormPost{
			Client: client, Target: to.URL + "/callback",
			Fields: []pages.Field{{Name: "code", Value: `a "code" & <more>`}, {Name: "submit", Value: "a field may have any name"}},
		}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if err := renderer(t).Write(w, http.StatusOK, language.English, page); err != nil {
				t.Error(err)
			}
		}))
		t.Cleanup(server.Close)
		tab := b.Open(t)
		tab.WithoutScripts(!scripts)
		tab.Goto(server.URL)
		if !scripts {
			tab.Click("button")
		}
		tab.Await("#arrived")
		got := <-came
		want := url.Values{"code": {`a "code" & <more>`}, "submit": {"a field may have any name"}}
		if got.form.Encode() != want.Encode() || got.origin != server.URL {
			t.Errorf("with scripts %v: posted %v from %q", scripts, got.form, got.origin)
		}
		if complaints := tab.Complaints(); len(complaints) > 0 {
			t.Errorf("with scripts %v: the browser complains: %q", scripts, complaints)
		}
	}
}

// TestBrowserDoesNotFramePages is against clickjacking. Our own origin may not
// frame them either, which a script of it can tell.
func TestBrowserDoesNotFramePages(t *testing.T) {
	r := renderer(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/consent":
			if err := r.Write(w, http.StatusOK, language.English, samples()["consent"]); err != nil {
				t.Error(err)
			}
		case "/frame":
			_, _ = fmt.Fprintf(w, `<!DOCTYPE html><link rel=icon href=data:,><iframe src="%s"></iframe>`, req.URL.Query().Get("of"))
		default:
			_, _ = w.Write([]byte("<!DOCTYPE html><h1>may be framed</h1>"))
		}
	}))
	t.Cleanup(server.Close)
	tab := browser.Start(t).Open(t)
	for path, want := range map[string]bool{"/consent": false, "/other": true} {
		tab.Goto(server.URL + "/frame?of=" + path)
		const framed = `document.querySelector("iframe").contentDocument?.querySelector("h1") != null`
		if got := browser.Eval[bool](tab, framed); got != want {
			t.Errorf("%s in a frame: %v, want %v", path, got, want)
		}
	}
}

// TestBrowserGoesThroughControlsInOrder tells what the tab key reaches.
func TestBrowserGoesThroughControlsInOrder(t *testing.T) {
	server, tab := show(t), browser.Start(t).Open(t)
	for name, want := range map[string][]string{
		"login":          {"username", "password", "Sign in", "Create one"},
		"login-hinted":   {"password", "Sign in"},
		"register-wrong": {"username", "email", "password", "Create account", "Sign in"},
		"consent":        {"Allow", "Deny", "Use another account"},
		"device-code":    {"user_code", "Continue"},
		"device-confirm": {"Allow", "Deny", "Use another account"},
		"select-account": {"Continue as alice", "Use another account"},
		"logout":         {"Sign out", "Stay signed in"},
		"account-empty":  {"Sign out Firefox on Linux", "Sign out everywhere"},
	} {
		tab.Goto(server.URL + "/" + name)
		const focused = "(e => e === document.body ? '' : e.id || e.textContent)(document.activeElement)"
		var got []string
		if want[0] == "username" || want[0] == "password" || want[0] == "user_code" {
			tab.Await("#" + want[0] + ":focus")
			got = append(got, want[0])
		}
		for len(got) < len(want) {
			tab.Type(kb.Tab)
			got = append(got, browser.Eval[string](tab, focused))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: the tab key reaches %q, want %q", name, got, want)
		}
	}
}
