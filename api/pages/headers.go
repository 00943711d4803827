package pages

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// setHeaders sets what belongs to a page, over what is set for every answer.
func (r *Renderer) setHeaders(h http.Header, d description, t *texts) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", t.tag.String())
	h.Set("Content-Security-Policy", r.policy(d))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", d.referrer())
	// A client that opened a window for the sign-in would lose it for good.
	h.Del("Cross-Origin-Opener-Policy")
	if !d.inFlow {
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
	}
}

// referrer is not no-referrer, which makes browsers send "Origin: null" with
// our own forms too. The client that FormPost goes to may see our origin.
func (d description) referrer() string {
	if d.target != "" {
		return "strict-origin"
	}
	return "same-origin"
}

// policy is a page's Content-Security-Policy. Browsers apply form-action also
// to every redirect after a form, those of the client's own included, so pages
// whose form leads to a client have none.
func (r *Renderer) policy(d description) string {
	policy := []string{
		"default-src 'none'", "style-src " + hash(r.style), "img-src data:", "base-uri 'none'", "frame-ancestors 'none'",
	}
	switch {
	case d.target != "":
		policy = append(policy, "script-src "+hash(r.script))
	case d.form == nil:
		policy = append(policy, "form-action 'none'")
	case !d.form.ToClient:
		policy = append(policy, "form-action 'self'")
	}
	return strings.Join(policy, "; ")
}

// hash is a source expression for an inline element's exact text.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// checkAddresses keeps everything out of a page's links and forms that could
// run as a script or, of forms, leave this origin.
func (d description) checkAddresses() error {
	if d.form != nil && !local(d.form.Action) {
		return fmt.Errorf("the %s page's form must go to a path of this origin", d.template)
	}
	for _, link := range d.links {
		if link != "" && !local(link) && !web(link) {
			return fmt.Errorf("a link of the %s page is neither a path of this origin nor an http address", d.template)
		}
	}
	if d.template == "form_post" && !web(d.target) {
		return fmt.Errorf("the %s page's form must go to an http address", d.template)
	}
	return nil
}

// local reports whether a reference is a path of this origin. Browsers take
// "/\" for "//" and leave out tabs and line ends, which would make it another's.
func local(ref string) bool {
	u, err := url.Parse(ref)
	return err == nil && u.Scheme == "" && u.Host == "" && strings.HasPrefix(ref, "/") &&
		!strings.HasPrefix(ref, "//") && !strings.ContainsAny(ref, "\\\t\r\n")
}

// web reports whether a reference is an absolute http or https URI.
func web(ref string) bool {
	u, err := url.Parse(ref)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}
