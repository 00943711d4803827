package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// Reasons are all that have a row in the table.
func Reasons() []rules.Reason { return slices.Sorted(maps.Keys(answers)) }

// Codes are the codes of the table in one of the dialects, each with the
// statuses that it comes with, in order.
func Codes(login bool) map[string][]int {
	codes := map[string][]int{}
	for _, a := range answers {
		code, status := a.code, a.status
		if login {
			code, status = a.loginCode, a.loginStatus
		}
		if !slices.Contains(codes[code], status) {
			codes[code] = append(codes[code], status)
			slices.Sort(codes[code])
		}
	}
	return codes
}

// OpenAPI is the description of an authority of an issuer.
func OpenAPI(issuer string) (document map[string]any, err error) {
	s := &Server{settings: config.NewLive(config.Settings{Issuer: issuer})}
	rendered, err := newOpenAPI(issuer, s.basePath())
	if err != nil {
		return nil, err
	}
	return document, json.Unmarshal(rendered.json, &document)
}

// Shapes are the types that answers are made of, by their names in openapi.yaml.
func Shapes() map[string]reflect.Type {
	return map[string]reflect.Type{
		"Error":         reflect.TypeFor[oauthError](),
		"LoginError":    reflect.TypeFor[loginError](),
		"TokenResponse": reflect.TypeFor[tokenResponse](),
		"LoginTokens":   reflect.TypeFor[loginTokens](),
		"LoginURL":      reflect.TypeFor[loginURL](),
		"Profile":       reflect.TypeFor[profile](),
		"Introspection": reflect.TypeFor[introspection](),
		"Actor":         reflect.TypeFor[events.Actor](),
		"JWK":           reflect.TypeFor[jose.JWK](),
		"Metadata":      reflect.TypeFor[metadata](),
		"Client":        reflect.TypeFor[clientView](),
		"ClientSecret":  reflect.TypeFor[secretView](),
		"PushedAnswer":  reflect.TypeFor[pushedAnswer](),
		"DeviceAnswer":  reflect.TypeFor[deviceAnswer](),
		"UserInfo":      reflect.TypeFor[userInfo](),
		"User":          reflect.TypeFor[userView](),
		"Authorization": reflect.TypeFor[authorizationView](),
		"SentBack":      reflect.TypeFor[sentBack](),
		"UserAccount":   reflect.TypeFor[userAccount](),
		"Session":       reflect.TypeFor[sessionView](),
		"Grant":         reflect.TypeFor[fold.Grant](),
		"Event":         reflect.TypeFor[eventView](),
		"AuditPage":     reflect.TypeFor[auditPage](),
		"AuditEvent":    reflect.TypeFor[auditView](),
		"Partition":     reflect.TypeFor[partitionView](),
		"Status":        reflect.TypeFor[statusView](),
		"Explanation":   reflect.TypeFor[authority.Explanation](),
		"Projection":    reflect.TypeFor[projectionView](),

		"ProjectionSlot": reflect.TypeFor[slotView](),
	}
}

// Routes are the methods and paths of both listeners, in order. HEAD and what
// only says that there is nothing are not among them.
func (s *Server) Routes() []string {
	var routes []string
	for _, r := range slices.Concat(s.public.Routes(), s.admin.Routes()) {
		if r.Method == http.MethodHead || r.Method == echo.RouteNotFound || strings.Contains(r.Name, "section.add") {
			continue
		}
		routes = append(routes, r.Method+" "+r.Path)
	}
	slices.Sort(routes)
	return routes
}

// Refusing answers every request with an error, below /api in the Login API's
// dialect and elsewhere in the RFCs'.
func Refusing(err error) http.Handler {
	s := &Server{parts: Parts{Logger: slog.New(slog.DiscardHandler), RequestTimeout: time.Minute}, ending: context.Background()}
	e := s.newEcho()
	refuse := func(echo.Context) error { return err }
	e.Any("/*", refuse, s.in(oauthDialect), noStore)
	e.Any("/api/*", refuse, s.in(loginDialect), noStore)
	return e
}

// WithBearer answers a request at an endpoint of the RFCs that wants a user's
// access token.
func WithBearer(s *Server, r *http.Request) *httptest.ResponseRecorder {
	e := s.newEcho()
	e.GET(r.URL.Path, func(c echo.Context) error {
		claims, err := s.bearer(c)
		if err != nil {
			return err
		}
		return c.String(http.StatusOK, claims.Subject)
	}, s.in(oauthDialect))
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	return w
}

// Authority is what decides behind the server.
func (s *Server) Authority() *authority.Authority { return s.authority }

// OpenFeeds is how many revocation feeds are being read.
func OpenFeeds(s *Server) int {
	s.feeds.mu.Lock()
	defer s.feeds.mu.Unlock()
	return s.feeds.open
}

// SetFeedPatience is how long a reader may take to take in what was written. It
// comes before the first.
func SetFeedPatience(s *Server, d time.Duration) { s.feeds.patience = d }
