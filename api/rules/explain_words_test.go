package rules_test

import (
	"slices"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
)

// history is what happened, ten seconds after the other.
func history(all ...struct {
	subject events.Subject
	fact    events.Fact
},
) (past []rules.Dated) {
	for n, e := range all {
		at := t0.Add(time.Duration(n) * 10 * time.Second)
		past = append(past, rules.Dated{Stream: "S", At: at, Recorded: events.Recorded{
			Event: events.Event{Subject: e.subject, Fact: e.fact}, Seq: uint64(n + 1), Stored: at,
		}})
	}
	return past
}

// TestExplainTells has every event that bears on a token told in a sentence, and
// no other.
func TestExplainTells(t *testing.T) {
	const realm = events.DefaultRealm
	id := events.NewGrantID(0, [16]byte{15: 1})
	grant, issued, revoked := realm.GrantSubject(id), realm.IssuedSubject(0, "svc"), realm.RevokedSubject(0)
	i := func(generation uint32, jti string) events.Issuance {
		return events.Issuance{Generation: generation, JTI: jti, KID: "k", MACKey: 1, Expires: t0.Unix() + 9000}
	}
	made := func(jti, client string) events.AccessTokenIssued {
		return events.AccessTokenIssued{JTI: jti, Client: client, Subject: "ann", KID: "k", Expires: t0.Unix() + 9000}
	}
	chain := []events.Ancestor{{JTI: "A2", Client: "web"}, {JTI: "S", Client: "svc", Actor: &events.ActorToken{}}}
	type happened = struct {
		subject events.Subject
		fact    events.Fact
	}
	past := history(
		happened{realm.ClientSubject("web"), events.ClientRegistered{}},
		happened{realm.ClientSubject("svc"), events.ClientRegistered{}},
		happened{realm.UserSubject("ann"), events.UserRegistered{}},
		happened{realm.KeySubject("k"), events.KeyAnnounced{Use: events.KeyUseSignature}},
		happened{grant, events.GrantOpened{Client: "web", User: "ann", Expires: t0.Unix() + 9000, Refreshable: true, Code: &events.Code{Expires: t0.Unix() + 600}}},
		happened{grant, events.CodeRedeemed{Issuance: i(1, "A1")}},
		happened{grant, events.RefreshTokenRotated{Issuance: i(2, "A2")}},
		happened{grant, events.RefreshTokenRepeated{Generation: 2, JTI: "A2", KID: "k"}},
		happened{issued, made("S", "svc")},
		happened{issued, events.TokenExchanged{AccessTokenIssued: made("X", "web"), Grant: id, Chain: chain}},
		happened{revoked, events.AccessTokenRevoked{JTI: "S", Client: "svc"}},
		happened{realm.ClientSubject("web"), events.ClientUpdated{ClientSettings: events.ClientSettings{RefreshIdleLifetime: 8000}}},
		happened{grant, events.GrantRevoked{Reason: events.ReasonRefreshTokenReuse, Generation: 1}},
		happened{realm.UserSubject("ann"), events.UserCutOff{Reason: events.ReasonAdminRequest}},
		happened{realm.ClientSubject("svc"), events.ClientDisabled{}},
		happened{realm.ClientSubject("svc"), events.ClientEnabled{}},
		happened{realm.KeySubject("k"), events.KeyDropped{}},
	)
	own := rules.Link{Grant: id, IssuedTo: rules.IssuedTo{Client: "web", User: "ann"}}
	access := own
	access.JTI = "A2"
	const (
		opened    = "its grant was opened"
		reuse     = "its grant was revoked: the spent refresh token of generation 1 came again"
		cutOff    = "its user was cut off: all that was issued in the user's name ended"
		shortened = "the settings of its client changed how long it lives"
		dropped   = "the key that signed it was dropped: nothing that it signed verifies any more"
	)
	for name, test := range map[string]struct {
		x    rules.Explained
		why  rules.Why
		want []string
	}{
		"a code": {
			rules.Explained{Kind: rules.KindCode, Lineage: []rules.Link{own}},
			"redeemed",
			[]string{opened + ", and it was issued", "it was redeemed", reuse, cutOff},
		},
		"a spent refresh token": {
			rules.Explained{Kind: rules.KindRefreshToken, Generation: 1, Lineage: []rules.Link{own}},
			"superseded",
			[]string{
				opened, "it was issued for the grant's code", "a refresh spent it, and generation 2 took its place",
				"it came again in time for a retry, and was answered with generation 2 again", shortened, reuse, cutOff,
			},
		},
		"the current one": {
			rules.Explained{Kind: rules.KindRefreshToken, Generation: 2, Lineage: []rules.Link{own}},
			"grant_revoked",
			[]string{opened, "it was issued by a refresh", "it was answered again, to a retry", shortened, reuse, cutOff},
		},
		"an access token": {
			rules.Explained{Kind: rules.KindAccessToken, Lineage: []rules.Link{access}, KID: "k", Expires: t0.Unix() + 9000},
			"grant_revoked",
			[]string{opened, "it was issued by a refresh", "it was answered again, to a retry", reuse, cutOff, dropped},
		},
		"a grant": {
			rules.Explained{Kind: rules.KindGrant, Lineage: []rules.Link{own}},
			"grant_revoked",
			[]string{
				"it was opened", "generation 1 was issued for the grant's code", "generation 2 was issued by a refresh",
				"generation 2 was answered again, to a retry", "it was revoked: the spent refresh token of generation 1 came again", cutOff,
			},
		},
		"an exchanged token": {
			rules.Explained{
				Kind: rules.KindAccessToken, KID: "k", Expires: t0.Unix() + 9000,
				Lineage: rules.Lineage(rules.Presented{JTI: "X", Client: "web", User: "ann", Grant: id, Chain: chain}),
			},
			"ancestor_revoked",
			[]string{
				opened, "a token that it was made from was issued by a refresh", "its actor's token was issued to a client by its own credentials",
				"it was issued in exchange for another token", "its actor's token was revoked alone", reuse, cutOff,
				"the client of its actor's token was disabled, which ended all that it had",
				"the client of its actor's token was enabled again, which revived nothing", dropped,
			},
		},
	} {
		v, err := rules.Explain(test.x, past, worldPolicy(), t0.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range v.Steps {
			got = append(got, s.Text)
		}
		if v.Reason != test.why || !slices.Equal(got, test.want) {
			t.Errorf("%s is %s:\n got %q\nwant %q", name, v.Reason, got, test.want)
		}
	}
}

// TestExplainBornDead has tokens that were dead when they were issued.
func TestExplainBornDead(t *testing.T) {
	const realm = events.DefaultRealm
	client, user := realm.ClientSubject("web"), realm.UserSubject("ann")
	type happened = struct {
		subject events.Subject
		fact    events.Fact
	}
	id := events.NewGrantID(0, [16]byte{15: 1})
	opened := func(clientEpoch, userEpoch uint64, expires int64) happened {
		return happened{realm.GrantSubject(id), events.GrantOpened{
			Client: "web", User: "ann", ClientEpoch: clientEpoch, UserEpoch: userEpoch, Expires: t0.Unix() + expires, Code: &events.Code{},
		}}
	}
	known := []happened{{client, events.ClientRegistered{}}, {user, events.UserRegistered{}}}
	for name, test := range map[string]struct {
		happened []happened
		epoch    uint64
		why      rules.Why
		by       int
	}{
		"its client was disabled, and enabled again": {
			[]happened{{client, events.ClientDisabled{}}, {client, events.ClientEnabled{}}, opened(0, 0, 900)}, 0, "client_disabled", 3,
		},
		"its user was cut off while disabled": {
			[]happened{{user, events.UserDisabled{}}, {user, events.UserCutOff{}}, opened(0, 1, 900)}, 1, "user_cut_off", 4,
		},
		"for who is known to be disabled": {[]happened{{user, events.UserDisabled{}}, opened(0, 1, 900)}, 1, "user_disabled", 0},
		"stored when it was over":         {[]happened{opened(0, 0, 20)}, 0, "expired", 0},
		"in time":                         {[]happened{opened(0, 0, 900)}, 0, "active", 3},
		"by a clock that shows its user to register later": {
			[]happened{opened(0, 0, 900)}, 0, "active", 3,
		},
	} {
		all := append(slices.Clone(known), test.happened...)
		if name == "by a clock that shows its user to register later" {
			all[1], all[2] = all[2], all[1]
		}
		v, err := rules.Explain(rules.Explained{Kind: rules.KindGrant, Lineage: []rules.Link{{Grant: id, IssuedTo: rules.IssuedTo{
			Client: "web", User: "ann", UserEpoch: test.epoch,
		}}}}, history(all...), worldPolicy(), t0.Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		by := 0
		if v.Decided >= 0 {
			by = int(v.Steps[v.Decided].Seq)
		}
		if v.Reason != test.why || by != test.by {
			t.Errorf("%s: %s by %d, want %s by %d", name, v.Reason, by, test.why, test.by)
		}
	}
}
