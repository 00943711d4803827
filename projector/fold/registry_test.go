package fold_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

func onClient(facts ...events.Fact) []events.Recorded {
	return record(events.DefaultRealm.ClientSubject("web"), facts...)
}

func onUser(facts ...events.Fact) []events.Recorded {
	return record(events.DefaultRealm.UserSubject("alice"), facts...)
}

func onKey(facts ...events.Fact) []events.Recorded {
	return record(events.DefaultRealm.KeySubject("k1"), facts...)
}

func registered() events.Fact { return events.ClientRegistered{} }

func named(name string) events.ClientSettings { return events.ClientSettings{Name: name} }

func withSecret(id string) events.Fact {
	s := secret(id)
	return events.ClientRegistered{Secret: &s}
}

func secret(id string) events.ClientSecretAdded {
	return events.ClientSecretAdded{ID: id, Hash: "h", KeyID: "s1"}
}

func announced() events.Fact {
	return events.KeyAnnounced{Use: events.KeyUseSignature, Alg: "ES256", PublicJWK: json.RawMessage(`{"kty":"EC"}`)}
}

func TestClient(t *testing.T) {
	tests := []struct {
		name  string
		given []events.Fact
		then  func(c fold.Client) bool
	}{
		{"registered", []events.Fact{events.ClientRegistered{ClientSettings: named("a")}}, func(c fold.Client) bool {
			return c.ID == "web" && c.Name == "a" && c.Epoch == 0 && !c.Disabled && c.CreatedAt.Equal(epoch)
		}},
		{"registered with its first secret", []events.Fact{withSecret("1")}, func(c fold.Client) bool {
			return len(c.Secrets) == 1 && c.Secrets[0].ID == "1"
		}},
		{
			"settings are replaced whole, secrets stay",
			[]events.Fact{
				events.ClientRegistered{ClientSettings: events.ClientSettings{Name: "a", Public: true}},
				secret("1"),
				events.ClientUpdated{ClientSettings: named("b")},
			},
			func(c fold.Client) bool {
				return c.Name == "b" && !c.Public && len(c.Secrets) == 1 && c.Seq == 30
			},
		},
		{
			"two secrets, the first dropped",
			[]events.Fact{registered(), secret("1"), secret("2"), events.ClientSecretDropped{ID: "1"}},
			func(c fold.Client) bool {
				return len(c.Secrets) == 1 && c.Secrets[0].ID == "2"
			},
		},
		{
			"enabling again keeps the raised epoch",
			[]events.Fact{registered(), events.ClientDisabled{}, events.ClientEnabled{}},
			func(c fold.Client) bool {
				return !c.Disabled && c.Epoch == 1
			},
		},
		{
			"every disable raises the epoch",
			[]events.Fact{registered(), events.ClientDisabled{}, events.ClientEnabled{}, events.ClientDisabled{}},
			func(c fold.Client) bool { return c.Disabled && c.Epoch == 2 },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := apply(fold.Client{}, onClient(tt.given...))
			if err != nil {
				t.Fatal(err)
			}
			if !tt.then(c) {
				t.Errorf("got %+v", c)
			}
			if back := throughJSON(t, c); !reflect.DeepEqual(back, c) {
				t.Errorf("stored and read back:\n got %+v\nwant %+v", back, c)
			}
		})
	}
}

// A client that somebody still holds must not change under them: the feed
// hands out states whose slices are shared.
func TestClientSecretsAreNotShared(t *testing.T) {
	rs := onClient(registered(), secret("1"), secret("2"), secret("3"))
	held, err := apply(fold.Client{}, rs)
	if err != nil {
		t.Fatal(err)
	}
	drop := onClient(registered(), secret("1"), secret("2"), secret("3"), events.ClientSecretDropped{ID: "1"})[4]
	dropped, err := held.Apply(drop)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"4", "5"} {
		add := drop
		add.Seq, add.Fact = uint64(100+i), secret(id)
		if _, err := held.Apply(add); err != nil {
			t.Fatal(err)
		}
		if _, err := dropped.Apply(add); err != nil {
			t.Fatal(err)
		}
	}
	if ids := held.Secrets[0].ID + held.Secrets[1].ID + held.Secrets[2].ID; ids != "123" {
		t.Errorf("the held client's secrets became %s", ids)
	}
}

func TestUser(t *testing.T) {
	u, err := apply(fold.User{}, onUser(events.UserRegistered{}, events.UserDisabled{}, events.UserEnabled{}, events.UserCutOff{}, events.UserCutOff{}))
	if err != nil {
		t.Fatal(err)
	}
	if u.ID != "alice" || u.Disabled || u.Epoch != 3 || u.Seq != 50 {
		t.Errorf("got %+v", u)
	}
	u, err = apply(fold.User{}, onUser(events.UserRegistered{OriginKey: "key"}, events.UserCutOff{}, events.UserDeleted{}))
	if err != nil || !u.Disabled || !u.Deleted || u.Epoch != 2 || u.OriginKey != "key" {
		t.Errorf("deleted: got %+v, %v", u, err)
	}
	u, err = apply(fold.User{}, onUser(events.UserRegistered{OriginKey: "key"}, events.UserDeleted{}, events.UserErased{}))
	if err != nil || !u.Deleted || !u.Erased || u.Epoch != 1 || u.Seq != 30 {
		t.Errorf("erased: got %+v, %v", u, err)
	}
}

func TestKey(t *testing.T) {
	life := onKey(announced(), events.KeyActivated{}, events.KeyRetired{}, events.KeyDropped{})
	want := []fold.KeyState{fold.KeyAnnounced, fold.KeyActive, fold.KeyRetired, fold.KeyDropped}
	var k fold.Key
	for i, r := range life {
		var err error
		if k, err = k.Apply(r); err != nil {
			t.Fatal(err)
		}
		if k.State != want[i] || k.Seq != r.Seq || !k.ChangedAt.Equal(r.Stored) {
			t.Errorf("after %s: got %+v", r.Fact.Type(), k)
		}
	}
	if k.ActivatedSeq != life[1].Seq || k.ID != "k1" || k.Alg != "ES256" {
		t.Errorf("got %+v", k)
	}
}

func TestRegistryPoison(t *testing.T) {
	client := func(given ...events.Fact) error { _, err := apply(fold.Client{}, onClient(given...)); return err }
	user := func(given ...events.Fact) error { _, err := apply(fold.User{}, onUser(given...)); return err }
	key := func(given ...events.Fact) error { _, err := apply(fold.Key{}, onKey(given...)); return err }
	mac := func(use string, id uint8) events.Fact { return events.KeyAnnounced{Use: use, MACKey: id} }

	for name, err := range map[string]error{
		"client never registered":    client(events.ClientDisabled{}),
		"client registered twice":    client(registered(), registered()),
		"client disabled twice":      client(registered(), events.ClientDisabled{}, events.ClientDisabled{}),
		"client enabled while on":    client(registered(), events.ClientEnabled{}),
		"client cut off, not there":  client(events.ClientCutOff{}),
		"secret id used twice":       client(registered(), secret("1"), secret("1")),
		"first secret's id again":    client(withSecret("1"), secret("1")),
		"secret dropped twice":       client(registered(), secret("1"), events.ClientSecretDropped{ID: "1"}, events.ClientSecretDropped{ID: "1"}),
		"user's event on a client":   client(registered(), events.UserDisabled{}),
		"user never registered":      user(events.UserDisabled{}),
		"user registered twice":      user(events.UserRegistered{}, events.UserRegistered{}),
		"user cut off, never there":  user(events.UserCutOff{}),
		"user deleted, never there":  user(events.UserDeleted{}),
		"user deleted twice":         user(events.UserRegistered{}, events.UserDeleted{}, events.UserDeleted{}),
		"user enabled, deleted":      user(events.UserRegistered{}, events.UserDeleted{}, events.UserEnabled{}),
		"user cut off, deleted":      user(events.UserRegistered{}, events.UserDeleted{}, events.UserCutOff{}),
		"user erased, never there":   user(events.UserErased{}),
		"user erased, not deleted":   user(events.UserRegistered{}, events.UserErased{}),
		"user erased, disabled":      user(events.UserRegistered{}, events.UserDisabled{}, events.UserErased{}),
		"user erased twice":          user(events.UserRegistered{}, events.UserDeleted{}, events.UserErased{}, events.UserErased{}),
		"user deleted, erased":       user(events.UserRegistered{}, events.UserDeleted{}, events.UserErased{}, events.UserDeleted{}),
		"user cut off, erased":       user(events.UserRegistered{}, events.UserDeleted{}, events.UserErased{}, events.UserCutOff{}),
		"user disabled twice":        user(events.UserRegistered{}, events.UserDisabled{}, events.UserDisabled{}),
		"user enabled while on":      user(events.UserRegistered{}, events.UserEnabled{}),
		"client's event on a user":   user(events.UserRegistered{}, events.ClientDisabled{}),
		"key never announced":        key(events.KeyActivated{}),
		"key announced twice":        key(announced(), announced()),
		"key activated twice":        key(announced(), events.KeyActivated{}, events.KeyActivated{}),
		"key retired before use":     key(announced(), events.KeyRetired{}),
		"key activated when retired": key(announced(), events.KeyActivated{}, events.KeyRetired{}, events.KeyActivated{}),
		"key dropped twice":          key(announced(), events.KeyDropped{}, events.KeyDropped{}),
		"dropped key activated":      key(announced(), events.KeyDropped{}, events.KeyActivated{}),
		"nothing to drop":            key(events.KeyDropped{}),
		"unknown use":                key(mac("enc", 0)),
		"MAC key without an id":      key(mac(events.KeyUseMAC, 0)),
		"signing key with a MAC id":  key(mac(events.KeyUseSignature, 1)),
		"client's event on a key":    key(announced(), events.ClientDisabled{}),
	} {
		t.Run(name, func(t *testing.T) { wantPoison(t, err) })
	}
}

func TestRegistryMisplaced(t *testing.T) {
	tests := map[string]func(s events.Subject, seq uint64) error{
		"client": func(s events.Subject, seq uint64) error {
			c, _ := apply(fold.Client{}, onClient(registered()))
			_, err := c.Apply(events.Recorded{Event: events.Event{Subject: s, Fact: events.ClientDisabled{}}, Seq: seq})
			return err
		},
		"user": func(s events.Subject, seq uint64) error {
			u, _ := apply(fold.User{}, onUser(events.UserRegistered{}))
			_, err := u.Apply(events.Recorded{Event: events.Event{Subject: s, Fact: events.UserDisabled{}}, Seq: seq})
			return err
		},
		"key": func(s events.Subject, seq uint64) error {
			k, _ := apply(fold.Key{}, onKey(announced()))
			_, err := k.Apply(events.Recorded{Event: events.Event{Subject: s, Fact: events.KeyActivated{}}, Seq: seq})
			return err
		},
	}
	own := map[string]events.Subject{
		"client": events.DefaultRealm.ClientSubject("web"),
		"user":   events.DefaultRealm.UserSubject("alice"),
		"key":    events.DefaultRealm.KeySubject("k1"),
	}
	for name, when := range tests {
		t.Run(name, func(t *testing.T) {
			wantPoison(t, when("main."+events.Subject(name)+".other", 11))
			wantPoison(t, when(own[name], 10))
			if err := when(own[name], 11); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRevoked(t *testing.T) {
	on := func(f events.Fact) events.Recorded { return record(events.DefaultRealm.RevokedSubject(3), f)[0] }

	rev, ok, err := fold.Revoked(on(events.GrantRevocationMarked{Grant: grantID, Until: 7}))
	if want := (fold.Revocation{Seq: 10, Grant: grantID, Until: 7}); rev != want || !ok || err != nil {
		t.Errorf("grant marker: got %+v, %v, %v", rev, ok, err)
	}
	rev, ok, err = fold.Revoked(on(events.AccessTokenRevoked{JTI: "j", Until: 7}))
	if want := (fold.Revocation{Seq: 10, JTI: "j", Until: 7}); rev != want || !ok || err != nil {
		t.Errorf("token marker: got %+v, %v, %v", rev, ok, err)
	}
	if _, ok, err = fold.Revoked(on(events.FeedTicked{})); ok || err != nil {
		t.Errorf("tick: got %v, %v", ok, err)
	}
	for _, f := range []events.Fact{revoked(), events.GrantRevocationMarked{}, events.AccessTokenRevoked{}} {
		_, _, err := fold.Revoked(on(f))
		wantPoison(t, err)
	}
}

func TestIssuedAccessToken(t *testing.T) {
	s := events.DefaultRealm.IssuedSubject(0, "svc")
	issued := events.AccessTokenIssued{JTI: "j", Client: "svc", Expires: 9}
	token, err := fold.IssuedAccessToken(record(s, issued)[0])
	if err != nil || token.Seq != 10 || token.JTI != "j" {
		t.Errorf("got %+v, %v", token, err)
	}
	exchanged := events.TokenExchanged{
		AccessTokenIssued: issued, Grant: grantID, Act: &events.Actor{Subject: "svc"},
		Chain: []events.Ancestor{{JTI: "root"}, {JTI: "parent"}, {JTI: "actor's", Actor: &events.ActorToken{}}},
	}
	token, err = fold.IssuedAccessToken(record(s, exchanged)[0])
	if err != nil || token.JTI != "j" || token.Grant != grantID || token.Parent != "parent" || token.Actor != "svc" {
		t.Errorf("exchanged: got %+v, %v", token, err)
	}
	for _, f := range []events.Fact{revoked(), events.TokenExchanged{AccessTokenIssued: issued, Chain: exchanged.Chain[2:]}} {
		_, err = fold.IssuedAccessToken(record(s, f)[0])
		wantPoison(t, err)
	}
}
