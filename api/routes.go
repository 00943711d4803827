package api

import "github.com/labstack/echo/v4"

// publicRoutes is every address that clients reach.
func (s *Server) publicRoutes(e *echo.Echo) {
	base := s.basePath()
	oauth := e.Group(base+"/oauth2", s.in(oauthDialect), noStore)
	oauth.POST("/token", s.token)
	oauth.POST("/introspect", s.introspect)
	oauth.POST("/revoke", s.revoke)

	public := e.Group("", s.in(oauthDialect))
	public.GET(base+"/oauth2/jwks", s.jwks)
	public.GET("/.well-known/oauth-authorization-server"+base, s.metadata) // RFC 8414 §3

	login := e.Group(base+"/api", s.in(loginDialect), noStore)
	login.POST("/oauth2/user", s.loginRegister)
	login.POST("/oauth2/login", s.loginCode)
	login.POST("/oauth2/login/token", s.loginToken)
}

// adminRoutes is every address of the admin listener.
func (s *Server) adminRoutes(e *echo.Echo) {
	e.GET("/health/live", s.live)
	e.GET("/health/ready", s.ready)

	admin := e.Group("/admin/v1", s.in(oauthDialect), noStore, s.requireAdmin)
	admin.GET("/clients", s.listClients)
	admin.POST("/clients", s.createClient)
	admin.GET("/clients/:id", s.showClient)
	admin.PUT("/clients/:id", s.updateClient)
	admin.POST("/clients/:id/disable", s.disableClient)
	admin.POST("/clients/:id/enable", s.enableClient)
	admin.POST("/clients/:id/secrets", s.addClientSecret)
	admin.DELETE("/clients/:id/secrets/:secret", s.dropClientSecret)
	admin.GET("/grants/:id", s.showGrant)
	admin.POST("/grants/:id/revoke", s.revokeGrant)
	admin.POST("/users/:id/disable", s.disableUser)
	admin.POST("/users/:id/enable", s.enableUser)
	admin.GET("/events", s.events)
	admin.GET("/status", s.status)
}
