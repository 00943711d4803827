// Package config is what an operator decides about an authority: its issuer,
// its algorithms, how long things live and whom to believe about addresses.
// The struct is the reference: its tags are read by the command line, the
// environment and the configuration file alike.
package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/api/limit"
	"github.com/chancery-authority/chancery/api/rules"
)

// Settings are the decisions of one authority. Zero values are not defaults:
// start from Default. Those with the tag reload can be changed while it runs.
type Settings struct {
	Issuer string `placeholder:"URL" help:"Issuer identifier (RFC 8414), https except on loopback. Default: the address listened on, if it is loopback."`

	SigningAlgorithms []string `default:"ES256" placeholder:"ALG" help:"JWS algorithms of access and ID tokens, of ES256, RS256 and EdDSA, each with a key; the first is the default of clients that name none."`

	CodeLifetime        time.Duration `default:"1m" reload:"" help:"Life of an authorization code, at most 10m."`
	AccessTokenLifetime time.Duration `default:"1h" reload:"" help:"Life of an access token, at most 24h."`
	RefreshIdle         time.Duration `default:"720h" reload:"" help:"How long a refresh token lives unused."`
	RefreshAbsolute     time.Duration `default:"2160h" reload:"" help:"How long a grant lives, however often it is used."`
	RetryWindow         time.Duration `default:"30s" reload:"" help:"How long a spent refresh token is answered again with the same successor; 0 is never."`
	SessionLifetime     time.Duration `default:"24h" reload:"" help:"How long a person stays signed in at a browser, at most 2160h."`
	FreshnessBound      time.Duration `default:"1s" help:"How old what a replica knows of revocations may be before it answers 503 rather than accept."`

	KeyRotateEvery    time.Duration `default:"2160h" help:"How long a signing key is in use before a new one takes its place, 1h at least; 0 is until told."`
	MACKeyRotateEvery time.Duration `name:"mac-key-rotate-every" default:"2160h" help:"The same of the MAC key, which authenticates codes, refresh tokens and sessions: 168h at least, because there can be 255 of them ever."`
	KeyAnnounceFor    time.Duration `default:"24h" help:"How long a new key is published before it is used: longer than anybody keeps a JWK Set."`

	RevocationFeeds int `default:"256" placeholder:"N" help:"Revocation feeds that are served at once, at most a quarter of them to one client; 0 is none. Each replica counts for itself."`

	AddressLimit        limit.Rate `default:"0" placeholder:"RATE" reload:"" help:"Calls from one address (of IPv6: one /64): N/s, N/m or N/h, then how many at once, as 500/s:1000; 0 is no limit. Each replica counts for itself, as with all limits."`
	ClientLimit         limit.Rate `default:"0" placeholder:"RATE" reload:"" help:"Calls of one confidential client, once authenticated; 0 is no limit."`
	RegistrationLimit   limit.Rate `default:"60/m:100" placeholder:"RATE" reload:"" help:"Registrations of users from one address; 0 is no limit."`
	DeviceLimit         limit.Rate `default:"60/m:100" placeholder:"RATE" reload:"" help:"Device authorizations begun from one address; 0 is no limit."`
	DevicePollLimit     limit.Rate `default:"12/m:2" placeholder:"RATE" reload:"" help:"Polls with one device code, from which follows the interval that devices are told; faster ones are told to slow down. 0 is no limit."`
	FailureLimit        limit.Rate `default:"10/m:20" placeholder:"RATE" reload:"" help:"Wrong secrets of one client, or wrong passwords or device codes of one user, from one address; 0 is no limit."`
	AddressFailureLimit limit.Rate `default:"60/m:100" placeholder:"RATE" reload:"" help:"Wrong secrets, passwords and device codes from one address, whoever's; 0 is no limit."`

	Registration bool `default:"true" negatable:"" reload:"" help:"Let people register themselves."`

	AllowPrivateBackchannel bool `negatable:"" help:"Tell clients of the ends of sessions also at private, loopback and link-local addresses. An issuer on loopback does so in any case."`

	LoginURL   string `name:"login-url" placeholder:"URL" reload:"" help:"The operator's own page to sign in at, in place of ours. It tells the admin API who it was."`
	ConsentURL string `name:"consent-url" placeholder:"URL" reload:"" help:"The operator's own page to agree at, in place of ours."`

	TrustedProxies []netip.Prefix `name:"trusted-proxy" placeholder:"CIDR" reload:"" help:"Proxies whose X-Forwarded-For is believed. None by default."`
}

// Bounds that no configuration can leave. Those of codes and access tokens are
// the rules' own.
const (
	// MaxRetryWindow keeps the reuse of a stolen refresh token noticeable.
	MaxRetryWindow = 10 * time.Minute
	// MaxRefreshAbsolute keeps expiries within the 32 bits of a token.
	MaxRefreshAbsolute = 10 * 365 * 24 * time.Hour
	// MaxSessionLifetime is 90 days.
	MaxSessionLifetime = 90 * 24 * time.Hour
	// MinFreshnessBound leaves time for one append to be read back.
	MinFreshnessBound = 100 * time.Millisecond
	// MinKeyRotation and MinMACKeyRotation are the shortest uses of a key. The ids of
	// MAC keys last for more than four years of these.
	MinKeyRotation    = time.Hour
	MinMACKeyRotation = 7 * 24 * time.Hour
	// MinKeyAnnouncement and MaxKeyAnnouncement bound how long a new key waits.
	MinKeyAnnouncement = time.Minute
	MaxKeyAnnouncement = 30 * 24 * time.Hour
	// MaxFreshnessBound keeps a revocation from taking longer than a person
	// waits.
	MaxFreshnessBound = time.Minute
)

// Default is what an authority without configuration decides. The issuer is
// missing.
func Default() Settings {
	p := rules.DefaultPolicy()
	return Settings{
		SigningAlgorithms:   []string{"ES256"},
		CodeLifetime:        p.Code,
		AccessTokenLifetime: p.AccessToken,
		RefreshIdle:         p.RefreshIdle,
		RefreshAbsolute:     p.RefreshAbsolute,
		RetryWindow:         p.RetryWindow,
		SessionLifetime:     p.Session,
		FreshnessBound:      time.Second,

		KeyRotateEvery:    90 * 24 * time.Hour,
		MACKeyRotateEvery: 90 * 24 * time.Hour,
		KeyAnnounceFor:    24 * time.Hour,
		RevocationFeeds:   256,

		Registration: true,

		RegistrationLimit:   limit.Rate{N: 60, Per: time.Minute, Burst: 100},
		DeviceLimit:         limit.Rate{N: 60, Per: time.Minute, Burst: 100},
		DevicePollLimit:     limit.Rate{N: 12, Per: time.Minute, Burst: 2},
		FailureLimit:        limit.Rate{N: 10, Per: time.Minute, Burst: 20},
		AddressFailureLimit: limit.Rate{N: 60, Per: time.Minute, Burst: 100},
	}
}

// Policy is what the rules need of s.
func (s Settings) Policy() rules.Policy {
	return rules.Policy{
		Code:            s.CodeLifetime,
		AccessToken:     s.AccessTokenLifetime,
		RefreshIdle:     s.RefreshIdle,
		RefreshAbsolute: s.RefreshAbsolute,
		RetryWindow:     s.RetryWindow,
		Session:         s.SessionLifetime,
	}
}

// PrivateBackchannel reports whether clients may be told of the ends of sessions
// at addresses that are not public.
func (s Settings) PrivateBackchannel() bool {
	u, err := url.Parse(s.Issuer)
	return s.AllowPrivateBackchannel || err == nil && IsLoopback(u.Hostname())
}

// Check reports everything that is wrong, one line each, by the names of
// the flags.
func (s Settings) Check() error {
	return errors.Join(
		named("issuer", ValidateIssuer(s.Issuer)),
		named("signing-algorithms", validateAlgorithms(s.SigningAlgorithms)),
		named("login-url", validatePage(s.LoginURL)),
		named("consent-url", validatePage(s.ConsentURL)),
		within("code-lifetime", s.CodeLifetime, time.Second, rules.MaxCodeLifetime),
		within("access-token-lifetime", s.AccessTokenLifetime, time.Second, rules.AccessTokenCap),
		within("refresh-idle", s.RefreshIdle, time.Second, MaxRefreshAbsolute),
		within("refresh-absolute", s.RefreshAbsolute, time.Second, MaxRefreshAbsolute),
		named("refresh-idle", validateIdle(s.RefreshIdle, s.RefreshAbsolute)),
		within("retry-window", s.RetryWindow, 0, MaxRetryWindow),
		within("session-lifetime", s.SessionLifetime, time.Second, MaxSessionLifetime),
		named("revocation-feeds", validateFeeds(s.RevocationFeeds)),
		within("freshness-bound", s.FreshnessBound, MinFreshnessBound, MaxFreshnessBound),
		within("key-announce-for", s.KeyAnnounceFor, max(MinKeyAnnouncement, 3*s.FreshnessBound), MaxKeyAnnouncement),
		named("key-rotate-every", validateRotation(s.KeyRotateEvery, MinKeyRotation, s.KeyAnnounceFor)),
		named("mac-key-rotate-every", validateRotation(s.MACKeyRotateEvery, MinMACKeyRotation, s.KeyAnnounceFor)),
	)
}

func named(flag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", flag, err)
}

func within(flag string, d, least, most time.Duration) error {
	if d < least || d > most {
		return fmt.Errorf("%s: %s is not between %s and %s", flag, d, least, most)
	}
	return nil
}

func validateFeeds(n int) error {
	if n < 0 {
		return fmt.Errorf("%d is negative", n)
	}
	return nil
}

func validateIdle(idle, absolute time.Duration) error {
	if idle > absolute {
		return fmt.Errorf("%s is longer than refresh-absolute, %s", idle, absolute)
	}
	return nil
}

func validateRotation(every, least, announced time.Duration) error {
	switch {
	case every == 0:
		return nil
	case every < least:
		return fmt.Errorf("%s is less than %s", every, least)
	case every < announced:
		return fmt.Errorf("%s is shorter than key-announce-for, %s", every, announced)
	}
	return nil
}

func validateAlgorithms(algs []string) error {
	known := []string{"ES256", "RS256", "EdDSA"}
	if len(algs) == 0 {
		return errors.New("there is none")
	}
	for i, alg := range algs {
		if !slices.Contains(known, alg) {
			return fmt.Errorf("%.32q is not one of %s", alg, strings.Join(known, ", "))
		}
		if slices.Contains(algs[:i], alg) {
			return fmt.Errorf("%s is there twice", alg)
		}
	}
	return nil
}
