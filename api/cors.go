package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/projector/fold"
)

const (
	corsMethods = "GET, PATCH, POST"
	// corsMaxAge, in seconds, is how long a browser may remember a preflight.
	corsMaxAge = "600"
	// corsExposed are the headers of an answer that a script may read.
	corsExposed = "Retry-After, WWW-Authenticate, X-Request-Id"
)

// clientKey is where the client that a request names is kept, whether or not
// it proved to be that one.
const clientKey = "client"

// forClient makes the client's origins decide who may read the answer.
func (s *Server) forClient(c echo.Context, id string) {
	if client, ok := s.feed.Client(id); ok {
		c.Set(clientKey, client)
	}
}

// cors lets scripts of the origins that clients allow read answers, with
// credentials (Fetch §3.2). A preflight does not tell the client, so any
// client's origin passes; who may read the answer itself, the client's own
// list says.
func (s *Server) cors(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Add(echo.HeaderVary, echo.HeaderOrigin)
		origin := c.Request().Header.Get(echo.HeaderOrigin)
		if isPreflight(c.Request()) {
			if s.feed.AllowsOrigin(origin) {
				allowCredentials(h, origin)
				allowRequest(h, c.Request())
			}
			return c.NoContent(http.StatusNoContent)
		}
		c.Response().Before(func() {
			if origin != "" && s.mayRead(c, origin) {
				allowCredentials(h, origin)
				h.Set(echo.HeaderAccessControlExposeHeaders, corsExposed)
			}
		})
		return next(c)
	}
}

// mayRead reports whether an origin's scripts may read this answer. One that
// names no client is for nobody, unless it is an error, which says why.
func (s *Server) mayRead(c echo.Context, origin string) bool {
	if client, ok := c.Get(clientKey).(fold.Client); ok {
		return !client.Disabled && slices.Contains(client.AllowedOrigins, origin)
	}
	return c.Response().Status >= http.StatusBadRequest && s.feed.AllowsOrigin(origin)
}

// publicCORS lets every script read what is the same for everybody.
func publicCORS(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set(echo.HeaderAccessControlAllowOrigin, "*")
		if isPreflight(c.Request()) {
			allowRequest(h, c.Request())
			return c.NoContent(http.StatusNoContent)
		}
		return next(c)
	}
}

func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get(echo.HeaderOrigin) != "" &&
		r.Header.Get(echo.HeaderAccessControlRequestMethod) != ""
}

func allowCredentials(h http.Header, origin string) {
	h.Set(echo.HeaderAccessControlAllowOrigin, origin)
	h.Set(echo.HeaderAccessControlAllowCredentials, "true")
}

// allowRequest answers a preflight: the methods there are, and those of the
// requested headers that clients send.
func allowRequest(h http.Header, r *http.Request) {
	h.Set(echo.HeaderAccessControlAllowMethods, corsMethods)
	h.Set(echo.HeaderAccessControlMaxAge, corsMaxAge)
	h.Add(echo.HeaderVary, echo.HeaderAccessControlRequestHeaders)
	var allowed []string
	for name := range strings.SplitSeq(r.Header.Get(echo.HeaderAccessControlRequestHeaders), ",") {
		if name = strings.ToLower(strings.TrimSpace(name)); isClientHeader(name) {
			allowed = append(allowed, name)
		}
	}
	if len(allowed) > 0 {
		h.Set(echo.HeaderAccessControlAllowHeaders, strings.Join(allowed, ", "))
	}
}

// isClientHeader tells the headers that clients need, with those that the SDKs
// of the Login API add.
func isClientHeader(name string) bool {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return false
	}
	return name == "content-type" || name == "authorization" || name == serverAuthorization ||
		strings.HasPrefix(name, "x-engine") || strings.HasPrefix(name, "x-sdk")
}
