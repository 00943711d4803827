package api

import (
	"context"
	"strconv"
	"time"

	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/keys"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/projector"
)

// keyGrace is added to the time that a retired key is kept: what is on its way
// when a key retires may still be made with it.
const keyGrace = time.Hour

// maxJWKSAge is how long a JWK Set may be kept by who reads it.
const maxJWKSAge = 5 * time.Minute

// keyPolicy is when keys take their steps.
func (p Parts) keyPolicy(feed *projector.Feed) func() keys.Policy {
	return func() keys.Policy {
		if p.KeyPolicy != nil {
			return *p.KeyPolicy
		}
		s := p.Settings
		return keys.Policy{
			Rotate: s.KeyRotateEvery, RotateMAC: s.MACKeyRotateEvery, Announce: s.KeyAnnounceFor,
			// An ID token is good as a hint for as long as its session.
			Keep:    max(rules.AccessTokenCap, s.SessionLifetime) + keyGrace,
			KeepMAC: max(longestGrant(s.Policy(), feed), config.MaxSessionLifetime) + keyGrace,
		}
	}
}

// longestGrant is the longest life of a grant, of any client. One that was opened
// when more was allowed ends by what is allowed now.
func longestGrant(p rules.Policy, feed *projector.Feed) time.Duration {
	longest := p.RefreshAbsolute
	for _, c := range feed.Clients() {
		longest = max(longest, p.For(c.ClientSettings).RefreshAbsolute)
	}
	return longest
}

// jwksCacheControl lets a JWK Set be kept for less time than a new key is
// announced, so that no token is met whose key is not in it. One of a replica
// that cannot prove that it knows all keys is not to be kept.
func (s *Server) jwksCacheControl(ctx context.Context) string {
	settle := 2 * s.parts.Settings.FreshnessBound
	age := min(maxJWKSAge, s.parts.keyPolicy(s.feed)().Announce-settle)
	if age < time.Second || s.feed.RegistryFresh(ctx) != nil || s.keys.Behind() {
		return "no-cache"
	}
	return "public, max-age=" + strconv.Itoa(int(age/time.Second))
}
