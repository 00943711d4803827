// Package natsresource lets a resource server that is inside the cluster hear of
// revocations from the log itself.
package natsresource

import (
	"context"
	"slices"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

// Revocations are those that a feed knows. Every verification that finds the feed
// older than half its bound has it proved, as at a replica of the API.
type Revocations struct{ feed *projector.Feed }

// New gives what a feed knows, which the caller closes.
func New(feed *projector.Feed) Revocations { return Revocations{feed} }

// Now is described at resource.Revocations.
func (r Revocations) Now() time.Time { return r.feed.Now(0) }

// Ended is described at resource.Revocations. Of a user that the log does not have
// nothing is known: tokens with pairwise subjects do not tell theirs, and only the
// authority can find it.
func (r Revocations) Ended(ctx context.Context, kid string, links []rules.Link) (why rules.Why, asOf time.Time) {
	asOf = r.proved(ctx, links)
	if slices.ContainsFunc(r.feed.Keys(), func(k fold.Key) bool { return k.ID == kid && k.State == fold.KeyDropped }) {
		return rules.WhyKeyDropped, asOf
	}
	for _, l := range links {
		state, known := r.state(l)
		if why := l.Ended(state); why != "" {
			return why, asOf
		}
		if !known {
			asOf = time.Time{}
		}
	}
	return "", asOf
}

// proved is as of when the feed knows everything, which is older than its bound only
// if it could not be proved. It is zero if the feed lacks one of the links'
// partitions.
func (r Revocations) proved(ctx context.Context, links []rules.Link) time.Time {
	_, has, _ := r.feed.Proved()
	if slices.ContainsFunc(links, func(l rules.Link) bool { return !slices.Contains(has, l.Partition) }) {
		return time.Time{}
	}
	_ = r.feed.Fresh(ctx, has...) // what was proved tells
	at, _, _ := r.feed.Proved()
	return at
}

func (r Revocations) state(l rules.Link) (s rules.LinkState, known bool) {
	client, hasClient := r.feed.Client(l.Client)
	user, hasUser := r.feed.User(l.User)
	return rules.LinkState{
		Lost: slices.ContainsFunc(r.feed.Restorations(l.Partition), func(x fold.Restoration) bool {
			return x.EndsIssuedAt(l.IssuedAt)
		}),
		TokenRevoked: r.feed.TokenRevoked(l.JTI), GrantRevoked: !l.Grant.IsZero() && r.feed.GrantRevoked(l.Grant),
		Client: rules.ClientParty(client), User: rules.UserParty(user),
	}, hasClient && (l.User == "" || hasUser)
}
