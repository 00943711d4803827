package backchannel

import (
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

// TestGivenUp is a client that is too late: it was tried, and its failure is in
// the log, once.
func TestGivenUp(t *testing.T) {
	realm, nc := events.DefaultRealm, embeddedtest.Single(t).Conn()
	log, err := eventlog.Open(t.Context(), nc, eventlog.Config{Realm: realm})
	if err != nil {
		t.Fatal(err)
	}
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	t.Cleanup(client.Close)
	session := events.NewGrantID(0, [16]byte{15: 1})
	outcome := events.LogoutOutcome{Session: session, Client: "web", User: "alice", Attempts: 1, Status: http.StatusTeapot, Until: 1 << 40}
	for _, e := range []events.Event{
		{Subject: realm.ClientSubject("web"), Fact: events.ClientRegistered{ClientSettings: events.ClientSettings{BackchannelLogoutURI: client.URL}}},
		{Subject: realm.GrantSubject(session), Fact: events.GrantOpened{
			Client: "web", User: "alice", Expires: 1 << 40, Code: &events.Code{MACKey: 1}, Session: session, SessionExpires: outcome.Until,
		}},
		{Subject: realm.RevokedSubject(0), Fact: events.SessionEnded{Session: session, User: "alice", Reason: "user_request", Until: outcome.Until}},
	} {
		e.ID, e.Source = rand.Text(), "test"
		if _, err := log.Append(t.Context(), eventlog.Unit{Event: e}); err != nil {
			t.Fatal(err)
		}
	}
	local, err := projector.OpenLocal(t.Context(), log, projector.LocalConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = local.Close() })
	feed, err := projector.OpenFeed(t.Context(), log, projector.FeedConfig{Source: "test", NewID: rand.Text})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(feed.Close)
	d := start(t.Context(), Config{
		Issuer: "https://issuer", Log: log, Reader: local, Feed: feed, AllowPrivate: true, Logger: slog.New(slog.DiscardHandler),
		Sign: func(fold.Client, jose.LogoutClaims) (string, error) { return "token", nil },
	}, 0)
	t.Cleanup(d.Close)
	var told []events.Recorded
	embeddedtest.Eventually(t, "the client is given up", func() bool {
		told, err = log.After(t.Context(), realm.LogoutSubject(0), 0)
		return err == nil && len(told) > 0
	})
	failed, ok := told[0].Fact.(events.LogoutFailed)
	if outcome.Attempts = failed.Attempts; !ok || len(told) != 1 || failed.LogoutOutcome != outcome || told[0].Meta.Actor != "system" {
		t.Errorf("recorded %+v, want %+v", told, outcome)
	}
}
