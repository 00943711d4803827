package authority

import (
	"context"
	"slices"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
)

// A link is what one token of a line depends on.
type link struct {
	jti       string
	partition events.Partition
	// grant is zero for a token that comes from client credentials.
	grant events.GrantID
	rules.IssuedTo
}

// lineage is a token and everything that it was made from.
func lineage(c jose.Claims) []link {
	own := link{
		jti: c.JTI, partition: c.Partition, grant: c.Grant,
		IssuedTo: rules.IssuedTo{Client: c.ClientID, ClientEpoch: c.ClientEpoch},
	}
	if !c.Grant.IsZero() {
		own.User, own.UserEpoch = c.User, c.UserEpoch
	}
	links := []link{own}
	for _, t := range c.Chain {
		l := own // subject tokens share grant, user and partition
		l.jti, l.Client, l.ClientEpoch = t.JTI, t.Client, t.ClientEpoch
		if t.Actor != nil {
			l.partition, l.grant, l.User, l.UserEpoch = t.Actor.Partition, t.Actor.Grant, t.Actor.User, t.Actor.UserEpoch
		}
		links = append(links, l)
	}
	return links
}

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
func (a *Authority) requireFresh(ctx context.Context, links []link) error {
	var partitions []events.Partition
	for _, l := range links {
		if !slices.Contains(partitions, l.partition) {
			partitions = append(partitions, l.partition)
		}
	}
	if err := a.Feed.Fresh(ctx, partitions...); err != nil {
		return unavailable("prove the feed fresh", err)
	}
	return nil
}

// stand reports whether nothing that links depend on has ended. All of it is in
// memory; requireFresh comes first.
func (a *Authority) stand(ctx context.Context, links []link) (bool, error) {
	for _, l := range links {
		if a.Feed.TokenRevoked(l.jti) || !l.grant.IsZero() && a.Feed.GrantRevoked(l.grant) {
			return false, nil
		}
		client, user, err := a.holder(ctx, l.Client, l.User)
		if err != nil || !l.InForce(client, user) {
			return false, err
		}
	}
	return true, nil
}
