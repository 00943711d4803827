package jose

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/chancery-authority/chancery/events"
)

// IDClaims are those of an ID token (OIDC Core §2). Times are Unix seconds.
type IDClaims struct {
	Issuer  string // iss
	Subject string // sub
	// ClientID is the only audience (aud), and so there is no azp.
	ClientID string
	Expires  int64    // exp
	IssuedAt int64    // iat
	AuthTime int64    // auth_time
	Nonce    string   // nonce, left out if empty
	ACR      string   // acr, left out if empty
	AMR      []string // amr, left out if empty
	// Session is the one that the grant was opened in (sid), if any.
	Session events.SessionID
	// AccessToken is the one that it comes with, as text. The ID token has its
	// hash (at_hash), so this is empty in one that was verified.
	AccessToken string
}

const idTokenType = "JWT"

// SignIDToken makes the ID token. Its typ is JWT, so it never passes for an
// access token (RFC 9068 §4).
func SignIDToken(k SigningKey, c IDClaims) (string, error) {
	if c.Issuer == "" || c.Subject == "" || c.ClientID == "" || c.AccessToken == "" {
		return "", errors.New("signing an ID token: iss, sub, aud or its access token is missing")
	}
	payload := map[string]any{
		"iss": c.Issuer, "sub": c.Subject, "aud": c.ClientID, "exp": c.Expires, "iat": c.IssuedAt,
		"auth_time": c.AuthTime, "at_hash": k.public.Alg.halfHash(c.AccessToken),
	}
	if c.Nonce != "" {
		payload["nonce"] = c.Nonce
	}
	if c.ACR != "" {
		payload["acr"] = c.ACR
	}
	if len(c.AMR) > 0 {
		payload["amr"] = c.AMR
	}
	if !c.Session.IsZero() {
		payload["sid"] = c.Session
	}
	text, err := k.signObject(idTokenType, payload)
	if err != nil {
		return "", fmt.Errorf("signing an ID token: %w", err)
	}
	return text, nil
}

// VerifyIDToken reads an ID token of this issuer that came back as a hint of who
// is meant (id_token_hint, OIDC Core §3.1.2.1): signature by one of the keys, type
// and issuer. A hint may have expired. The error is ErrInvalid; whether it is the
// client's, and what became of its user and session, is for the caller.
func (v *Verifier) VerifyIDToken(text string) (IDClaims, error) {
	payload, _, err := v.open(text, idTokenType)
	if err != nil {
		return IDClaims{}, err
	}
	m, err := parseObject(payload)
	if err != nil {
		return IDClaims{}, invalid("claims: " + err.Error())
	}
	var c IDClaims
	err = errors.Join(
		m.get("iss", &c.Issuer), m.get("sub", &c.Subject), m.get("aud", &c.ClientID), m.get("exp", &c.Expires), m.get("iat", &c.IssuedAt),
		m.get("auth_time", &c.AuthTime), m.get("nonce", &c.Nonce), m.get("acr", &c.ACR), m.get("amr", &c.AMR), m.get("sid", &c.Session),
	)
	switch {
	case err != nil:
		return IDClaims{}, invalid("claims: " + err.Error())
	case c.Issuer != v.issuer:
		return IDClaims{}, invalid("another issuer")
	case c.Subject == "" || c.ClientID == "":
		return IDClaims{}, invalid("no sub or aud")
	}
	return c, nil
}

// halfHash is the left half of a text's hash, in base64url, by the hash function
// of the algorithm (OIDC Core §3.1.3.6). That of Ed25519 is SHA-512 (RFC 8032
// §5.1).
func (a Alg) halfHash(text string) string {
	if a == EdDSA {
		sum := sha512.Sum512([]byte(text))
		return base64.RawURLEncoding.EncodeToString(sum[:sha512.Size/2])
	}
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:sha256.Size/2])
}
