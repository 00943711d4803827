//go:build browser

package browser_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest/browser"
)

// serve serves a page under a policy that allows no script but ours.
func serve(t *testing.T, page string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-good'; img-src * data:")
		_, _ = w.Write([]byte("<!DOCTYPE html><html lang=en><title>t</title><link rel=icon href=data:,>" + page))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestBrowserNotesWhatIsWrong keeps the tests of pages from passing because
// nobody looked.
func TestBrowserNotesWhatIsWrong(t *testing.T) {
	b := browser.Start(t)
	for name, test := range map[string]struct{ page, complaint string }{
		"nothing":      {`<p>fine</p>`, ""},
		"a policy":     {`<script>1</script>`, "Content Security Policy"},
		"a style":      {`<p style="color: red">red</p>`, "Content Security Policy"},
		"a console":    {`<script nonce=good>console.error("no")</script>`, "console: error"},
		"an exception": {`<script nonce=good>throw new Error("no")</script>`, "exception: "},
		"an outsider":  {`<img src="http://outside.example/x.png" alt="">`, "ERR_NAME_NOT_RESOLVED"},
	} {
		tab := b.Open(t)
		tab.Goto(serve(t, test.page))
		complaints := strings.Join(tab.Complaints(), "\n")
		if !strings.Contains(complaints, test.complaint) || (test.complaint == "") != (complaints == "") {
			t.Errorf("%s: the complaints are %q", name, complaints)
		}
		outside := strings.Contains(strings.Join(tab.Requests(), " "), "outside.example")
		if outside != (name == "an outsider") {
			t.Errorf("%s: asked for something outside: %v", name, outside)
		}
	}
}

func TestBrowserFindsWhatIsNotAccessible(t *testing.T) {
	tab := browser.Start(t).Open(t)
	tab.Goto(serve(t, `<main><h1>Title</h1><p>fine</p></main>`))
	if found := tab.Axe(); len(found) > 0 {
		t.Errorf("a good page: %q", found)
	}
	tab.Goto(serve(t, `<main><h1>Title</h1><input name=unlabelled></main>`))
	if found := tab.Axe(); len(found) != 1 || !strings.HasPrefix(found[0], "label: ") {
		t.Errorf("a field without a label: %q", found)
	}
}

func TestBrowserKeepsPeopleApart(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("who"); err == nil {
			_, _ = w.Write([]byte("<p>" + c.Value + "</p>"))
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "who", Value: "known"})
		_, _ = w.Write([]byte("<p>new</p>"))
	}))
	t.Cleanup(server.Close)
	b := browser.Start(t)
	one, other := b.Open(t), b.Open(t)
	one.Goto(server.URL)
	one.Goto(server.URL)
	other.Goto(server.URL)
	if one.Text("p") != "known" || other.Text("p") != "new" {
		t.Errorf("one is %s, the other %s", one.Text("p"), other.Text("p"))
	}
}
