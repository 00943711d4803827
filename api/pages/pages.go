// Package pages writes the HTML pages that people see: sign-in, consent, their
// account, errors. It knows no requests, sessions or tokens: a page is a value
// of one of the types here, and [Renderer.Write] is the one way to write it.
// Nothing is fetched from anywhere, and only FormPost has a script.
package pages

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/language"
)

//go:embed templates texts style.css submit.js
var files embed.FS

// Config is what an operator decides about the pages.
type Config struct {
	// Name is whose pages these are, "Chancery" by default.
	Name string
}

// A Renderer writes pages. It is safe for concurrent use.
type Renderer struct {
	name          string
	languages     languages
	templates     map[string]*template.Template
	style, script string
}

// New reads the embedded templates and texts. An error is a defect of the
// package, not of the configuration.
func New(c Config) (*Renderer, error) {
	r := &Renderer{name: c.Name}
	if strings.TrimSpace(r.name) == "" {
		r.name = "Chancery"
	}
	var err error
	if r.languages, err = readLanguages(); err != nil {
		return nil, err
	}
	if r.templates, err = parseTemplates(); err != nil {
		return nil, err
	}
	for name, to := range map[string]*string{"style.css": &r.style, "submit.js": &r.script} {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		*to = string(text)
	}
	return r, nil
}

// parseTemplates gives each page's template a copy of the frame around it.
func parseTemplates() (map[string]*template.Template, error) {
	frame, err := template.New("frame.html").Funcs(template.FuncMap{"fill": fill}).ParseFS(files, "templates/frame.html")
	if err != nil {
		return nil, fmt.Errorf("parsing the frame: %w", err)
	}
	entries, err := files.ReadDir("templates")
	if err != nil {
		return nil, fmt.Errorf("listing templates: %w", err)
	}
	parsed := map[string]*template.Template{}
	for _, e := range entries {
		if e.Name() == "frame.html" {
			continue
		}
		page, err := frame.Clone()
		if err == nil {
			page, err = page.ParseFS(files, "templates/"+e.Name())
		}
		if err != nil {
			return nil, fmt.Errorf("parsing %s: %w", e.Name(), err)
		}
		parsed[strings.TrimSuffix(e.Name(), ".html")] = page
	}
	return parsed, nil
}

// A Page is one of the types of this package: Login, Register, Consent,
// SelectAccount, Account, DeviceCode, DeviceConfirm, Done, Logout, LoggedOut,
// Error, FormPost.
type Page interface {
	describe(t *texts) description
}

// A description is what is to be known of a page to write it.
type description struct {
	template string
	title    string
	// form is nil if the page has none.
	form *Form
	// links are the addresses the page points to; empty ones are not shown.
	links []string
	// target is where FormPost sends its fields.
	target string
	// inFlow pages may stand in a window that a client has opened, and that
	// must still reach the client afterwards.
	inFlow bool
}

// A view is what a template sees.
type view struct {
	T             *texts
	P             Page
	Title         string
	Name, Initial string
	Style         template.CSS
	Script        template.JS
}

// Write writes a page with its headers, in the nearest language there is. After
// an error of rendering, or of an address that may not stand in a page, nothing
// was written.
func (r *Renderer) Write(w http.ResponseWriter, status int, lang language.Tag, p Page) error {
	t := r.languages.texts(lang)
	d := p.describe(t)
	if err := d.checkAddresses(); err != nil {
		return err
	}
	initial, _ := utf8.DecodeRuneInString(strings.TrimSpace(r.name))
	var page bytes.Buffer
	err := r.templates[d.template].Execute(&page, view{
		T: t, P: p, Title: d.titleIn(t, r.name), Name: r.name, Initial: strings.ToUpper(string(initial)),
		Style:  template.CSS(r.style), //nolint:gosec // embedded, nothing of a request is in it
		Script: template.JS(r.script), //nolint:gosec // embedded, nothing of a request is in it
	})
	if err != nil {
		return fmt.Errorf("rendering the %s page: %w", d.template, err)
	}
	r.setHeaders(w.Header(), d, t)
	w.WriteHeader(status)
	if _, err := w.Write(page.Bytes()); err != nil {
		return fmt.Errorf("writing the %s page: %w", d.template, err)
	}
	return nil
}

// titleIn is the page's title in a browser's tab. A problem comes first, since
// a screen reader reads the title before anything else.
func (d description) titleIn(t *texts, name string) string {
	title := d.title + " – " + name
	if d.form != nil && len(d.form.Problems) > 0 {
		title = t.ProblemTitle + " " + title
	}
	return title
}
