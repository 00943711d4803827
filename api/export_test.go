package api

import (
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/rules"
)

// Reasons are all that have a row in the table.
func Reasons() []rules.Reason { return slices.Sorted(maps.Keys(answers)) }

// Refusing answers every request with an error, below /api in the Login API's
// dialect and elsewhere in the RFCs'.
func Refusing(err error) http.Handler {
	s := &Server{parts: Parts{Logger: slog.New(slog.DiscardHandler), RequestTimeout: time.Minute}}
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
