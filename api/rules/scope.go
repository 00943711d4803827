package rules

import (
	"net/url"
	"slices"
	"strings"

	"github.com/chancery-authority/chancery/events"
)

// Scopes that ask for a refresh token: OpenID Connect Core §11's, and the
// Login API's.
const (
	ScopeOfflineAccess = "offline_access"
	ScopeOffline       = "offline"
)

// Scopes of OpenID Connect (Core §3.1.2.1 and §5.4): openid asks for an ID token,
// the others for what the UserInfo endpoint tells of the person.
const (
	ScopeOpenID  = "openid"
	ScopeProfile = "profile"
	ScopeEmail   = "email"
)

// ParseScope splits a scope parameter (RFC 6749 §3.3). Repeated values count
// once; an empty text is no scope.
func ParseScope(s string) ([]string, *Refusal) {
	var scope []string
	for token := range strings.SplitSeq(s, " ") {
		if token == "" {
			continue
		}
		if strings.ContainsFunc(token, func(r rune) bool {
			return r < 0x21 || r > 0x7e || r == '"' || r == '\\'
		}) {
			return nil, refuse(InvalidScope, "scope", "character outside RFC 6749 §3.3")
		}
		if !slices.Contains(scope, token) {
			scope = append(scope, token)
		}
	}
	return scope, nil
}

// WantsRefresh reports whether the scope asks for a refresh token.
func WantsRefresh(scope []string) bool {
	return slices.Contains(scope, ScopeOfflineAccess) || slices.Contains(scope, ScopeOffline)
}

func isOffline(s string) bool { return s == ScopeOfflineAccess || s == ScopeOffline }

// mustBeAsked tells the scopes that nobody gets without asking for them.
func mustBeAsked(s string) bool {
	return isOffline(s) || s == ScopeOpenID || s == ScopeProfile || s == ScopeEmail
}

// AsksForPerson reports whether a scope asks for anything that is told of a
// person beyond who it is.
func AsksForPerson(scope []string) bool {
	return slices.Contains(scope, ScopeProfile) || slices.Contains(scope, ScopeEmail)
}

// needsUser tells the scopes that mean nothing where no user is.
func needsUser(s string) bool { return isOffline(s) || s == ScopeOpenID }

// clientScope is what a client may be granted now. The right to refresh
// tokens brings the scopes that ask for them.
func clientScope(c events.ClientSettings, requested []string) (granted []string, refusal *Refusal) {
	refreshes := slices.Contains(c.GrantTypes, GrantRefreshToken)
	if len(requested) == 0 {
		return slices.DeleteFunc(slices.Clone(c.Scope), mustBeAsked), nil
	}
	for _, s := range requested {
		switch {
		case isOffline(s):
			// OpenID Connect Core §11: ignored where it is not allowed.
			if refreshes {
				granted = append(granted, s)
			}
		case slices.Contains(c.Scope, s):
			granted = append(granted, s)
		default:
			return nil, refuse(InvalidScope, "scope", "not a scope of the client")
		}
	}
	return granted, nil
}

// narrowScope is the scope of one issuance: what was asked for, within what
// the grant holds and the client still may have. Nothing asked for means all
// of it (RFC 6749 §6).
func narrowScope(granted []string, c events.ClientSettings, requested []string) ([]string, *Refusal) {
	allowed := slices.DeleteFunc(slices.Clone(granted), func(s string) bool {
		return !isOffline(s) && !slices.Contains(c.Scope, s)
	})
	if len(requested) == 0 {
		if len(allowed) == 0 && len(granted) > 0 {
			return nil, refuse(InvalidScope, "scope", "the client lost every scope of the grant")
		}
		return allowed, nil
	}
	for _, s := range requested {
		if !slices.Contains(allowed, s) {
			return nil, refuse(InvalidScope, "scope", "beyond the grant or the client")
		}
	}
	return requested, nil
}

// ParseResource checks one resource indicator: an absolute URI without a
// fragment (RFC 8707 §2).
func ParseResource(s string) *Refusal {
	u, err := url.Parse(s)
	if err != nil || !u.IsAbs() || u.Host == "" && u.Opaque == "" || strings.Contains(s, "#") {
		return refuse(InvalidTarget, "resource", "not an absolute URI without fragment")
	}
	return nil
}

// narrowAudience is the audience of an authorization or an issuance: what was
// asked for within allowed, or all that is allowed.
func narrowAudience(allowed, requested []string) ([]string, *Refusal) {
	if len(requested) == 0 {
		return slices.Clone(allowed), nil
	}
	var audience []string
	for _, a := range requested {
		if !slices.Contains(allowed, a) {
			return nil, refuse(InvalidTarget, "resource", "audience beyond the grant or the client")
		}
		if !slices.Contains(audience, a) {
			audience = append(audience, a)
		}
	}
	return audience, nil
}

// issuedAudience is the audience of one token: asked for within the granted
// and the client's own. A token that is for nobody in particular is for the
// issuer, since RFC 9068 §2.2 requires an audience.
func issuedAudience(granted []string, c events.ClientSettings, requested []string, issuer string) ([]string, *Refusal) {
	allowed := slices.DeleteFunc(slices.Clone(granted), func(a string) bool {
		return !slices.Contains(c.Audience, a)
	})
	if len(granted) > 0 && len(allowed) == 0 {
		return nil, refuse(InvalidTarget, "resource", "the client lost every audience of the grant")
	}
	audience, refusal := narrowAudience(allowed, requested)
	if refusal == nil && len(audience) == 0 {
		audience = []string{issuer}
	}
	return audience, refusal
}
