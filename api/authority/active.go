package authority

import (
	"context"
	"slices"

	"github.com/chancery-authority/chancery/api/endings"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
)

// lineage is a token and everything that it was made from.
func lineage(c jose.Claims) []rules.Link { return rules.Lineage(endings.Presented(c)) }

// active reports whether a verified access token, and every token that it was
// made from, was neither revoked nor lost its client or user.
func (a *Authority) active(ctx context.Context, claims jose.Claims) (bool, error) {
	links := lineage(claims)
	if err := a.requireFresh(ctx, links); err != nil {
		return false, err
	}
	return a.stand(ctx, links)
}

// requireFresh makes sure that what this replica knows of all that links depend
// on is no older than the bound.
func (a *Authority) requireFresh(ctx context.Context, links []rules.Link) error {
	var partitions []events.Partition
	for _, l := range links {
		if !slices.Contains(partitions, l.Partition) {
			partitions = append(partitions, l.Partition)
		}
	}
	if err := a.Feed.Fresh(ctx, partitions...); err != nil {
		return unavailable("prove the feed fresh", err)
	}
	return nil
}

// stand reports whether nothing that links depend on has ended. All of it is in
// memory; requireFresh comes first.
func (a *Authority) stand(ctx context.Context, links []rules.Link) (bool, error) {
	for _, l := range links {
		if why, err := a.ended(ctx, l); err != nil || why != "" {
			return false, err
		}
	}
	return true, nil
}

// ended says what has ended one link before its time, or nothing.
func (a *Authority) ended(ctx context.Context, l rules.Link) (rules.Why, error) {
	revoked := rules.LinkState{
		Lost:         l.JTI != "" && a.tokenLost(l.Partition, l.IssuedAt),
		TokenRevoked: a.Feed.TokenRevoked(l.JTI), GrantRevoked: !l.Grant.IsZero() && a.Feed.GrantRevoked(l.Grant),
	}
	if revoked.Lost || revoked.TokenRevoked || revoked.GrantRevoked {
		return l.Ended(revoked), nil // its client and user may have to be read
	}
	c, u, err := a.holder(ctx, l.Client, l.User)
	if err != nil {
		return "", err
	}
	return l.Ended(rules.LinkState{Client: rules.ClientParty(c), User: rules.UserParty(u)}), nil
}
