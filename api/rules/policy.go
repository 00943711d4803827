package rules

import (
	"time"

	"github.com/chancery-authority/chancery/events"
)

// AccessTokenCap is the longest life of any access token. Replicas read
// revocations this far back, so it is fixed.
const AccessTokenCap = 24 * time.Hour

// MaxCodeLifetime is the longest life of a code (RFC 6749 §4.1.2).
const MaxCodeLifetime = 10 * time.Minute

// A Policy is how long things live. A policy made shorter applies at once, a
// longer one to new grants.
type Policy struct {
	Code        time.Duration
	AccessToken time.Duration
	// RefreshIdle is how long a refresh token lives unused, RefreshAbsolute
	// how long the grant does whatever is used.
	RefreshIdle     time.Duration
	RefreshAbsolute time.Duration
	// RetryWindow is how long after a rotation the spent token is answered
	// again with the same successor. 0 is never.
	RetryWindow time.Duration
	// Session is how long a person stays signed in at a browser. It is the
	// installation's alone.
	Session time.Duration
}

// DefaultPolicy is that of an installation that configures none.
func DefaultPolicy() Policy {
	return Policy{
		Code:            time.Minute,
		AccessToken:     time.Hour,
		RefreshIdle:     30 * 24 * time.Hour,
		RefreshAbsolute: 90 * 24 * time.Hour,
		RetryWindow:     30 * time.Second,
		Session:         24 * time.Hour,
	}
}

// For is the policy of one client: its own settings where it has any.
func (p Policy) For(c events.ClientSettings) Policy {
	override(&p.Code, c.CodeLifetime)
	override(&p.AccessToken, c.AccessTokenLifetime)
	override(&p.RefreshIdle, c.RefreshIdleLifetime)
	override(&p.RefreshAbsolute, c.RefreshAbsoluteLifetime)
	if c.RetryWindow != nil {
		p.RetryWindow = time.Duration(*c.RetryWindow) * time.Second
	}
	p.Code = min(p.Code, MaxCodeLifetime)
	p.AccessToken = min(p.AccessToken, AccessTokenCap)
	return p
}

func override(d *time.Duration, seconds int64) {
	if seconds > 0 {
		*d = time.Duration(seconds) * time.Second
	}
}
