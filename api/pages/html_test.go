package pages_test

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/text/language"
)

func parse(t *testing.T, document string) *html.Node {
	t.Helper()
	root, err := html.Parse(strings.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// each visits the elements below a node.
func each(n *html.Node, visit func(*html.Node)) {
	for child := range n.Descendants() {
		if child.Type == html.ElementNode {
			visit(child)
		}
	}
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, key string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == key })
}

func text(n *html.Node) string {
	var b strings.Builder
	for child := range n.Descendants() {
		if child.Type == html.TextNode {
			b.WriteString(child.Data)
		}
	}
	return b.String()
}

// TestPagesAreValid is what a validator and an accessibility checker ask for
// that can be told from the markup alone, of every page in every language.
func TestPagesAreValid(t *testing.T) {
	for _, lang := range []language.Tag{language.English, language.German} {
		for name, page := range samples() {
			t.Run(lang.String()+"/"+name, func(t *testing.T) {
				document := write(t, renderer(t), lang, page).Body.String()
				checkBalance(t, document)
				root := parse(t, document)
				checkStructure(t, root, lang.String())
				checkReferences(t, root)
				checkControls(t, root)
				checkNothingActive(t, root)
			})
		}
	}
}

func checkBalance(t *testing.T, document string) {
	t.Helper()
	void := []string{"meta", "link", "input"}
	var open []string
	z := html.NewTokenizer(strings.NewReader(document))
	for z.Next() != html.ErrorToken {
		token := z.Token()
		switch {
		case token.Type == html.StartTagToken && !slices.Contains(void, token.Data):
			open = append(open, token.Data)
		case token.Type == html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != token.Data {
				t.Fatalf("</%s> closes %q", token.Data, open)
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Errorf("never closed: %q", open)
	}
}

func checkStructure(t *testing.T, root *html.Node, lang string) {
	t.Helper()
	count, level := map[string]int{}, 0
	each(root, func(n *html.Node) {
		count[n.Data]++
		if len(n.Data) == 2 && n.Data[0] == 'h' && n.Data[1] >= '1' && n.Data[1] <= '6' {
			if next := int(n.Data[1] - '0'); next > level+1 {
				t.Errorf("h%d comes after h%d", next, level)
			}
			level = int(n.Data[1] - '0')
		}
		if n.Data == "html" && attr(n, "lang") != lang {
			t.Errorf("lang is %q", attr(n, "lang"))
		}
		if slices.Contains([]string{"title", "h1", "h2", "h3", "a", "button", "label", "p", "li"}, n.Data) && strings.TrimSpace(text(n)) == "" {
			t.Errorf("an empty <%s>", n.Data)
		}
	})
	for _, once := range []string{"h1", "main", "header", "title"} {
		if count[once] != 1 {
			t.Errorf("%d <%s>", count[once], once)
		}
	}
}

// checkReferences looks for ids that are there twice or not at all.
func checkReferences(t *testing.T, root *html.Node) {
	t.Helper()
	ids := map[string]bool{}
	each(root, func(n *html.Node) {
		if has(n, "id") {
			if ids[attr(n, "id")] || attr(n, "id") == "" {
				t.Errorf("id %q is not unique", attr(n, "id"))
			}
			ids[attr(n, "id")] = true
		}
	})
	each(root, func(n *html.Node) {
		refs := strings.Fields(attr(n, "aria-describedby") + " " + attr(n, "aria-labelledby") + " " + attr(n, "for"))
		if fragment, ok := strings.CutPrefix(attr(n, "href"), "#"); ok {
			refs = append(refs, fragment)
		}
		for _, ref := range refs {
			if !ids[ref] {
				t.Errorf("<%s> refers to %q, which is not there", n.Data, ref)
			}
		}
	})
}

func checkControls(t *testing.T, root *html.Node) {
	t.Helper()
	labelled, focused, buttons, forms := map[string]bool{}, 0, 0, 0
	each(root, func(n *html.Node) { labelled[attr(n, "for")] = labelled[attr(n, "for")] || n.Data == "label" })
	each(root, func(n *html.Node) {
		if has(n, "autofocus") {
			focused++
		}
		switch n.Data {
		case "form":
			forms++
			if attr(n, "method") != "post" {
				t.Error("a form that is not posted")
			}
		case "button":
			buttons++
		case "input":
			if attr(n, "type") != "hidden" && (!labelled[attr(n, "id")] || attr(n, "autocomplete") == "") {
				t.Errorf("input %q without a label or autocomplete", attr(n, "name"))
			}
			if attr(n, "aria-invalid") != "" && attr(n, "aria-describedby") == "" {
				t.Errorf("input %q is invalid and nothing says why", attr(n, "name"))
			}
		}
	})
	if focused > 1 {
		t.Errorf("%d elements want the focus", focused)
	}
	if forms > 1 || forms > buttons {
		t.Errorf("%d forms, %d buttons", forms, buttons)
	}
}

// checkNothingActive looks for what the policy would block, or what would
// fetch something.
func checkNothingActive(t *testing.T, root *html.Node) {
	t.Helper()
	each(root, func(n *html.Node) {
		for _, a := range n.Attr {
			if a.Key == "style" || a.Key == "src" || strings.HasPrefix(a.Key, "on") {
				t.Errorf("<%s> has %s", n.Data, a.Key)
			}
		}
		if n.Data == "link" && !strings.HasPrefix(attr(n, "href"), "data:") {
			t.Errorf("a link to %q", attr(n, "href"))
		}
	})
}

func TestFormsCarryTheirHiddenFields(t *testing.T) {
	for name, page := range samples() {
		var request, csrf, forms int
		each(parse(t, write(t, renderer(t), language.English, page).Body.String()), func(n *html.Node) {
			switch {
			case n.Data == "form" && strings.HasPrefix(attr(n, "action"), "/"):
				forms++
			case attr(n, "name") == "request":
				request++
			case attr(n, "name") == "csrf" && attr(n, "value") == "the-token":
				csrf++
			}
		})
		if request != forms || csrf != forms {
			t.Errorf("%s: %d forms, %d request, %d csrf", name, forms, request, csrf)
		}
	}
}

// TestFocusIsWhereAPersonGoesOn names the field with autofocus of each page.
func TestFocusIsWhereAPersonGoesOn(t *testing.T) {
	want := map[string]string{
		"login": "username", "login-hinted": "password", "login-wrong": "username",
		"register": "username", "register-wrong": "username",
		"device-code": "user_code", "device-code-wrong": "user_code",
	}
	for name, page := range samples() {
		focused := ""
		each(parse(t, write(t, renderer(t), language.English, page).Body.String()), func(n *html.Node) {
			if has(n, "autofocus") {
				focused = attr(n, "id")
			}
		})
		if focused != want[name] {
			t.Errorf("%s: the focus is on %q, want %q", name, focused, want[name])
		}
	}
}
