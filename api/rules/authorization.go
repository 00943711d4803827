package rules

import (
	"regexp"
	"slices"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// Grant types, as in grant_type (RFC 6749 §4 and §6, RFC 8693 §2.1, RFC 8628
// §3.4).
const (
	GrantAuthorizationCode = "authorization_code"
	GrantRefreshToken      = "refresh_token"
	GrantClientCredentials = "client_credentials"
	GrantTokenExchange     = "urn:ietf:params:oauth:grant-type:token-exchange" //nolint:gosec // a name, no credential
	GrantDeviceCode        = "urn:ietf:params:oauth:grant-type:device_code"    //nolint:gosec // a name, no credential
)

// maxNonce bounds, in bytes, what a grant keeps of a client's nonce.
const maxNonce = 512

// An Authorization is a resource owner's yes to a client, before any token.
type Authorization struct {
	Client fold.Client
	User   fold.User
	// Scope and Audience as asked for. Exact says that they are what the user was
	// shown: an empty one is nothing, and no default takes its place.
	Scope    []string
	Audience []string
	Exact    bool
	// RedirectURI as asked for; empty if the request had none.
	RedirectURI string
	// Challenge is the PKCE S256 challenge, checked by ParseChallenge.
	Challenge string
	// Nonce, AuthTime, AMR and ACR are for the ID token (OIDC Core §2); Nonce and
	// ACR may be empty.
	Nonce    string
	AuthTime time.Time
	AMR      []string
	ACR      string
	// Pairwise is the sub that the client is told instead of the user's id, or
	// empty.
	Pairwise string
	// Session is the one that the user authorizes in, if any, and SessionExpires
	// when that would end, in Unix seconds.
	Session        events.SessionID
	SessionExpires int64
	Now            time.Time
	Policy         Policy
}

// Redirect is the redirect URI in force: the one asked for if it is registered
// for the client, or the only one there is.
func (a Authorization) Redirect() (string, *Refusal) {
	switch {
	case a.RedirectURI != "" && slices.ContainsFunc(a.Client.RedirectURIs, a.isRedirect):
		return a.RedirectURI, nil
	case a.RedirectURI != "":
		return "", refuse(RedirectNotAllowed, "redirect_uri", "not registered")
	case len(a.Client.RedirectURIs) == 1:
		return a.Client.RedirectURIs[0], nil
	}
	return "", refuse(MissingParameter, "redirect_uri", "the client has not exactly one")
}

// isRedirect compares character by character (RFC 9700 §2.1). The one exception
// is the port of a loopback address, which a native app gets from its system
// only when it runs (RFC 8252 §7.3).
func (a Authorization) isRedirect(registered string) bool {
	if registered == a.RedirectURI {
		return true
	}
	want, ok := withoutLoopbackPort(registered)
	got, also := withoutLoopbackPort(a.RedirectURI)
	return a.Client.Public && ok && also && want == got
}

// loopbackURI has nothing between address, port and path, so that nothing can
// hide there.
var loopbackURI = regexp.MustCompile(`^(http://(?:127\.0\.0\.1|\[::1\]))(?::[0-9]{1,5})?(/.*)?$`)

func withoutLoopbackPort(uri string) (rest string, ok bool) {
	parts := loopbackURI.FindStringSubmatch(uri)
	if parts == nil {
		return "", false
	}
	return parts[1] + parts[2], true
}

// OpenWithCode opens a grant that a code is to be redeemed for.
func OpenWithCode(a Authorization, m Minting) (*events.GrantOpened, *Refusal) {
	asked, refusal := a.CheckCodeRequest()
	if refusal != nil {
		return nil, refusal
	}
	opened, refusal := a.open()
	if refusal != nil {
		return nil, refusal
	}
	codeExpires := a.Now.Add(a.Policy.Code)
	opened.Code = &events.Code{
		MACKey:        m.MACKey,
		Expires:       codeExpires.Unix(),
		RedirectURI:   asked.RedirectURI,
		RedirectGiven: a.RedirectURI != "",
		Challenge:     a.Challenge,
	}
	if !opened.Refreshable {
		opened.Expires = codeExpires.Add(a.Policy.AccessToken).Unix()
	}
	return opened, nil
}

// Asked is what an authorization request comes down to.
type Asked struct {
	// RedirectURI is the one in force.
	RedirectURI string
	// Scope and Audience are what would be granted.
	Scope, Audience []string
}

// CheckCodeRequest reports what is wrong with asking for a code, which is
// known before the resource owner is, or else what is asked for.
func (a Authorization) CheckCodeRequest() (asked Asked, refusal *Refusal) {
	asked.RedirectURI, refusal = a.Redirect()
	switch {
	case refusal != nil:
		return asked, refusal
	case !slices.Contains(a.Client.GrantTypes, GrantAuthorizationCode):
		return asked, refuse(UnauthorizedClient, "response_type", "the client may not ask for codes")
	case a.Challenge == "" && (a.Client.Public || a.Client.RequirePKCE):
		return asked, refuse(ChallengeRequired, "code_challenge", "")
	case len(a.Nonce) > maxNonce:
		return asked, refuse(BadParameter, "nonce", "too long")
	}
	asked.Scope, asked.Audience, refusal = a.wanted()
	return asked, refusal
}

// wanted is the scope and audience that would be granted.
func (a Authorization) wanted() (scope, audience []string, refusal *Refusal) {
	if len(a.Scope) > 0 || !a.Exact {
		if scope, refusal = clientScope(a.Client.ClientSettings, a.Scope); refusal != nil {
			return nil, nil, refusal
		}
	}
	if len(a.Audience) > 0 || !a.Exact {
		audience, refusal = narrowAudience(a.Client.Audience, a.Audience)
	}
	return scope, audience, refusal
}

// OpenWithPassword opens a grant for a first-party public client that sent the
// user's password itself (the Login API's login/token), with generation 1.
func OpenWithPassword(a Authorization, m Minting, origin, issuer string) (*events.GrantOpened, *Refusal) {
	if refusal := CheckPasswordLogin(a.Client); refusal != nil {
		return nil, refusal
	}
	opened, refusal := a.open()
	if refusal != nil {
		return nil, refusal
	}
	expires := a.Now.Add(a.Policy.AccessToken)
	if !opened.Refreshable {
		opened.Expires = expires.Unix()
	}
	audience, refusal := issuedAudience(opened.Audience, a.Client.ClientSettings, a.Audience, issuer)
	if refusal != nil {
		return nil, refusal
	}
	i := issuance(m, 1, a.Now, earlier(expires, opened.Expires), opened.Scope, m.userAudience(opened.Scope, audience, issuer))
	i.Origin = origin
	if opened.Refreshable {
		i.MACKey = m.MACKey
	}
	opened.Issued = &i
	return opened, nil
}

// CheckPasswordLogin reports whether a client may send passwords at all.
func CheckPasswordLogin(c fold.Client) *Refusal {
	if !c.Public || !c.PasswordLogin {
		return refuse(UnauthorizedClient, "client_id", "the client may not send passwords")
	}
	return nil
}

func (a Authorization) open() (*events.GrantOpened, *Refusal) {
	scope, audience, refusal := a.wanted()
	if refusal != nil {
		return nil, refusal
	}
	if len(a.Nonce) > maxNonce {
		return nil, refuse(BadParameter, "nonce", "too long")
	}
	return &events.GrantOpened{
		Client:         a.Client.ID,
		User:           a.User.ID,
		Scope:          scope,
		Audience:       audience,
		ClientEpoch:    a.Client.Epoch,
		UserEpoch:      a.User.Epoch,
		AuthTime:       a.AuthTime.Unix(),
		AMR:            a.AMR,
		ACR:            a.ACR,
		Nonce:          a.Nonce,
		Pairwise:       a.Pairwise,
		Expires:        a.Now.Add(a.Policy.RefreshAbsolute).Unix(),
		Refreshable:    WantsRefresh(scope),
		Session:        a.Session,
		SessionExpires: a.SessionExpires,
	}, nil
}

func earlier(t time.Time, unix int64) time.Time {
	if u := time.Unix(unix, 0); u.Before(t) {
		return u
	}
	return t
}
