package rules

import "slices"

// Token types (RFC 8693 §3), and the Login API's names for two of them.
const (
	TokenTypeAccess      = "urn:ietf:params:oauth:token-type:access_token" //nolint:gosec // a name, no credential
	TokenTypeJWT         = "urn:ietf:params:oauth:token-type:jwt"          //nolint:gosec // a name, no credential
	TokenTypeAccessShort = "access_token"
	// TokenTypeServer is a token that a client got by its own credentials.
	TokenTypeServer = "server_token"
)

// grantTokenExchangeLogin is the Login API's spelling of GrantTokenExchange.
const grantTokenExchangeLogin = "urn:ietf:params:oauth:grant-type:token_exchange" //nolint:gosec // a name, no credential

// CanonicalGrantType is a grant type in RFC 8693's spelling, whichever of the
// two it came in.
func CanonicalGrantType(grantType string) string {
	if grantType == grantTokenExchangeLogin {
		return GrantTokenExchange
	}
	return grantType
}

// ExchangeTypes are the types that a token exchange names (RFC 8693 §2.1),
// empty where it names none.
type ExchangeTypes struct {
	// Subject is subject_token_type, Requested is requested_token_type.
	Subject, Requested string
	// Actor is actor_token_type, and HasActor says that there is an
	// actor_token.
	Actor    string
	HasActor bool
}

// CheckExchangeTypes refuses types that are missing, that name tokens other
// than access tokens, and an actor's type without a token.
func CheckExchangeTypes(t ExchangeTypes) *Refusal {
	access := []string{TokenTypeAccess, TokenTypeAccessShort}
	actors := []string{TokenTypeAccess, TokenTypeAccessShort, TokenTypeJWT, TokenTypeServer}
	switch {
	case t.Subject == "":
		return refuse(MissingParameter, "subject_token_type", "")
	case !slices.Contains(access, t.Subject):
		return refuse(BadParameter, "subject_token_type", "not an access token")
	case t.Requested != "" && !slices.Contains(access, t.Requested):
		return refuse(BadParameter, "requested_token_type", "not an access token")
	case t.HasActor && t.Actor == "":
		return refuse(MissingParameter, "actor_token_type", "")
	case !t.HasActor && t.Actor != "":
		return refuse(BadParameter, "actor_token_type", "there is no actor_token")
	case t.HasActor && !slices.Contains(actors, t.Actor):
		return refuse(BadParameter, "actor_token_type", "not an access token")
	}
	return nil
}
