package api

import (
	"net/http"
	"strings"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// requireAdmin admits the bearer of the admin key (RFC 6750 §2.1). Without a
// key nobody is admitted.
func (s *Server) requireAdmin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		challenge := `Bearer realm="chancery admin"`
		if header := c.Request().Header.Values(echo.HeaderAuthorization); len(header) == 1 {
			scheme, key, _ := strings.Cut(header[0], " ")
			bearer := strings.EqualFold(scheme, "Bearer")
			if bearer && !s.parts.AdminKey.IsZero() && s.parts.AdminKey.Equal(key) {
				return next(c)
			}
			if bearer { // RFC 6750 §3.1: no error code where no token was sent
				challenge += `, error="invalid_token"`
			}
		}
		c.Response().Header().Set(echo.HeaderWWWAuthenticate, challenge)
		return asError(&rules.Refusal{Reason: adminKeyRequired})
	}
}

func (s *Server) listClients(c echo.Context) error {
	views := []clientView{}
	for _, client := range s.authority.Clients() {
		views = append(views, newClientView(client))
	}
	return c.JSON(http.StatusOK, map[string]any{"clients": views})
}

func (s *Server) createClient(c echo.Context) error {
	var body clientBody
	if refusal := parseJSON(c.Response(), c.Request(), &body, true); refusal != nil {
		return asError(refusal)
	}
	if body.ID == "" {
		body.ID = "client_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	}
	settings, refusal := body.settings()
	if refusal != nil {
		return asError(refusal)
	}
	client, text, err := s.authority.RegisterClient(c.Request().Context(), body.ID, settings, secret.Secret{}, caller(c))
	if err != nil {
		return err
	}
	view := newClientView(client)
	view.Secret = text.Reveal()
	return c.JSON(http.StatusCreated, view)
}

func (s *Server) showClient(c echo.Context) error {
	client, err := s.authority.Client(c.Param("id"))
	return answerClient(c, client, err)
}

func (s *Server) updateClient(c echo.Context) error {
	var body clientBody
	if refusal := parseJSON(c.Response(), c.Request(), &body, true); refusal != nil {
		return asError(refusal)
	}
	if body.ID != "" && body.ID != c.Param("id") {
		return asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "client_id"})
	}
	settings, refusal := body.settings()
	if refusal != nil {
		return asError(refusal)
	}
	client, err := s.authority.UpdateClient(c.Request().Context(), c.Param("id"), settings, caller(c))
	return answerClient(c, client, err)
}

func (s *Server) disableClient(c echo.Context) error {
	client, err := s.authority.DisableClient(c.Request().Context(), c.Param("id"), caller(c))
	return answerClient(c, client, err)
}

func (s *Server) enableClient(c echo.Context) error {
	client, err := s.authority.EnableClient(c.Request().Context(), c.Param("id"), caller(c))
	return answerClient(c, client, err)
}

func (s *Server) cutOffClient(c echo.Context) error {
	client, err := s.authority.CutOffClient(c.Request().Context(), c.Param("id"), caller(c))
	return answerClient(c, client, err)
}

func answerClient(c echo.Context, client fold.Client, err error) error {
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, newClientView(client))
}

func (s *Server) addClientSecret(c echo.Context) error {
	id, text, err := s.authority.AddClientSecret(c.Request().Context(), c.Param("id"), caller(c))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, secretView{ID: id, Secret: text.Reveal()})
}

func (s *Server) dropClientSecret(c echo.Context) error {
	if err := s.authority.DropClientSecret(c.Request().Context(), c.Param("id"), c.Param("secret"), caller(c)); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func grantParam(c echo.Context) (events.GrantID, error) {
	id, err := events.ParseGrantID(c.Param("id"))
	if err != nil {
		return id, asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "grant", Cause: err.Error()})
	}
	return id, nil
}

func (s *Server) showGrant(c echo.Context) error {
	id, err := grantParam(c)
	if err != nil {
		return err
	}
	g, err := s.authority.Grant(c.Request().Context(), id)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, g)
}

func (s *Server) revokeGrant(c echo.Context) error {
	id, err := grantParam(c)
	if err != nil {
		return err
	}
	if err := s.authority.RevokeGrant(c.Request().Context(), id, caller(c)); err != nil {
		return err
	}
	return s.showGrant(c)
}
