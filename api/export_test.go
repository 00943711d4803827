package api

import (
	"log/slog"
	"maps"
	"net/http"
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
