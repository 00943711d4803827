package api

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"go.yaml.in/yaml/v3"
)

// openAPISource describes the authority at documentedIssuer.
//
//go:embed openapi.yaml
var openAPISource string

// documentedIssuer stands in openapi.yaml for the issuer that is configured.
// It has a path so that whatever comes before or behind that is seen there, and
// stands in double quotes, where an issuer can hold nothing that YAML reads.
const (
	documentedOrigin = "https://auth.example"
	documentedBase   = "/tenant"
	documentedIssuer = documentedOrigin + documentedBase
)

// An openAPI is the description of one authority (OpenAPI 3.1), in both its
// forms.
type openAPI struct{ yaml, json []byte }

// newOpenAPI renders the description for an issuer, whose path is base.
func newOpenAPI(issuer, base string) (openAPI, error) {
	text := strings.NewReplacer(
		documentedIssuer, issuer,
		documentedOrigin, strings.TrimSuffix(issuer, base),
		metadataPath+documentedBase, metadataPath+base,
	).Replace(openAPISource)
	var document map[string]any
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		return openAPI{}, fmt.Errorf("read the OpenAPI description: %w", err)
	}
	converted, err := json.Marshal(document)
	if err != nil {
		return openAPI{}, fmt.Errorf("convert the OpenAPI description: %w", err)
	}
	return openAPI{[]byte(text), converted}, nil
}

func (s *Server) openAPIYAML(c echo.Context) error {
	return s.describe(c, "application/yaml", func(d openAPI) []byte { return d.yaml }) // RFC 9512
}

func (s *Server) openAPIJSON(c echo.Context) error {
	return s.describe(c, echo.MIMEApplicationJSON, func(d openAPI) []byte { return d.json })
}

func (s *Server) describe(c echo.Context, contentType string, form func(openAPI) []byte) error {
	d, err := s.openAPI()
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "public, max-age=300")
	return c.Blob(http.StatusOK, contentType, form(d))
}
