package rules

import "github.com/chancery-authority/chancery/events"

// A Link is what one token of a line depends on.
type Link struct {
	// JTI is empty where what is asked about is no access token.
	JTI       string
	Partition events.Partition
	// Grant is zero for a token that comes from client credentials.
	Grant events.GrantID
	// Actor says that it is the actor token of an exchange.
	Actor bool
	// IssuedAt is when the token itself was issued, in Unix seconds, and so all that
	// it was made from was by then. It is 0 where JTI is empty.
	IssuedAt int64
	IssuedTo
}

// Lineage is an access token and everything that it was made from, the token
// itself first.
func Lineage(p Presented) []Link {
	own := Link{
		JTI: p.JTI, Partition: p.Partition, Grant: p.Grant, IssuedAt: p.IssuedAt,
		IssuedTo: IssuedTo{Client: p.Client, ClientEpoch: p.ClientEpoch},
	}
	if !p.Grant.IsZero() {
		own.User, own.UserEpoch = p.User, p.UserEpoch
	}
	links := []Link{own}
	for _, t := range p.Chain {
		l := own // subject tokens share grant, user and partition
		l.JTI, l.Client, l.ClientEpoch = t.JTI, t.Client, t.ClientEpoch
		if t.Actor != nil {
			l.Actor = true
			l.Partition, l.Grant, l.User, l.UserEpoch = t.Actor.Partition, t.Actor.Grant, t.Actor.User, t.Actor.UserEpoch
		}
		links = append(links, l)
	}
	return links
}
