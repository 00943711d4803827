package fold_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// audited has an event of every type, where it is stored and what it is found by.
func audited() map[string]struct {
	subject events.Subject
	fact    events.Fact
	want    fold.Audit
} {
	type row = struct {
		subject events.Subject
		fact    events.Fact
		want    fold.Audit
	}
	const realm = events.DefaultRealm
	grant := events.NewGrantID(0, [16]byte{0, 1})
	session := events.NewGrantID(0, [16]byte{0, 2})
	issuance := events.Issuance{Generation: 2, JTI: "j", KID: "k", Origin: "o", Expires: 9}
	token := events.AccessTokenIssued{JTI: "j", Client: "svc", Subject: "svc", KID: "k", Origin: "o", Expires: 9}
	told := events.LogoutOutcome{Session: session, Client: "web", User: "alice", Attempts: 3}
	ofGrant, ofClient, ofUser := realm.GrantSubject(grant), realm.ClientSubject("web"), realm.UserSubject("alice")
	consent, key, revoked := realm.ConsentSubject("alice", "web"), realm.KeySubject("k"), realm.RevokedSubject(0)
	client, user, both, kid := fold.Audit{Client: "web"}, fold.Audit{User: "alice"}, fold.Audit{User: "alice", Client: "web"}, fold.Audit{KID: "k"}
	issued := fold.Audit{Grant: grant.String(), JTI: "j", KID: "k", Origin: "o", Expires: 9}
	chain := []events.Ancestor{{JTI: "root"}, {JTI: "actor", Actor: &events.ActorToken{}}, {JTI: "middle"}, {JTI: "actor", Actor: &events.ActorToken{}}}
	return map[string]row{
		"grant.opened.v1": {
			ofGrant,
			events.GrantOpened{Client: "web", User: "alice", Session: session, Issued: &issuance, Pairwise: "p"},
			fold.Audit{
				Client: "web", User: "alice", Session: session.String(), Grant: grant.String(), JTI: "j", KID: "k", Origin: "o", Expires: 9,
			},
		},
		"code.redeemed.v1":          {ofGrant, events.CodeRedeemed{Issuance: issuance}, issued},
		"refresh_token.rotated.v1":  {ofGrant, events.RefreshTokenRotated{Issuance: issuance}, issued},
		"refresh_token.repeated.v1": {ofGrant, events.RefreshTokenRepeated{JTI: "j", KID: "k"}, fold.Audit{Grant: grant.String(), JTI: "j", KID: "k"}},
		"grant.revoked.v1": {
			ofGrant,
			events.GrantRevoked{Reason: events.ReasonRefreshTokenReuse},
			fold.Audit{Grant: grant.String(), Reason: events.ReasonRefreshTokenReuse},
		},
		"grant.revocation_marked.v1": {revoked, events.GrantRevocationMarked{Grant: grant}, fold.Audit{Grant: grant.String()}},
		"session.opened.v1":          {realm.SessionSubject(session), events.SessionOpened{User: "alice"}, fold.Audit{Session: session.String(), User: "alice"}},
		"session.ended.v1": {
			revoked,
			events.SessionEnded{Session: session, User: "alice", Reason: events.ReasonUserRequest},
			fold.Audit{Session: session.String(), User: "alice", Reason: events.ReasonUserRequest},
		},
		"logout.delivered.v1": {
			realm.LogoutSubject(0),
			events.LogoutDelivered{LogoutOutcome: told},
			fold.Audit{Session: session.String(), Client: "web", User: "alice"},
		},
		"logout.failed.v1": {
			realm.LogoutSubject(0),
			events.LogoutFailed{LogoutOutcome: told},
			fold.Audit{Outcome: fold.OutcomeFailed, Session: session.String(), Client: "web", User: "alice"},
		},
		"access_token.issued.v1": {realm.IssuedSubject(0, "svc"), token, fold.Audit{Client: "svc", JTI: "j", KID: "k", Origin: "o", Expires: 9}},
		"token.exchanged.v1": {
			realm.IssuedSubject(0, "svc"),
			events.TokenExchanged{AccessTokenIssued: events.AccessTokenIssued{JTI: "j", Client: "svc", Subject: "alice", KID: "k"}, Grant: grant, Chain: chain},
			fold.Audit{Client: "svc", JTI: "j", KID: "k", Grant: grant.String(), User: "alice", Parent: "middle"},
		},
		"access_token.revoked.v1": {revoked, events.AccessTokenRevoked{JTI: "j", Client: "web"}, fold.Audit{JTI: "j", Client: "web"}},
		"request.refused.v1": {
			realm.RefusedSubject(0),
			events.RequestRefused{What: "login", Client: "web", User: "alice", Grant: grant, Reason: "wrong_credentials", Count: 3},
			fold.Audit{Outcome: fold.OutcomeRefused, Reason: "wrong_credentials", Count: 3, Client: "web", User: "alice", Grant: grant.String()},
		},
		"log.restored.v1": {
			realm.RestoredSubject(),
			events.LogRestored{Streams: []events.RestoredStream{{Stream: "MAIN_REGISTRY", Size: 3}}},
			fold.Audit{Reason: events.ReasonLogRestored},
		},
		"feed.ticked.v1":           {revoked, events.FeedTicked{}, fold.Audit{}},
		"client.registered.v1":     {ofClient, events.ClientRegistered{}, client},
		"client.updated.v1":        {ofClient, events.ClientUpdated{}, client},
		"client.disabled.v1":       {ofClient, events.ClientDisabled{}, client},
		"client.enabled.v1":        {ofClient, events.ClientEnabled{}, client},
		"client.cut_off.v1":        {ofClient, events.ClientCutOff{Reason: events.ReasonAdminRequest}, fold.Audit{Client: "web", Reason: events.ReasonAdminRequest}},
		"client.secret_added.v1":   {ofClient, events.ClientSecretAdded{ID: "s", Hash: "h"}, client},
		"client.secret_dropped.v1": {ofClient, events.ClientSecretDropped{ID: "s"}, client},
		"user.registered.v1":       {ofUser, events.UserRegistered{}, user},
		"user.disabled.v1":         {ofUser, events.UserDisabled{}, user},
		"user.enabled.v1":          {ofUser, events.UserEnabled{}, user},
		"user.deleted.v1":          {ofUser, events.UserDeleted{}, user},
		"user.erased.v1":           {ofUser, events.UserErased{}, user},
		"user.cut_off.v1":          {ofUser, events.UserCutOff{Reason: events.ReasonAdminRequest}, fold.Audit{User: "alice", Reason: events.ReasonAdminRequest}},
		"consent.given.v1":         {consent, events.ConsentGiven{}, both},
		"consent.withdrawn.v1":     {consent, events.ConsentWithdrawn{}, both},
		"key.announced.v1":         {key, events.KeyAnnounced{}, kid},
		"key.activated.v1":         {key, events.KeyActivated{}, kid},
		"key.retired.v1":           {key, events.KeyRetired{}, kid},
		"key.dropped.v1":           {key, events.KeyDropped{}, kid},
		"partition.added.v1":       {realm.PartitionSubject(3), events.PartitionAdded{}, fold.Audit{}},
	}
}

// TestEveryTypeIsAudited is exhaustive: a type without a row here fails.
func TestEveryTypeIsAudited(t *testing.T) {
	rows := audited()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, typ := range events.Types() {
		row, ok := rows[typ]
		if !ok {
			t.Errorf("%s: no row says what it is found by", typ)
			continue
		}
		got, err := fold.AuditOf(events.Recorded{
			Event: events.Event{Subject: row.subject, Fact: row.fact, Meta: events.Meta{Request: "r", Actor: "admin", Origin: "sealed"}},
			Seq:   7, Stored: at,
		})
		want := row.want
		want.Seq, want.Time, want.Type, want.Actor, want.Request = 7, at, typ, "admin", "r"
		if want.Outcome == "" {
			want.Outcome = fold.OutcomeDone
		}
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v\nwant %+v", typ, got, err, want)
		}
	}
	if len(rows) != len(events.Types()) {
		t.Errorf("%d rows for %d types", len(rows), len(events.Types()))
	}
}

// TestAncestors are all that a token was made from, once each.
func TestAncestors(t *testing.T) {
	for typ, row := range audited() {
		var want []string
		if typ == "token.exchanged.v1" {
			want = []string{"root", "actor", "middle"}
		}
		if got := fold.Ancestors(events.Recorded{Event: events.Event{Fact: row.fact}}); !slices.Equal(got, want) {
			t.Errorf("%s: %v", typ, got)
		}
	}
}

type unheardOf struct{}

func (unheardOf) Type() string { return "unheard.of.v1" }

func TestUnknownFactsAreNotAudited(t *testing.T) {
	if _, err := fold.AuditOf(events.Recorded{Event: events.Event{Fact: unheardOf{}}}); !errors.Is(err, fold.ErrPoison) {
		t.Errorf("got %v", err)
	}
}

// TestPairwiseSubjectsAreNoUsers finds an exchanged token by the person's id.
func TestPairwiseSubjectsAreNoUsers(t *testing.T) {
	f := events.TokenExchanged{
		AccessTokenIssued: events.AccessTokenIssued{JTI: "j", Client: "svc", Subject: "pairwise"}, User: "alice",
		Grant: events.NewGrantID(0, [16]byte{0, 1}),
	}
	a, err := fold.AuditOf(events.Recorded{Event: events.Event{Subject: events.DefaultRealm.IssuedSubject(0, "svc"), Fact: f}})
	if err != nil || a.User != "alice" {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestWithinFillsInWhatIsMissing(t *testing.T) {
	opening := fold.Audit{Client: "web", User: "alice", Session: "s", JTI: "first", Reason: "none"}
	for name, c := range map[string]struct{ a, want fold.Audit }{
		"nothing known":  {fold.Audit{Outcome: fold.OutcomeDone}, fold.Audit{Outcome: fold.OutcomeDone, Client: "web", User: "alice", Session: "s"}},
		"another client": {fold.Audit{Client: "svc", JTI: "j"}, fold.Audit{Client: "svc", JTI: "j", User: "alice", Session: "s"}},
		"refused": {
			fold.Audit{Outcome: fold.OutcomeRefused, Reason: "r"},
			fold.Audit{Outcome: fold.OutcomeRefused, Reason: "r", User: "alice", Session: "s"},
		},
	} {
		if got := c.a.Within(opening); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}
