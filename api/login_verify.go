package api

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
)

// loginValidate answers 204 for an access token that is valid now, revocation
// included. A server that asks may say who it is.
func (s *Server) loginValidate(c echo.Context) error {
	if refusal := checkQuery(c.Request()); refusal != nil {
		return asError(refusal)
	}
	if err := s.checkServer(c); err != nil {
		return err
	}
	var body struct {
		Token secret.Secret `json:"token"`
	}
	if refusal := parseJSON(c.Response(), c.Request(), &body, false); refusal != nil {
		return asError(refusal)
	}
	if body.Token.IsZero() {
		return asError(&rules.Refusal{Reason: rules.MissingParameter, Parameter: "token"})
	}
	if err := s.authority.Validate(c.Request().Context(), body.Token.Reveal()); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// loginKeys lists the keys that verify the access tokens of a project, whose id
// is its client's. It may be cached for as long as the JWK Set.
func (s *Server) loginKeys(c echo.Context) error {
	client, err := s.authority.FindClient(c.Request().Context(), c.Param("id"))
	if isRefusal(err, authority.NoSuchClient) {
		return asError(&rules.Refusal{Reason: noProject, Parameter: "project_id"})
	}
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set(echo.HeaderCacheControl, s.jwksCacheControl(c.Request().Context()))
	h.Del("Pragma")
	return c.JSON(http.StatusOK, hexJWKs(s.keys.PublicKeys(), jose.Alg(client.SigningAlg)))
}

// hexJWKs puts the keys of one algorithm first, because some verifiers take the
// first key; without one, the default's are.
func hexJWKs(keys []jose.PublicKey, first jose.Alg) []jose.JWK {
	place := func(k jose.PublicKey) int {
		if k.Alg == first {
			return 0
		}
		return 1
	}
	sorted := slices.SortedStableFunc(slices.Values(keys), func(a, b jose.PublicKey) int { return cmp.Compare(place(a), place(b)) })
	list := make([]jose.JWK, 0, len(sorted))
	for _, k := range sorted {
		list = append(list, k.HexJWK())
	}
	return list
}
