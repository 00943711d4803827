package rules

import (
	"slices"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// A ClientCredentials is a token request of a client for itself (RFC 6749
// §4.4).
type ClientCredentials struct {
	Client   fold.Client
	Policy   Policy
	Scope    []string
	Audience []string
	Issuer   string
	Now      time.Time
}

// IssueClientCredentials decides a client credentials request. There is never
// a refresh token (RFC 6749 §4.4.3).
func IssueClientCredentials(x ClientCredentials, m Minting) (*events.AccessTokenIssued, *Refusal) {
	if x.Client.Public {
		return nil, refuse(UnauthorizedClient, "grant_type", "public clients have no credentials")
	}
	scope, refusal := clientScope(x.Client.ClientSettings, slices.DeleteFunc(slices.Clone(x.Scope), needsUser))
	if refusal != nil {
		return nil, refusal
	}
	audience, refusal := issuedAudience(x.Client.Audience, x.Client.ClientSettings, x.Audience, x.Issuer)
	if refusal != nil {
		return nil, refusal
	}
	return &events.AccessTokenIssued{
		JTI:         m.JTI,
		Client:      x.Client.ID,
		ClientEpoch: x.Client.Epoch,
		Subject:     x.Client.ID,
		IssuedAt:    x.Now.Unix(),
		Expires:     x.Now.Add(x.Policy.AccessToken).Unix(),
		Scope:       scope,
		Audience:    audience,
		KID:         m.KID,
		LoginClaims: m.LoginClaims,
	}, nil
}

// CheckGrantType reports whether a client may use a grant type at all.
func CheckGrantType(c fold.Client, grantType string) *Refusal {
	if !slices.Contains(c.GrantTypes, grantType) {
		return refuse(UnauthorizedClient, "grant_type", "not a grant type of the client")
	}
	return nil
}
