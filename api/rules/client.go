package rules

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// Reasons for which a change of the registry is refused.
const (
	AlreadyExists Reason = "already_exists"
	NotFound      Reason = "not_found"
	Conflict      Reason = "conflict"
)

// maxSecrets is how many secrets of a client are valid at once: the one in
// use and its successor.
const maxSecrets = 2

// maxListed bounds the lists and maxText the texts in a client's settings, so
// that no registration can bloat the memory of every replica.
const (
	maxListed = 100
	maxText   = 2048
)

var grantTypes = []string{GrantAuthorizationCode, GrantRefreshToken, GrantClientCredentials, GrantTokenExchange, GrantDeviceCode}

// RegisterClient decides the registration of a client under an id, with a
// first secret exactly if it is confidential.
func RegisterClient(c fold.Client, id string, s events.ClientSettings, secret *events.ClientSecretAdded, algs []string) (*events.ClientRegistered, *Refusal) {
	if s.Public {
		secret = nil
	}
	switch {
	case c.Exists():
		return nil, refuse(AlreadyExists, "client_id", "")
	case !events.ValidID(id):
		return nil, refuse(BadParameter, "client_id", "want 1 to 64 letters, digits, dashes, underscores")
	case looksLikeUserID(id) || looksPairwise(id):
		// The sub of a client's own tokens is its id, and must never be taken
		// for a user's (RFC 9068 §5).
		return nil, refuse(BadParameter, "client_id", "a UUID, or 256 bits in base64url, could be a user's sub")
	}
	if refusal := checkSettings(s, algs); refusal != nil {
		return nil, refusal
	}
	return &events.ClientRegistered{ClientSettings: s, Secret: secret}, nil
}

// UpdateClient decides the replacement of a client's settings.
func UpdateClient(c fold.Client, s events.ClientSettings, algs []string) (events.Fact, *Refusal) {
	switch {
	case !c.Exists():
		return nil, refuse(NotFound, "client_id", "")
	case s.Public != c.Public:
		return nil, refuse(BadParameter, "public", "a client stays public or confidential")
	}
	if refusal := checkSettings(s, algs); refusal != nil {
		return nil, refusal
	}
	return events.ClientUpdated{ClientSettings: s}, nil
}

// DisableClient decides to stop a client. Nil is no change.
func DisableClient(c fold.Client) (events.Fact, *Refusal) {
	switch {
	case !c.Exists():
		return nil, refuse(NotFound, "client_id", "")
	case c.Disabled:
		return nil, nil
	}
	return events.ClientDisabled{}, nil
}

// EnableClient decides to let a client start again. Nil is no change.
func EnableClient(c fold.Client) (events.Fact, *Refusal) {
	switch {
	case !c.Exists():
		return nil, refuse(NotFound, "client_id", "")
	case !c.Disabled:
		return nil, nil
	}
	return events.ClientEnabled{}, nil
}

// CutOffClient decides to end all that was issued to a client. Nil is no change:
// of a disabled client nothing is left.
func CutOffClient(c fold.Client) (events.Fact, *Refusal) {
	switch {
	case !c.Exists():
		return nil, refuse(NotFound, "client_id", "")
	case c.Disabled:
		return nil, nil
	}
	return events.ClientCutOff{Reason: events.ReasonAdminRequest}, nil
}

// AddClientSecret decides to give a client a further secret.
func AddClientSecret(c fold.Client, secret events.ClientSecretAdded) (events.Fact, *Refusal) {
	switch {
	case !c.Exists():
		return nil, refuse(NotFound, "client_id", "")
	case c.Public:
		return nil, refuse(Conflict, "client_id", "a public client has no secret")
	case len(c.Secrets) >= maxSecrets:
		return nil, refuse(Conflict, "client_id", "two secrets are valid already: drop one first")
	}
	return secret, nil
}

// DropClientSecret decides to end a secret.
func DropClientSecret(c fold.Client, id string) (events.Fact, *Refusal) {
	has := slices.ContainsFunc(c.Secrets, func(s events.ClientSecretAdded) bool { return s.ID == id })
	if !c.Exists() || !has {
		return nil, refuse(NotFound, "secret", "")
	}
	return events.ClientSecretDropped{ID: id}, nil
}

// DisableUser decides to stop a user. Nil is no change.
func DisableUser(u fold.User) (events.Fact, *Refusal) {
	switch {
	case !u.Exists():
		return nil, refuse(NotFound, "user_id", "")
	case u.Disabled:
		return nil, nil
	}
	return events.UserDisabled{}, nil
}

// EnableUser decides to let a user start again. Nil is no change.
func EnableUser(u fold.User) (events.Fact, *Refusal) {
	switch {
	case !u.Exists():
		return nil, refuse(NotFound, "user_id", "")
	case u.Deleted:
		return nil, refuse(Conflict, "user_id", "deleted")
	case !u.Disabled:
		return nil, nil
	}
	return events.UserEnabled{}, nil
}

// DeleteUser decides to end a user for good. Nil is no change.
func DeleteUser(u fold.User) (events.Fact, *Refusal) {
	switch {
	case !u.Exists():
		return nil, refuse(NotFound, "user_id", "")
	case u.Deleted:
		return nil, nil
	}
	return events.UserDeleted{}, nil
}

// EraseUser decides that a deleted user's erasure is done. Nil is no change.
func EraseUser(u fold.User) (events.Fact, *Refusal) {
	switch {
	case !u.Exists():
		return nil, refuse(NotFound, "user_id", "")
	case !u.Deleted:
		return nil, refuse(Conflict, "user_id", "not deleted")
	case u.Erased:
		return nil, nil
	}
	return events.UserErased{}, nil
}

// CutOffUser decides to end all that was issued in a user's name, for one of the
// reasons in package events. Nil is no change: of a disabled user nothing is
// left.
func CutOffUser(u fold.User, reason string) (events.Fact, *Refusal) {
	switch {
	case !u.Exists():
		return nil, refuse(NotFound, "user_id", "")
	case u.Disabled:
		return nil, nil
	}
	return events.UserCutOff{Reason: reason}, nil
}

func looksLikeUserID(id string) bool {
	return len(id) == 36 && strings.Count(id, "-") == 4 && strings.Trim(strings.ToLower(id), "0123456789abcdef-") == ""
}

func checkSettings(s events.ClientSettings, algs []string) *Refusal {
	checks := []func(events.ClientSettings) *Refusal{checkText, checkGrantTypes, checkExchangeSettings, checkRedirects, checkBackchannel, checkOrigins, checkSubjects, checkScopes, checkLifetimes}
	for _, check := range checks {
		if refusal := check(s); refusal != nil {
			return refusal
		}
	}
	if s.SigningAlg != "" && !slices.Contains(algs, s.SigningAlg) {
		return refuse(BadParameter, "access_token_signing_alg", "not configured").because("want one of " + strings.Join(algs, ", "))
	}
	return nil
}

func checkText(s events.ClientSettings) *Refusal {
	lists := map[string][]string{
		"client_name": {s.Name}, "grant_types": s.GrantTypes, "redirect_uris": s.RedirectURIs, "allowed_origins": s.AllowedOrigins, "sector_identifier": {s.SectorIdentifier},
		"post_logout_redirect_uris": s.PostLogoutRedirectURIs, "backchannel_logout_uri": {s.BackchannelLogoutURI},
		"scope": s.Scope, "audience": s.Audience, "token_exchange.audiences": s.TokenExchange.Audiences,
	}
	for name, list := range lists {
		if len(list) > maxListed || slices.ContainsFunc(list, func(t string) bool {
			return len(t) > maxText || strings.ContainsFunc(t, func(r rune) bool { return r < 0x20 || r == 0x7f })
		}) {
			return refuse(BadParameter, name, "too long, too many, or a control character")
		}
	}
	return nil
}

func checkGrantTypes(s events.ClientSettings) *Refusal {
	for _, g := range s.GrantTypes {
		if !slices.Contains(grantTypes, g) {
			return refuse(BadParameter, "grant_types", "unknown").because("want some of " + strings.Join(grantTypes, ", "))
		}
	}
	switch {
	case s.Public && slices.Contains(s.GrantTypes, GrantClientCredentials):
		return refuse(BadParameter, "grant_types", "a public client has no credentials")
	case s.Public && s.IntrospectAny:
		return refuse(BadParameter, "introspect_any", "introspection needs a confidential client")
	case !s.Public && s.PasswordLogin:
		return refuse(BadParameter, "password_login", "only for public clients")
	case slices.Contains(s.GrantTypes, GrantAuthorizationCode) && len(s.RedirectURIs) == 0:
		return refuse(BadParameter, "redirect_uris", "codes need somewhere to go")
	}
	return nil
}

func checkExchangeSettings(s events.ClientSettings) *Refusal {
	x := s.TokenExchange
	switch {
	case x.MaxDepth < 0 || x.MaxDepth > MaxExchangeDepth:
		return refuse(BadParameter, "token_exchange.max_depth", "want 0 to 8")
	case x.Public && !s.Public:
		return refuse(BadParameter, "token_exchange.public", "only for public clients")
	case s.Public && !x.Public && slices.Contains(s.GrantTypes, GrantTokenExchange):
		return refuse(BadParameter, "token_exchange.public", "a public client must be allowed to exchange")
	case x.MayAct != "" && !events.ValidID(x.MayAct):
		return refuse(BadParameter, "token_exchange.may_act", "not a client id")
	}
	return nil
}

func checkRedirects(s events.ClientSettings) *Refusal {
	for _, r := range s.RedirectURIs {
		if why := badRedirect(r); why != "" {
			return refuse(BadParameter, "redirect_uris", why)
		}
	}
	for _, r := range s.PostLogoutRedirectURIs {
		if why := badRedirect(r); why != "" {
			return refuse(BadParameter, "post_logout_redirect_uris", why)
		}
	}
	return nil
}

// checkBackchannel is for an address that we connect to ourselves (OpenID
// Connect Back-Channel Logout 1.0 §2.2).
func checkBackchannel(s events.ClientSettings) *Refusal {
	uri := s.BackchannelLogoutURI
	switch {
	case uri == "" && s.BackchannelLogoutSession:
		return refuse(BadParameter, "backchannel_logout_session_required", "there is nowhere to tell of it")
	case uri == "":
		return nil
	case badRedirect(uri) != "":
		return refuse(BadParameter, "backchannel_logout_uri", badRedirect(uri))
	case !strings.HasPrefix(uri, "https://") && !strings.HasPrefix(uri, "http://"):
		return refuse(BadParameter, "backchannel_logout_uri", "want https, or http on a loopback address")
	}
	return nil
}

// badRedirect says why a redirect URI cannot be registered: absolute, without
// fragment or user information (RFC 6749 §3.1.2), https except on loopback,
// or an application's own scheme with a dot in it (RFC 8252 §7.1).
func badRedirect(raw string) text {
	u, err := url.Parse(raw)
	switch {
	case err != nil || !u.IsAbs():
		return "not an absolute URI"
	case strings.Contains(raw, "#"):
		return "has a fragment"
	case u.User != nil || strings.ContainsAny(raw, "\\ *<>\"'`"):
		return "has user information, a wildcard or a character that URIs do not have"
	case u.Scheme == "https" && u.Host != "", u.Scheme == "http" && isLoopback(u.Hostname()):
		return ""
	case u.Scheme != "http" && u.Scheme != "https" && strings.Contains(u.Scheme, "."):
		return ""
	}
	return "want https, http on a loopback address, or a private-use scheme with a dot"
}

func checkOrigins(s events.ClientSettings) *Refusal {
	for _, o := range s.AllowedOrigins {
		if !validOrigin(o) {
			return refuse(BadParameter, "allowed_origins", "want https://host or https://host:port as browsers send it, http on loopback only")
		}
	}
	return nil
}

// validOrigin tells a web origin as a browser serializes it (RFC 6454 §6.2):
// in lower case, without a default port, with nothing behind the host. Neither
// "null" nor a wildcard is one.
func validOrigin(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || raw != u.Scheme+"://"+u.Host || raw != strings.ToLower(raw) || strings.ContainsAny(raw, "*%") {
		return false
	}
	defaults := map[string]string{"https": "443", "http": "80"}
	if strings.HasSuffix(u.Host, ":") || u.Port() == defaults[u.Scheme] && u.Port() != "" {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname())
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func checkScopes(s events.ClientSettings) *Refusal {
	for _, one := range s.Scope {
		if parsed, refusal := ParseScope(one); refusal != nil || len(parsed) != 1 || parsed[0] != one {
			return refuse(BadParameter, "scope", "want a list of scope tokens")
		}
	}
	return nil
}

func checkLifetimes(s events.ClientSettings) *Refusal {
	bounds := []struct {
		name  string
		value int64
		most  time.Duration
	}{
		{"code_lifetime", s.CodeLifetime, MaxCodeLifetime},
		{"access_token_lifetime", s.AccessTokenLifetime, AccessTokenCap},
		{"refresh_token_idle_lifetime", s.RefreshIdleLifetime, maxGrantLifetime},
		{"refresh_token_absolute_lifetime", s.RefreshAbsoluteLifetime, maxGrantLifetime},
	}
	for _, b := range bounds {
		if b.value < 0 || b.value > int64(b.most/time.Second) {
			return refuse(BadParameter, b.name, "out of bounds").because("want 0 to " + b.most.String() + " in seconds")
		}
	}
	if w := s.RetryWindow; w != nil && (*w < 0 || *w > int64(maxRetryWindow/time.Second)) {
		return refuse(BadParameter, "refresh_token_retry_window", "out of bounds").because("want 0 to " + maxRetryWindow.String() + " in seconds")
	}
	return nil
}

const (
	// maxGrantLifetime keeps every expiry inside the 32 bits of a token.
	maxGrantLifetime = 10 * 365 * 24 * time.Hour
	// maxRetryWindow bounds how long a spent token can still be answered.
	maxRetryWindow = 10 * time.Minute
)
