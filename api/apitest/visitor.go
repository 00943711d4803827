package apitest

import (
	"bytes"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// A Visitor is a person with a browser that keeps cookies, follows redirects
// within the authority and runs no scripts.
type Visitor struct {
	testing.TB
	replica *Replica
	jar     *cookiejar.Jar
}

// NewVisitor is one who has never been here.
func (r *Replica) NewVisitor(t testing.TB) *Visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Visitor{t, r, jar}
}

// At is the same browser at another replica.
func (v *Visitor) At(r *Replica) *Visitor {
	v.Helper()
	other := r.NewVisitor(v.TB)
	for _, c := range v.Cookies() {
		other.SetCookie(c.Name, c.Value)
	}
	return other
}

// A Page is what a browser shows, or where it was sent outside.
type Page struct {
	Answer
	// URL is where the page is from.
	URL *url.URL
	// Outside is the redirect that leads away from the authority, or nil.
	Outside *url.URL
	// Action and Fields are the form's, Fields with the values that it came with.
	Action string
	Fields url.Values
}

// Heading is the text of the page's h1.
func (p Page) Heading() string { return p.text("h1") }

// Preformatted is the text of the page's pre.
func (p Page) Preformatted() string { return p.text("pre") }

func (p Page) text(element string) string {
	_, rest, _ := strings.Cut(string(p.Body), "<"+element+">")
	text, _, _ := strings.Cut(rest, "</"+element+">")
	return html.UnescapeString(text)
}

// Open goes to a path of the authority, or to a whole address.
func (v *Visitor) Open(target string) Page {
	v.Helper()
	return v.follow(http.MethodGet, v.resolve(target), "")
}

// Submit sends a page's form, with fields changed or added in pairs.
func (v *Visitor) Submit(p Page, pairs ...string) Page {
	v.Helper()
	if p.Action == "" {
		v.Fatalf("no form to send at %s: %d %s", p.URL, p.Status, p.Body)
	}
	fields := url.Values{}
	maps.Copy(fields, p.Fields)
	for i := 0; i < len(pairs); i += 2 {
		fields.Set(pairs[i], pairs[i+1])
	}
	return v.follow(http.MethodPost, v.resolve(p.Action), fields.Encode())
}

// Cookies are the browser's for the authority.
func (v *Visitor) Cookies() []*http.Cookie {
	v.Helper()
	return v.jar.Cookies(v.resolve("/"))
}

// SetCookie plants a cookie.
func (v *Visitor) SetCookie(name, value string) {
	v.Helper()
	v.jar.SetCookies(v.resolve("/"), []*http.Cookie{{Name: name, Value: value, Path: "/"}}) //nolint:gosec // as a browser keeps it
}

func (v *Visitor) resolve(target string) *url.URL {
	v.Helper()
	base, err := url.Parse(v.replica.URL)
	if err != nil {
		v.Fatal(err)
	}
	u, err := base.Parse(target)
	if err != nil {
		v.Fatal(err)
	}
	return u
}

// maxRedirects is how many redirects within the authority a test may take.
const maxRedirects = 10

func (v *Visitor) follow(method string, target *url.URL, body string) Page {
	v.Helper()
	for range maxRedirects {
		p := v.send(method, target, body)
		location := p.Header.Get("Location")
		if location == "" {
			return p
		}
		next, err := target.Parse(location)
		if err != nil {
			v.Fatal(err)
		}
		if p.Status == http.StatusTemporaryRedirect || p.Status == http.StatusPermanentRedirect {
			v.Errorf("redirected with %d, which would repeat a form", p.Status)
		}
		if next.Host != v.resolve("/").Host {
			p.Outside = next
			return p
		}
		method, target, body = http.MethodGet, next, ""
	}
	v.Fatalf("more than %d redirects, the last to %s", maxRedirects, target)
	return Page{}
}

func (v *Visitor) send(method string, target *url.URL, body string) Page {
	v.Helper()
	request, err := http.NewRequestWithContext(v.Context(), method, target.String(), strings.NewReader(body))
	if err != nil {
		v.Fatal(err)
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, c := range v.jar.Cookies(target) {
		request.AddCookie(c)
	}
	p := Page{Answer: Do(v.TB, request), URL: target, Fields: url.Values{}}
	v.jar.SetCookies(target, (&http.Response{Header: p.Header}).Cookies())
	p.readForm(v.TB)
	return p
}

// readForm reads the first form of the page.
func (p *Page) readForm(t testing.TB) {
	t.Helper()
	doc, err := html.Parse(bytes.NewReader(p.Body))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		switch attribute := attributes(n); {
		case n.Data == "form" && p.Action == "":
			p.Action = attribute["action"]
		case n.Data == "input" && attribute["name"] != "":
			p.Fields.Set(attribute["name"], attribute["value"])
		}
	}
}

func attributes(n *html.Node) map[string]string {
	all := map[string]string{}
	for _, a := range n.Attr {
		all[a.Key] = a.Val
	}
	return all
}
