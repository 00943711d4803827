package jose

import (
	"errors"
	"fmt"
	"slices"

	"github.com/chancery-authority/chancery/events"
)

// logoutEvent is the one member of a logout token's events (OpenID Connect
// Back-Channel Logout 1.0 §2.4).
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// LogoutClaims are those of a logout token. All are required; times are Unix
// seconds.
type LogoutClaims struct {
	Issuer   string // iss
	Subject  string // sub
	ClientID string // aud
	IssuedAt int64  // iat
	Expires  int64  // exp
	JTI      string // jti
	// Session is the one that has ended (sid).
	Session events.SessionID
}

// SignLogoutToken makes the token that tells a client of the end of a session
// (OpenID Connect Back-Channel Logout 1.0 §2.4). Its typ, and that it has no
// nonce, keep it from passing for an ID token.
func SignLogoutToken(k SigningKey, c LogoutClaims) (string, error) {
	if slices.Contains([]string{c.Issuer, c.Subject, c.ClientID, c.JTI}, "") || c.Session.IsZero() || c.Expires <= c.IssuedAt {
		return "", errors.New("signing a logout token: a claim is missing")
	}
	text, err := k.signObject("logout+jwt", map[string]any{
		"iss": c.Issuer, "sub": c.Subject, "aud": c.ClientID, "iat": c.IssuedAt, "exp": c.Expires, "jti": c.JTI,
		"sid": c.Session, "events": map[string]any{logoutEvent: map[string]any{}},
	})
	if err != nil {
		return "", fmt.Errorf("signing a logout token: %w", err)
	}
	return text, nil
}
