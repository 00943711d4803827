package authority

import (
	"fmt"
	"slices"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// idToken makes the ID token that goes with an access token, or none where the
// scope has no openid. Like that one it comes from the grant and the issuance,
// so a repeated answer has the same, but for at_hash and its signature.
//
// The nonce is in the code exchange's alone: a refreshed ID token should not
// have one (OIDC Core §12.2).
func (a *Authority) idToken(g fold.Grant, i events.Issuance, accessToken string) (string, error) {
	if !slices.Contains(i.Scope, rules.ScopeOpenID) {
		return "", nil
	}
	c := jose.IDClaims{
		Issuer: a.Issuer, Subject: g.Subject(), ClientID: g.Client, Expires: i.Expires, IssuedAt: i.IssuedAt,
		AuthTime: g.AuthTime, AMR: g.AMR, ACR: g.ACR, Session: g.Session, AccessToken: accessToken,
	}
	if i.Generation == 1 {
		c.Nonce = g.Nonce
	}
	key, err := a.Keys.SignerByID(i.KID)
	if err != nil {
		return "", fmt.Errorf("find signing key: %w", err)
	}
	return jose.SignIDToken(key, c)
}
