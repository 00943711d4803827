package api

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/pages"
	"github.com/chancery-authority/chancery/api/rules"
)

// browserCookie tells one browser from another before anybody has signed in:
// pending requests and forms are good only where it is.
const browserCookie = "chancery-browser"

// maxBrowserCookie bounds what is taken for our cookie.
const maxBrowserCookie = 64

// browserSecret is the cookie's value. One that is missing is made and set, so
// that a form written now can come back.
func (s *Server) browserSecret(c echo.Context) string {
	if known, ok := s.knownBrowser(c); ok {
		return known
	}
	if made, ok := c.Get(browserCookie).(string); ok {
		return made
	}
	made := rand.Text()
	c.Set(browserCookie, made)
	s.setCookie(c, browserCookie, made, time.Time{})
	return made
}

// knownBrowser is the value of the cookie that the browser came with.
func (s *Server) knownBrowser(c echo.Context) (string, bool) {
	cookies := c.Request().CookiesNamed(s.cookieName(browserCookie))
	if len(cookies) != 1 || cookies[0].Value == "" || len(cookies[0].Value) > maxBrowserCookie {
		return "", false
	}
	return cookies[0].Value, true
}

// browser names the browser in what is pending, without telling its secret.
func (s *Server) browser(c echo.Context) string { return derived("pending", s.browserSecret(c)) }

// csrf is the token of the forms that are written for a browser.
func (s *Server) csrf(c echo.Context) string { return derived("csrf", s.browserSecret(c)) }

func derived(purpose, secret string) string {
	sum := sha256.Sum256([]byte(purpose + " " + secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// posted is a form of ours that came back from the browser it was written for.
func (s *Server) posted(c echo.Context) (form, error) {
	if err := s.origin.Check(c.Request()); err != nil {
		return form{}, asError(&rules.Refusal{Reason: forgedForm, Detail: "from another origin"})
	}
	f, refusal := parseForm(c.Response(), c.Request())
	if refusal != nil {
		return form{}, asError(refusal)
	}
	secret, ok := s.knownBrowser(c)
	want := derived("csrf", secret)
	if !ok || subtle.ConstantTimeCompare([]byte(want), []byte(f.get("csrf"))) != 1 {
		return form{}, asError(&rules.Refusal{Reason: forgedForm, Parameter: "csrf"})
	}
	return f, nil
}

// cookieName adds the prefix that keeps other hosts of the domain from planting
// a cookie (RFC 6265bis §4.1.3.2), which needs https.
func (s *Server) cookieName(name string) string {
	if s.isSecure() {
		return "__Host-" + name
	}
	return name
}

// setCookie sets one of our cookies; it ends with the browser's run if expires
// is zero, and at once if that is past.
func (s *Server) setCookie(c echo.Context, name, value string, expires time.Time) {
	c.SetCookie(&http.Cookie{ //nolint:gosec // Secure but for an issuer on loopback
		Name: s.cookieName(name), Value: value, Path: "/", Expires: expires,
		HttpOnly: true, Secure: s.isSecure(), SameSite: http.SameSiteLaxMode,
	})
}

// write writes a page in the person's language.
func (s *Server) write(c echo.Context, status int, uiLocales string, p pages.Page) error {
	lang := s.pages.Match(uiLocales, c.Request().Header.Get("Accept-Language"))
	return s.pages.Write(c.Response(), status, lang, p)
}

// pageDialect tells a problem to a person.
func (s *Server) pageDialect(c echo.Context, p problem) error {
	again, _ := c.Get(againKey).(string)
	return s.write(c, p.status, "", pages.Error{Failure: failureOf(p), RequestID: requestID(c), AgainURL: again})
}

// againKey is where the address of a fresh start is kept, if there is one.
const againKey = "again"

func failureOf(p problem) pages.Failure {
	if p.Parameter == "redirect_uri" || p.Parameter == "post_logout_redirect_uri" {
		return pages.BadRedirect
	}
	if failure, ok := failures[p.Reason]; ok {
		return failure
	}
	switch {
	case p.status == http.StatusServiceUnavailable:
		return pages.Unavailable
	case p.status >= http.StatusInternalServerError:
		return pages.ServerError
	}
	return pages.BadRequest
}
