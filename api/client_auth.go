package api

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/projector/fold"
)

// authenticate tells the client of a form request by Basic, by post or, for
// public clients, by its id alone (RFC 6749 §2.3.1).
func (s *Server) authenticate(c echo.Context, f form) (fold.Client, error) {
	cred, refusal := clientCredential(c.Request(), f)
	if refusal != nil {
		return fold.Client{}, asError(refusal)
	}
	s.forClient(c, cred.ID)
	client, err := s.authority.AuthenticateClient(c.Request().Context(), cred, caller(c))
	if err != nil || client.Public { // anybody can be a public client, and would use up what it may do
		return client, err
	}
	return client, tooMany(s.limits.clients.Name(client.ID, time.Now()))
}

func clientCredential(r *http.Request, f form) (authority.ClientCredential, *rules.Refusal) {
	var none authority.ClientCredential
	header := r.Header.Values(echo.HeaderAuthorization)
	if f.get("client_assertion") != "" || f.get("client_assertion_type") != "" {
		return none, &rules.Refusal{Reason: authority.ClientAuthenticationFailed, Detail: "client assertions are not supported"}
	}
	if len(header) > 1 {
		return none, &rules.Refusal{Reason: manyAuthentications, Detail: "two Authorization headers"}
	}
	if len(header) == 0 && f.get("client_id") == "" && f.get("client_secret") == "" {
		return none, &rules.Refusal{Reason: authority.ClientAuthenticationFailed, Detail: "no client authentication"}
	}
	if len(header) == 0 {
		id, refusal := f.require("client_id")
		return authority.ClientCredential{ID: id, Secret: f.get("client_secret")}, refusal
	}
	cred, ok := basic(r)
	switch {
	case !ok:
		return none, &rules.Refusal{Reason: authority.ClientAuthenticationFailed, Detail: "not a Basic credential"}
	case f.get("client_secret") != "":
		return none, &rules.Refusal{Reason: manyAuthentications, Parameter: "client_secret"}
	case f.get("client_id") != "" && f.get("client_id") != cred.ID:
		return none, &rules.Refusal{Reason: manyAuthentications, Parameter: "client_id"}
	}
	return cred, nil
}

// basic reads a Basic credential, whose halves are form-encoded (RFC 6749
// §2.3.1).
func basic(r *http.Request) (authority.ClientCredential, bool) {
	user, password, ok := r.BasicAuth()
	if !ok {
		return authority.ClientCredential{}, false
	}
	id, err := url.QueryUnescape(user)
	if err != nil {
		return authority.ClientCredential{}, false
	}
	text, err := url.QueryUnescape(password)
	if err != nil || strings.ContainsFunc(id+text, isControl) {
		return authority.ClientCredential{}, false
	}
	return authority.ClientCredential{ID: id, Secret: text, Basic: true}, true
}
