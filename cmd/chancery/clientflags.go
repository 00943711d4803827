package main

import (
	"fmt"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// clientFlags are the settings of a client. What is not given stays as it is.
type clientFlags struct {
	Name          *string  `placeholder:"TEXT" help:"Name for people."`
	Public        *bool    `negatable:"" help:"The client cannot keep a secret (RFC 6749 §2.1)."`
	GrantType     []string `sep:"," placeholder:"TYPE" help:"Grants it may use: authorization_code, refresh_token, client_credentials, urn:ietf:params:oauth:grant-type:token-exchange, urn:ietf:params:oauth:grant-type:device_code."`
	RedirectURI   []string `name:"redirect-uri" sep:"none" placeholder:"URI" help:"Where codes may be sent. May be repeated."`
	AllowedOrigin []string `name:"allowed-origin" sep:"none" placeholder:"ORIGIN" help:"Web origins whose scripts may read answers to it, as https://app.example. May be repeated."`
	PostLogoutURI []string `name:"post-logout-redirect-uri" sep:"none" placeholder:"URI" help:"Where people may be sent once they have signed out. May be repeated."`
	Scope         []string `sep:" " placeholder:"SCOPE" help:"Scopes it may be granted, separated by spaces."`
	Audience      []string `sep:" " placeholder:"AUDIENCE" help:"Audiences of its tokens, separated by spaces."`
	SigningAlg    *string  `placeholder:"ALG" help:"JWS algorithm of its access and ID tokens: ES256, RS256 or EdDSA."`
	RequirePKCE   *bool    `name:"require-pkce" negatable:"" help:"Ask for a code challenge, although it is confidential."`
	SubjectType   *string  `placeholder:"TYPE" help:"What it is told of users: public, their id, or pairwise, a sub that others do not share (OpenID Connect Core §8)."`
	Sector        *string  `name:"sector-identifier" placeholder:"HOST" help:"Host that clients have in common which are told one pairwise sub. Default: the host of its redirect URIs."`
	PKCEOptional  *bool    `name:"pkce-optional" negatable:"" help:"It is confidential, does not know PKCE, and may come to the authorization endpoint without."`
	IntrospectAny *bool    `negatable:"" help:"It may introspect tokens of every audience."`
	FirstParty    *bool    `negatable:"" help:"It is the installation's own: people are not asked whether they agree."`
	RequirePAR    *bool    `name:"require-par" negatable:"" help:"It must push its authorization requests (RFC 9126)."`
	PasswordLogin *bool    `negatable:"" help:"It is first-party and may send a user's password."`

	BackchannelLogoutURI     *string `name:"backchannel-logout-uri" placeholder:"URI" help:"Where it is told that a session has ended (OpenID Connect Back-Channel Logout); empty is nowhere."`
	BackchannelLogoutSession *bool   `name:"backchannel-logout-session-required" negatable:"" help:"It needs the session's id there, which it always gets."`

	Exchange exchangeFlags `embed:"" prefix:"exchange-"`

	CodeLifetime        *time.Duration `placeholder:"TIME" help:"Life of its codes; 0 is the server's."`
	AccessTokenLifetime *time.Duration `placeholder:"TIME" help:"Life of its access tokens; 0 is the server's."`
	RefreshIdle         *time.Duration `placeholder:"TIME" help:"How long its refresh tokens live unused; 0 is the server's."`
	RefreshAbsolute     *time.Duration `placeholder:"TIME" help:"How long its grants live; 0 is the server's."`
	RetryWindow         *window        `placeholder:"TIME" help:"How long a spent refresh token is answered again; 0 is never, default is the server's."`
}

// exchangeFlags are what a client may do by token exchange (RFC 8693).
type exchangeFlags struct {
	Impersonation *bool    `negatable:"" help:"It may exchange tokens without an actor token."`
	Delegation    *bool    `negatable:"" help:"It may exchange tokens with an actor token."`
	Public        *bool    `negatable:"" help:"It may exchange tokens although it is public."`
	Audience      []string `sep:" " placeholder:"AUDIENCE" help:"Audiences of exchanged tokens beyond its own, separated by spaces."`
	MaxDepth      *int     `placeholder:"N" help:"How many exchanges its tokens may be away from their root, at most 8; 0 is 1."`
	MayAct        *string  `placeholder:"CLIENT" help:"Client that alone may exchange its exchanged tokens further."`
}

func (f exchangeFlags) apply(s *events.ExchangeSettings) {
	give(&s.Impersonation, f.Impersonation)
	give(&s.Delegation, f.Delegation)
	give(&s.Public, f.Public)
	give(&s.MaxDepth, f.MaxDepth)
	give(&s.MayAct, f.MayAct)
	giveList(&s.Audiences, f.Audience)
}

// apply puts what was given into s.
func (f clientFlags) apply(s *events.ClientSettings) {
	give(&s.Name, f.Name)
	give(&s.Public, f.Public)
	give(&s.SigningAlg, f.SigningAlg)
	give(&s.RequirePKCE, f.RequirePKCE)
	give(&s.PKCEOptional, f.PKCEOptional)
	give(&s.SubjectType, f.SubjectType)
	give(&s.SectorIdentifier, f.Sector)
	give(&s.IntrospectAny, f.IntrospectAny)
	give(&s.PasswordLogin, f.PasswordLogin)
	give(&s.FirstParty, f.FirstParty)
	give(&s.RequirePAR, f.RequirePAR)
	giveList(&s.GrantTypes, f.GrantType)
	giveList(&s.RedirectURIs, f.RedirectURI)
	giveList(&s.PostLogoutRedirectURIs, f.PostLogoutURI)
	give(&s.BackchannelLogoutURI, f.BackchannelLogoutURI)
	give(&s.BackchannelLogoutSession, f.BackchannelLogoutSession)
	giveList(&s.AllowedOrigins, f.AllowedOrigin)
	giveList(&s.Scope, f.Scope)
	giveList(&s.Audience, f.Audience)
	f.Exchange.apply(&s.TokenExchange)
	giveSeconds(&s.CodeLifetime, f.CodeLifetime)
	giveSeconds(&s.AccessTokenLifetime, f.AccessTokenLifetime)
	giveSeconds(&s.RefreshIdleLifetime, f.RefreshIdle)
	giveSeconds(&s.RefreshAbsoluteLifetime, f.RefreshAbsolute)
	if f.RetryWindow != nil {
		s.RetryWindow = f.RetryWindow.seconds
	}
}

func give[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// giveList replaces the list. An empty item, as in --scope "", clears it.
func giveList(to *[]string, from []string) {
	if from == nil {
		return
	}
	*to = nil
	for _, item := range from {
		if item != "" {
			*to = append(*to, item)
		}
	}
}

func giveSeconds(to *int64, from *time.Duration) {
	if from != nil {
		*to = int64(*from / time.Second)
	}
}

// window is a retry window: a duration, or the server's for "default".
type window struct{ seconds *int64 }

// UnmarshalText reads a duration or the word default.
func (w *window) UnmarshalText(text []byte) error {
	w.seconds = nil
	if string(text) == "default" {
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("want a duration like 30s, 0 or default: %w", err)
	}
	seconds := int64(d / time.Second)
	w.seconds = &seconds
	return nil
}

// lifetime is a client's own duration in seconds, for a table.
func lifetime(seconds int64) string {
	if seconds == 0 {
		return "default"
	}
	return (time.Duration(seconds) * time.Second).String()
}
