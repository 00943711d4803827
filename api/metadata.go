package api

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/rules"
)

// metadata of the authority (RFC 8414 §2, OpenID Connect Discovery §3). Only what
// works is in it.
type metadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	JWKS                  string   `json:"jwks_uri"`
	IntrospectionEndpoint string   `json:"introspection_endpoint"`
	RevocationEndpoint    string   `json:"revocation_endpoint"`
	PAREndpoint           string   `json:"pushed_authorization_request_endpoint"`
	DeviceEndpoint        string   `json:"device_authorization_endpoint"` // RFC 8628 §4
	GrantTypes            []string `json:"grant_types_supported"`
	ResponseTypes         []string `json:"response_types_supported"`
	ResponseModes         []string `json:"response_modes_supported"`
	Prompts               []string `json:"prompt_values_supported"`
	ResponseIssuer        bool     `json:"authorization_response_iss_parameter_supported"`
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
	IntrospectAuthMethods []string `json:"introspection_endpoint_auth_methods_supported"`
	RevokeAuthMethods     []string `json:"revocation_endpoint_auth_methods_supported"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported"`

	UserInfoEndpoint string `json:"userinfo_endpoint"`
	// RevocationFeed is where resource servers hear of revocations, in no standard.
	RevocationFeed string `json:"revocation_feed_endpoint"`
	// EndSession is of OpenID Connect RP-Initiated Logout 1.0 §2.1.
	EndSession string `json:"end_session_endpoint"`
	// BackchannelLogout and BackchannelSession are of OpenID Connect Back-Channel
	// Logout 1.0 §2.1.
	BackchannelLogout  bool     `json:"backchannel_logout_supported"`
	BackchannelSession bool     `json:"backchannel_logout_session_supported"`
	Scopes             []string `json:"scopes_supported"`
	Claims             []string `json:"claims_supported"`
	SubjectTypes       []string `json:"subject_types_supported"`
	IDTokenAlgs        []string `json:"id_token_signing_alg_values_supported"`
	// What is not supported and would count as supported were it left out, or is
	// often asked for.
	ClaimsParameter     bool `json:"claims_parameter_supported"`
	RequestParameter    bool `json:"request_parameter_supported"`
	RequestURIParameter bool `json:"request_uri_parameter_supported"`
}

// supportedClaims are those that ID tokens and the UserInfo endpoint may have.
func supportedClaims() []string {
	return []string{
		"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "acr", "amr", "sid",
		"name", "given_name", "family_name", "nickname", "preferred_username", "birthdate", "email", "email_verified",
	}
}

// basePath is the issuer's path, below which all its endpoints are.
func (s *Server) basePath() string {
	u, err := url.Parse(s.settings.Get().Issuer)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(u.EscapedPath(), "/")
}

// metadata is one document at the addresses of both specifications.
func (s *Server) metadata(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "public, max-age=300")
	return c.JSON(http.StatusOK, s.newMetadata())
}

func (s *Server) newMetadata() metadata {
	base := strings.TrimSuffix(s.settings.Get().Issuer, "/")
	confidential := []string{authBasic, authPost}
	all := append(slices.Clone(confidential), authNone)
	return metadata{
		Issuer:                s.settings.Get().Issuer,
		AuthorizationEndpoint: base + "/oauth2/authorize",
		TokenEndpoint:         base + "/oauth2/token",
		JWKS:                  base + "/oauth2/jwks",
		IntrospectionEndpoint: base + "/oauth2/introspect",
		PAREndpoint:           base + "/oauth2/par",
		DeviceEndpoint:        base + "/oauth2/device_authorization",
		RevocationEndpoint:    base + "/oauth2/revoke",
		GrantTypes:            slices.Sorted(maps.Keys(grantHandlers)),
		ResponseTypes:         []string{"code"},
		ResponseModes:         []string{modeQuery, modeFormPost},
		Prompts:               rules.Prompts(),
		ResponseIssuer:        true,
		TokenAuthMethods:      all,
		IntrospectAuthMethods: confidential,
		RevokeAuthMethods:     all,
		ChallengeMethods:      []string{rules.ChallengeMethodS256},

		UserInfoEndpoint:  base + "/oauth2/userinfo",
		RevocationFeed:    base + revocationsPath,
		EndSession:        base + logoutPage,
		BackchannelLogout: true, BackchannelSession: true,
		Scopes:       []string{rules.ScopeOpenID, rules.ScopeProfile, rules.ScopeEmail, rules.ScopeOfflineAccess},
		Claims:       supportedClaims(),
		SubjectTypes: []string{rules.SubjectPublic, rules.SubjectPairwise},
		IDTokenAlgs:  s.settings.Get().SigningAlgorithms,
	}
}

// jwks is the set of keys that verify access tokens (RFC 7517 §5). It is
// cached for less time than a key is announced before its first use.
func (s *Server) jwks(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, s.jwksCacheControl(c.Request().Context()))
	return c.JSONBlob(http.StatusOK, s.keys.JWKS())
}
