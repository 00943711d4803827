package pages_test

import (
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/text/language"

	"github.com/chancery-authority/chancery/api/pages"
)

// addresses are the fields that are refused rather than escaped.
var addresses = map[string]bool{"Action": true, "RegisterURL": true, "LoginURL": true, "AgainURL": true, "Target": true}

// setAll sets every text in a value, and returns what it is then.
func setAll(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && !addresses[f.Name] {
				setAll(v.Field(i), text)
			}
		}
	case reflect.Slice:
		changed := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(changed, v)
		v.Set(changed)
		for i := range v.Len() {
			setAll(v.Index(i), text)
		}
	}
}

func with(p pages.Page, text string) pages.Page {
	changed := reflect.New(reflect.TypeOf(p)).Elem()
	changed.Set(reflect.ValueOf(p))
	setAll(changed, text)
	return changed.Interface().(pages.Page)
}

// skeleton is a document without its texts: tags, and attributes with the
// values that decide what a browser does.
func skeleton(t *testing.T, document string) string {
	t.Helper()
	var b strings.Builder
	z := html.NewTokenizer(strings.NewReader(document))
	for z.Next() != html.ErrorToken {
		token := z.Token()
		if token.Type == html.TextToken {
			continue
		}
		b.WriteString("<" + token.Type.String() + " " + token.Data)
		for _, a := range token.Attr {
			b.WriteString(" " + a.Key)
			if strings.Contains("href src action formaction style type id", a.Key) || strings.HasPrefix(a.Key, "on") {
				b.WriteString("=" + a.Val)
			}
		}
		b.WriteString(">\n")
	}
	return b.String()
}

// firstDifference is the first line that two texts do not share, or two empty
// ones.
func firstDifference(a, b string) (inA, inB string) {
	before, after := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(before), len(after)) {
		if before[i] != after[i] {
			return before[i], after[i]
		}
	}
	if len(before) != len(after) {
		return "a shorter page", "a longer one"
	}
	return "", ""
}

func TestMarkupInAFieldIsText(t *testing.T) {
	payloads := []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onfocus='alert(1)' autofocus='`,
		`javascript:alert(1)`, `</title><script>alert(1)</script>`, `</style><script>alert(1)</script>`,
		`{{.Name}}{client}{username}`, "`${alert(1)}`", "\x00<b>\u202e", `&lt;script&gt;&#34;`, `]]><!--`,
	}
	for _, name := range []string{"Chancery", payloads[0], payloads[1]} {
		r, err := pages.New(pages.Config{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		for sample, page := range samples() {
			harmless := skeleton(t, write(t, renderer(t), language.English, with(page, "harmless")).Body.String())
			for _, payload := range payloads {
				got := skeleton(t, write(t, r, language.English, with(page, payload)).Body.String())
				if before, after := firstDifference(harmless, got); before != after {
					t.Errorf("%s: %q makes %s of %s", sample, payload, after, before)
				}
			}
		}
	}
}

// TestTextIsShownAsItIs keeps escaping honest: what was given is what a person
// reads, no more and no less.
func TestTextIsShownAsItIs(t *testing.T) {
	name := `Tom & "Jerry" <cat@example.com> {client} &amp;`
	page := pages.Login{Form: form, Client: pages.Client{Name: name}, Username: name}
	document := write(t, renderer(t), language.English, page).Body.String()
	root := parse(t, document)
	var shown, typed bool
	each(root, func(n *html.Node) {
		shown = shown || n.Data == "bdi" && text(n) == name
		typed = typed || attr(n, "id") == "username" && attr(n, "value") == name
	})
	if !shown || !typed {
		t.Errorf("shown %v, in the field %v:\n%s", shown, typed, document)
	}
}

func TestAddressesOfOthersAreRefused(t *testing.T) {
	script := []string{
		"javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\tscript:alert(1)", "data:text/html,x",
		"vbscript:x", "//evil.example", "/\\evil.example", "/\t/evil.example", "\\\\evil.example", "https:evil", "https://", "ftp://evil.example",
		"https://user:password@evil.example", "relative", "?query", "#fragment", `"><script>`, "/\n/evil.example",
	}
	local := append([]string{"", "https://evil.example/", "http://evil.example"}, script...)
	at := func(action string) pages.Form { return pages.Form{Action: action} }
	tests := map[string]struct {
		refused []string
		page    func(string) pages.Page
	}{
		"login":            {local, func(u string) pages.Page { return pages.Login{Form: at(u)} }},
		"register":         {local, func(u string) pages.Page { return pages.Register{Form: at(u)} }},
		"consent":          {local, func(u string) pages.Page { return pages.Consent{Form: at(u)} }},
		"select account":   {local, func(u string) pages.Page { return pages.SelectAccount{Form: at(u)} }},
		"account":          {local, func(u string) pages.Page { return pages.Account{Form: at(u)} }},
		"device code":      {local, func(u string) pages.Page { return pages.DeviceCode{Form: at(u)} }},
		"device confirm":   {local, func(u string) pages.Page { return pages.DeviceConfirm{Form: at(u)} }},
		"logout":           {local, func(u string) pages.Page { return pages.Logout{Form: at(u)} }},
		"registration":     {script, func(u string) pages.Page { return pages.Login{Form: form, RegisterURL: u} }},
		"sign-in":          {script, func(u string) pages.Page { return pages.Register{Form: form, LoginURL: u} }},
		"sign-in again":    {script, func(u string) pages.Page { return pages.LoggedOut{LoginURL: u} }},
		"start again":      {script, func(u string) pages.Page { return pages.Error{AgainURL: u} }},
		"form post":        {append(script, "", "/local"), func(u string) pages.Page { return pages.FormPost{Target: u} }},
		"form post of app": {[]string{"com.example.app:/callback"}, func(u string) pages.Page { return pages.FormPost{Target: u} }},
	}
	for name, test := range tests {
		for _, address := range test.refused {
			w := httptest.NewRecorder()
			err := renderer(t).Write(w, 200, language.English, test.page(address))
			if err == nil || w.Body.Len() > 0 || len(w.Header()) > 0 {
				t.Errorf("%s with %q: error %v, wrote %d bytes", name, address, err, w.Body.Len())
			}
		}
	}
}
