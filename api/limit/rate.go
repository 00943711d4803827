// Package limit counts what callers do and says when one has to wait: token
// buckets by client, by address and by both, in bounded memory. It has no
// clock; now is an argument. What it counts is this replica's alone, so n
// replicas let through up to n times as much.
package limit

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// A Rate is how much may be done: N in a period, Burst at once. The zero value
// is no limit. Its text is N/s, N/m or N/h, with :BURST behind it unless that
// is N, or 0.
type Rate struct {
	N     int
	Per   time.Duration
	Burst int
}

var periods = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

// maxCount bounds N and Burst where sums with them stay exact.
const maxCount = 1_000_000_000

var errRate = errors.New("want N/s, N/m or N/h, maybe with :BURST, or 0 for no limit")

// UnmarshalText reads a rate.
func (r *Rate) UnmarshalText(text []byte) error {
	*r = Rate{}
	if string(text) == "0" {
		return nil
	}
	often, burst, hasBurst := strings.Cut(string(text), ":")
	count, per, _ := strings.Cut(often, "/")
	n, err := strconv.Atoi(count)
	if err != nil {
		return errRate
	}
	most := n
	if hasBurst {
		if most, err = strconv.Atoi(burst); err != nil {
			return errRate
		}
	}
	if n < 1 || most < 1 || n > maxCount || most > maxCount || periods[per] == 0 {
		return errRate
	}
	*r = Rate{N: n, Per: periods[per], Burst: most}
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// String is the text of r.
func (r Rate) String() string {
	for name, per := range periods {
		switch {
		case r.Per != per || r.off():
		case r.Burst == r.N:
			return fmt.Sprintf("%d/%s", r.N, name)
		default:
			return fmt.Sprintf("%d/%s:%d", r.N, name, r.Burst)
		}
	}
	return "0"
}

// Interval is how often a thing may be done in the long run, 0 for no limit.
func (r Rate) Interval() time.Duration {
	if r.off() {
		return 0
	}
	return r.Per / time.Duration(r.N)
}

func (r Rate) off() bool { return r.N == 0 }

func (r Rate) perSecond() float64 { return float64(r.N) / r.Per.Seconds() }

// A bucket is what one key may still do.
type bucket struct {
	tokens *rate.Limiter
	// pending counts what has begun and may yet take a token.
	pending int
	// taken is the newest time of a token taken. A Limiter that is told an
	// earlier one would earn the time between twice.
	taken time.Time
}

func newBucket(r Rate) *bucket {
	if r.off() {
		return &bucket{tokens: rate.NewLimiter(rate.Inf, 0)}
	}
	return &bucket{tokens: rate.NewLimiter(rate.Limit(r.perSecond()), r.Burst)}
}

func (b *bucket) take(now time.Time) {
	if now.After(b.taken) {
		b.taken = now
	}
	b.tokens.AllowN(b.taken, 1)
}

// wait is how long until there is a token, 0 if there is one.
func (b *bucket) wait(now time.Time) time.Duration {
	missing := 1 + float64(b.pending) - b.tokens.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	seconds := missing / float64(b.tokens.Limit())
	return time.Duration(math.Ceil(seconds * float64(time.Second)))
}
