package rules

import (
	"errors"
	"slices"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// known is what events have told so far.
type known struct {
	grants  map[events.GrantID]fold.Grant
	clients map[string]fold.Client
	users   map[string]fold.User
	keys    map[string]fold.Key
	// issued and revoked are access tokens.
	issued, revoked map[string]bool
	// clientEnds and userEnds say what last raised the epoch of each.
	clientEnds, userEnds map[string]Why
	// losses are those that were accepted, by streams, and stored is where access
	// tokens were issued.
	losses map[string][]fold.Restoration
	stored map[string]place
}

// A place is a sequence of a stream.
type place struct {
	stream string
	seq    uint64
}

func newKnown() known {
	return known{
		grants: map[events.GrantID]fold.Grant{}, clients: map[string]fold.Client{}, users: map[string]fold.User{},
		keys: map[string]fold.Key{}, issued: map[string]bool{}, revoked: map[string]bool{},
		clientEnds: map[string]Why{}, userEnds: map[string]Why{},
		losses: map[string][]fold.Restoration{}, stored: map[string]place{},
	}
}

func (k known) apply(stream string, r events.Recorded) (err error) {
	id := r.Subject.ID()
	switch r.Subject.Kind() {
	case "grant":
		var grant events.GrantID
		if grant, err = events.ParseGrantID(id); err != nil {
			return err
		}
		k.grants[grant], err = k.grants[grant].Apply(r)
		k.issue(k.grants[grant].Current.JTI, place{stream, r.Seq})
	case "client":
		err = k.applyClient(id, r)
	case "user":
		err = k.applyUser(id, r)
	case "key":
		k.keys[id], err = k.keys[id].Apply(r)
	case "issued":
		var t fold.AccessToken
		t, err = fold.IssuedAccessToken(r)
		k.issue(t.JTI, place{stream, r.Seq})
	case "revoked":
		var v fold.Revocation
		if v, _, err = fold.Revoked(r); v.JTI != "" {
			k.revoked[v.JTI] = true
		}
	case "restored":
		err = k.applyRestored(r)
	}
	return err
}

// issue notes an access token. What comes after its event is no issuance of it.
func (k known) issue(jti string, at place) {
	if k.issued[jti] = true; k.stored[jti] == (place{}) {
		k.stored[jti] = at
	}
}

// applyRestored ends what an accepted loss ends.
func (k known) applyRestored(r events.Recorded) error {
	f, ok := r.Fact.(events.LogRestored)
	if !ok {
		return errors.New("no loss that was accepted")
	}
	for _, s := range f.Streams {
		x, _, err := fold.Restored(r, s.Stream)
		if err != nil {
			return err
		}
		k.losses[s.Stream] = x.After(k.losses[s.Stream])
		for id, g := range k.grants {
			if r.Subject.Realm().PartitionStream(id.Partition()) == s.Stream {
				k.grants[id] = x.Grant(g)
			}
		}
	}
	return nil
}

// lost reports whether an accepted loss has ended the token of a link.
func (k known) lost(l Link) bool {
	at, ok := k.stored[l.JTI]
	return ok && l.JTI != "" && slices.ContainsFunc(k.losses[at.stream], func(x fold.Restoration) bool { return x.Ends(at.seq) })
}

func (k known) applyClient(id string, r events.Recorded) error {
	before := k.clients[id]
	after, err := before.Apply(r)
	if k.clients[id] = after; after.Epoch > before.Epoch {
		k.clientEnds[id] = WhyClientCutOff
		if after.Disabled && !before.Disabled {
			k.clientEnds[id] = WhyClientDisabled
		}
	}
	return err
}

func (k known) applyUser(id string, r events.Recorded) error {
	before := k.users[id]
	after, err := before.Apply(r)
	if k.users[id] = after; after.Epoch > before.Epoch {
		switch {
		case after.Deleted:
			k.userEnds[id] = WhyUserDeleted
		case after.Disabled && !before.Disabled:
			k.userEnds[id] = WhyUserDisabled
		default:
			k.userEnds[id] = WhyUserCutOff
		}
	}
	return err
}

// state is what is known of a link.
func (k known) state(l Link) LinkState {
	return LinkState{
		Lost: k.lost(l), TokenRevoked: k.revoked[l.JTI], GrantRevoked: k.grants[l.Grant].Revoked(),
		Client: ClientParty(k.clients[l.Client]), User: UserParty(k.users[l.User]),
	}
}

// ended says what has ended one link for good. To disable a client or a user
// raises the epoch, so no event revives what it ended, and the epoch is enough.
func (k known) ended(l Link) Why {
	s := k.state(l)
	s.Client.Disabled, s.User.Disabled = false, false
	switch why := l.Ended(s); why {
	case WhyGrantRevoked:
		if k.grants[l.Grant].RevokedReason == events.ReasonLogRestored {
			return WhyLogRestored
		}
		return why
	case WhyClientCutOff:
		return k.clientEnds[l.Client]
	case WhyUserCutOff:
		return k.userEnds[l.User]
	default:
		return why
	}
}
