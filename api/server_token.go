package api

import (
	"errors"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/rules"
)

// serverAuthorization is the header in which servers that use the Login API say
// who they are, by an access token of their own.
const serverAuthorization = "x-server-authorization"

// checkServer refuses a request whose server token is bad. Without one there is
// nothing to check. The token comes bare or behind Bearer.
func (s *Server) checkServer(c echo.Context) error {
	headers := c.Request().Header.Values(serverAuthorization)
	if len(headers) == 0 {
		return nil
	}
	if len(headers) > 1 {
		return asError(&rules.Refusal{Reason: duplicateParameter, Parameter: serverAuthorization})
	}
	token := headers[0]
	if scheme, rest, ok := strings.Cut(token, " "); ok && strings.EqualFold(scheme, "Bearer") {
		token = strings.TrimLeft(rest, " ")
	}
	claims, err := s.authority.ServerToken(c.Request().Context(), token)
	var refusal *rules.Refusal
	if errors.As(err, &refusal) && refusal.Reason == rules.InvalidBearer {
		named := *refusal
		named.Parameter = serverAuthorization
		return asError(&named)
	}
	if err != nil {
		return err
	}
	s.forClient(c, claims.ClientID)
	return nil
}
