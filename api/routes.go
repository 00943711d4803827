package api

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// metadataPath goes between the issuer's host and its path (RFC 8414 §3).
const metadataPath = "/.well-known/oauth-authorization-server"

// publicRoutes is every address that clients reach.
func (s *Server) publicRoutes(e *echo.Echo) {
	base := s.basePath()
	// What people see; no script reads it. It comes first, so that what there is
	// not below /oauth2 is told as clients understand it.
	person := newSection(e, base+"/oauth2", s.in(s.pageDialect), noStore, s.limitAddress)
	person.add(http.MethodGet, "/authorize", s.authorize)
	person.add(http.MethodPost, "/authorize", s.authorize)
	person.add(http.MethodGet, "/login", s.showLogin)
	person.add(http.MethodPost, "/login", s.signInByPassword)
	person.add(http.MethodGet, "/register", s.showRegister)
	person.add(http.MethodPost, "/register", s.signInAsNew)
	person.add(http.MethodGet, "/select-account", s.showSelect)
	person.add(http.MethodPost, "/select-account", s.selectAccount)
	person.add(http.MethodGet, "/consent", s.showConsent)
	person.add(http.MethodPost, "/consent", s.consent)
	person.add(http.MethodGet, "/continue", s.resume)
	person.add(http.MethodGet, "/account", s.showAccount)
	person.add(http.MethodPost, "/account", s.changeAccount)
	person.add(http.MethodGet, "/logout", s.endSession)
	person.add(http.MethodPost, "/logout", s.endSession)
	person.add(http.MethodPost, "/sign-out", s.signOutByForm)
	person.add(http.MethodGet, "/device", s.showDevice)
	person.add(http.MethodPost, "/device", s.confirmDevice)
	person.add(http.MethodPost, "/device/confirm", s.answerDevice)

	browser := newSection(e, base+"/oauth2", s.cors, s.in(oauthDialect), noStore, s.limitAddress)
	browser.add(http.MethodPost, "/token", s.token)
	browser.add(http.MethodPost, "/revoke", s.revoke)
	browser.add(http.MethodGet, "/userinfo", s.answerUserInfo)
	browser.add(http.MethodPost, "/userinfo", s.answerUserInfo)
	browser.add(http.MethodPost, "/par", s.pushAuthorization)
	browser.add(http.MethodPost, "/device_authorization", s.authorizeDevice)

	oauth := newSection(e, base+"/oauth2", s.in(oauthDialect), noStore, s.limitAddress)
	oauth.add(http.MethodPost, "/introspect", s.introspect)
	oauth.add(http.MethodGet, "/revocations", s.revocationFeed)

	public := newSection(e, "", publicCORS, s.in(oauthDialect))
	public.add(http.MethodGet, base+"/oauth2/jwks", s.jwks)
	public.add(http.MethodGet, metadataPath+base, s.metadata)
	public.add(http.MethodGet, base+"/.well-known/openid-configuration", s.metadata) // Discovery §4
	public.add(http.MethodGet, base+"/openapi.yaml", s.openAPIYAML)
	public.add(http.MethodGet, base+"/openapi.json", s.openAPIJSON)

	login := newSection(e, base+"/api", s.cors, s.in(loginDialect), noStore, s.limitAddress)
	login.add(http.MethodPost, "/oauth2/token", s.loginIssue)
	login.add(http.MethodPost, "/oauth2/user", s.loginRegister)
	login.add(http.MethodPost, "/oauth2/login", s.loginCode)
	login.add(http.MethodPost, "/oauth2/login/token", s.loginToken)
	login.add(http.MethodGet, "/oauth2/sso", s.loginSSO)
	login.add(http.MethodGet, "/oauth2/logout", s.loginLogout)
	login.add(http.MethodPost, "/token/validate", s.loginValidate)
	login.add(http.MethodGet, "/projects/:id/keys", s.loginKeys)
	login.add(http.MethodGet, "/users/me", s.showMe)
	login.add(http.MethodPatch, "/users/me", s.changeMe)

	// A browser is sent here; no script reads it.
	sent := newSection(e, base+"/api", s.in(loginDialect), noStore, s.limitAddress)
	sent.add(http.MethodGet, "/oauth2/auth", s.loginAuth)
}

// adminRoutes is every address of the admin listener.
func (s *Server) adminRoutes(e *echo.Echo) {
	e.GET("/health/live", s.live)
	e.GET("/health/ready", s.ready)

	admin := s.adminSection(e)
	admin.add(http.MethodGet, "/clients", s.listClients)
	admin.add(http.MethodPost, "/clients", s.createClient)
	admin.add(http.MethodGet, "/clients/:id", s.showClient)
	admin.add(http.MethodPut, "/clients/:id", s.updateClient)
	admin.add(http.MethodPost, "/clients/:id/disable", s.disableClient)
	admin.add(http.MethodPost, "/clients/:id/enable", s.enableClient)
	admin.add(http.MethodPost, "/clients/:id/cut-off", s.cutOffClient)
	admin.add(http.MethodPost, "/clients/:id/secrets", s.addClientSecret)
	admin.add(http.MethodDelete, "/clients/:id/secrets/:secret", s.dropClientSecret)
	admin.add(http.MethodGet, "/grants/:id", s.showGrant)
	admin.add(http.MethodPost, "/grants/:id/revoke", s.revokeGrant)
	admin.add(http.MethodPost, "/introspect", s.explain)
	admin.add(http.MethodPost, "/authorizations/show", s.showAuthorization)
	admin.add(http.MethodPost, "/authorizations/accept-login", s.acceptLogin)
	admin.add(http.MethodPost, "/authorizations/accept-consent", s.acceptConsent)
	admin.add(http.MethodPost, "/authorizations/reject", s.rejectAuthorization)
	admin.add(http.MethodGet, "/users", s.findUsers)
	admin.add(http.MethodPost, "/users", s.createUserAsAdmin)
	admin.add(http.MethodGet, "/users/:id", s.showUser)
	admin.add(http.MethodDelete, "/users/:id", s.eraseUser)
	admin.add(http.MethodGet, "/users/:id/sessions", s.listSessions)
	admin.add(http.MethodDelete, "/users/:id/sessions/:session", s.endSessionAsAdmin)
	admin.add(http.MethodPost, "/users/:id/disable", s.disableUser)
	admin.add(http.MethodPost, "/users/:id/enable", s.enableUser)
	admin.add(http.MethodPost, "/users/:id/cut-off", s.cutOffUser)
	admin.add(http.MethodGet, "/events", s.events)
	admin.add(http.MethodGet, "/events/:stream/:seq", s.showEvent)
	admin.add(http.MethodGet, "/checkpoints", s.listCheckpoints)
	admin.add(http.MethodGet, "/checkpoints/:stream", s.showCheckpoint)
	admin.add(http.MethodGet, "/proofs/:stream/inclusion", s.proveInclusion)
	admin.add(http.MethodGet, "/proofs/:stream/consistency", s.proveConsistency)
	admin.add(http.MethodGet, "/log/:stream", s.sealedLog)
	admin.add(http.MethodGet, "/buckets", s.listBuckets)
	admin.add(http.MethodGet, "/buckets/:bucket", s.copyBucket)
	admin.add(http.MethodGet, "/lineage", s.lineage)
	admin.add(http.MethodGet, "/revocations", s.listRevocations)
	admin.add(http.MethodPost, "/revocations", s.beginRevocation)
	admin.add(http.MethodGet, "/revocations/:id", s.showRevocation)
	admin.add(http.MethodGet, "/partitions", s.listPartitions)
	admin.add(http.MethodPost, "/partitions", s.addPartitions)
	admin.add(http.MethodGet, "/status", s.status)
	s.logLevelRoutes(admin)
	s.profileRoutes(admin)
	s.projectionRoutes(admin)
	s.keyRoutes(admin)
}

func (s *Server) adminSection(e *echo.Echo) section {
	return newSection(e, "/admin/v1", s.in(oauthDialect), noStore, s.requireAdmin)
}

// A section is a group of routes behind the same middleware.
type section struct {
	group   *echo.Group
	allowed map[string][]string
}

func newSection(e *echo.Echo, prefix string, m ...echo.MiddlewareFunc) section {
	return section{e.Group(prefix, m...), map[string][]string{}}
}

// add registers a handler, and 405 with Allow for the methods that its path
// does not have (RFC 9110 §15.5.6). Echo would answer those with 404, because
// the middleware of a group comes with a route that catches everything.
func (s section) add(method, path string, h echo.HandlerFunc) {
	if s.allowed[path] == nil {
		s.group.Any(path, func(c echo.Context) error {
			c.Response().Header().Set(echo.HeaderAllow, strings.Join(s.allowed[path], ", "))
			return echo.ErrMethodNotAllowed
		})
	}
	s.allowed[path] = append(s.allowed[path], method)
	s.group.Add(method, path, h)
	if method == http.MethodGet { // RFC 9110 §9.1; net/http leaves the body out
		s.add(http.MethodHead, path, h)
	}
}
