package rules

import (
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
}

func newKnown() known {
	return known{
		grants: map[events.GrantID]fold.Grant{}, clients: map[string]fold.Client{}, users: map[string]fold.User{},
		keys: map[string]fold.Key{}, issued: map[string]bool{}, revoked: map[string]bool{},
		clientEnds: map[string]Why{}, userEnds: map[string]Why{},
	}
}

func (k known) apply(r events.Recorded) (err error) {
	id := r.Subject.ID()
	switch r.Subject.Kind() {
	case "grant":
		var grant events.GrantID
		if grant, err = events.ParseGrantID(id); err != nil {
			return err
		}
		k.grants[grant], err = k.grants[grant].Apply(r)
		k.issued[k.grants[grant].Current.JTI] = true
	case "client":
		err = k.applyClient(id, r)
	case "user":
		err = k.applyUser(id, r)
	case "key":
		k.keys[id], err = k.keys[id].Apply(r)
	case "issued":
		var t fold.AccessToken
		t, err = fold.IssuedAccessToken(r)
		k.issued[t.JTI] = true
	case "revoked":
		var v fold.Revocation
		if v, _, err = fold.Revoked(r); v.JTI != "" {
			k.revoked[v.JTI] = true
		}
	}
	return err
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
		TokenRevoked: k.revoked[l.JTI], GrantRevoked: k.grants[l.Grant].Revoked(),
		Client: ClientParty(k.clients[l.Client]), User: UserParty(k.users[l.User]),
	}
}

// ended says what has ended one link for good. To disable a client or a user
// raises the epoch, so no event revives what it ended, and the epoch is enough.
func (k known) ended(l Link) Why {
	s := k.state(l)
	s.Client.Disabled, s.User.Disabled = false, false
	switch why := l.Ended(s); why {
	case WhyClientCutOff:
		return k.clientEnds[l.Client]
	case WhyUserCutOff:
		return k.userEnds[l.User]
	default:
		return why
	}
}
