package bench

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
)

// A verifier verifies access tokens that are JWTs, by a library that is not
// Chancery's. It may be used from many goroutines.
type verifier struct {
	keys   oidc.KeySet
	issuer string
	client string
	// scope and audience are what is asked for.
	scope    string
	audience []string
	// strict asks for what RFC 9068 asks for; others than Chancery have older forms.
	strict bool
}

func newVerifier(ctx context.Context, h *http.Client, jwks string, t Target) *verifier {
	return &verifier{
		keys: oidc.NewRemoteKeySet(oidc.ClientContext(ctx, h), jwks), issuer: t.Issuer, scope: t.Scope,
		audience: append(slices.Clone(t.Resource), t.Audience...), strict: t.Admin != nil,
	}
}

// audiences is the claim aud, one or several (RFC 7519 §4.1.3).
type audiences []string

// UnmarshalJSON takes both.
func (a *audiences) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = audiences{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(a))
}

// accessClaims are those that are looked at.
type accessClaims struct {
	Issuer   string    `json:"iss"`
	Audience audiences `json:"aud"`
	Expires  int64     `json:"exp"`
	Client   string    `json:"client_id"`
	// Party is what other servers have in place of client_id.
	Party string `json:"azp"`
	Scope any    `json:"scope"`
}

// isJWT reports whether a token has the form of a JWS (RFC 7515 §3.1).
func isJWT(token string) bool { return strings.Count(token, ".") == 2 }

// verify verifies the signature of an access token, and its claims against the
// answer that brought it and, if scope and audience were asked for, against those.
func (v *verifier) verify(ctx context.Context, t tokenAnswer, asked bool) *failure {
	payload, err := v.keys.VerifySignature(ctx, t.AccessToken)
	if err != nil {
		// The library has no other way to tell the two apart.
		if strings.HasPrefix(err.Error(), "fetching keys") {
			return wrong("the JWK Set cannot be fetched")
		}
		return wrong("the signature of an access token is not by one of the keys")
	}
	if v.strict && !strings.EqualFold(typ(t.AccessToken), "at+jwt") { // RFC 9068 §2.1
		return wrong("the typ of an access token is not at+jwt")
	}
	var c accessClaims
	if json.Unmarshal(payload, &c) != nil {
		return wrong("the claims of an access token cannot be read")
	}
	return v.checkClaims(c, t, asked)
}

func (v *verifier) checkClaims(c accessClaims, t tokenAnswer, asked bool) *failure {
	client := c.Client
	if client == "" && !v.strict {
		client = c.Party
	}
	scope, _ := c.Scope.(string)
	want := t.Scope
	var audience []string
	if asked {
		want, audience = cmp.Or(want, v.scope), v.audience // RFC 6749 §5.1: it may be left out if it is what was asked for
	}
	switch {
	case v.issuer != "" && c.Issuer != v.issuer:
		return wrong("iss of an access token is not the issuer")
	case len(c.Audience) == 0 && v.strict:
		return wrong("an access token without aud")
	case slices.ContainsFunc(audience, func(a string) bool { return !slices.Contains(c.Audience, a) }):
		return wrong("aud of an access token lacks what was asked for")
	case !t.expiry().holds(c.Expires):
		return wrong("exp of an access token is not what expires_in says")
	case client != v.client && (client != "" || v.strict):
		return wrong("client_id of an access token is not the client's")
	case want != "" && scope != want && (scope != "" || v.strict):
		return wrong("scope of an access token is not what the answer says")
	}
	return nil
}

// typ is the typ of a JWT's header.
func typ(token string) string {
	head, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	var header struct {
		Typ string `json:"typ"`
	}
	if err != nil || json.Unmarshal(text, &header) != nil {
		return ""
	}
	return header.Typ
}
