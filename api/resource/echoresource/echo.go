// Package echoresource is package resource for Echo.
package echoresource

import (
	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/resource"
)

// Require lets requests in whose access token is good and has all of a scope. The
// request's context has its claims: see Claims.
func Require(v *resource.Verifier, scope ...string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			r := c.Request()
			claims, refusal := v.Authorize(r, scope...)
			if refusal != nil {
				refusal.ServeHTTP(c.Response(), r)
				return nil
			}
			c.SetRequest(r.WithContext(resource.WithClaims(r.Context(), claims)))
			return next(c)
		}
	}
}

// Claims are those of the access token that a request was let in with.
func Claims(c echo.Context) *resource.Claims { return resource.ClaimsOf(c.Request().Context()) }
