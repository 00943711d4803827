package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// TestKeyThatIsNotHere announces a key whose private part this replica cannot
// have. What does not verify may be made with it: nobody may be told that it is
// bad, and a revocation least of all that it is done.
func TestKeyThatIsNotHere(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{})
	good := r.Tokens(t, apitest.DemoWeb, "read offline_access")
	announce(t, r, "mac-200", events.KeyAnnounced{Use: events.KeyUseMAC, MACKey: 200})

	foreign := "chr_" + strings.Repeat("A", 76)
	foreignJWT := "eyJhbGciOiJFUzI1NiIsImtpZCI6ImEiLCJ0eXAiOiJhdCtqd3QifQ.e30.AAAA"
	for name, do := range map[string]func() apitest.Answer{
		"refresh":    func() apitest.Answer { return r.Refresh(t, apitest.DemoWeb, foreign) },
		"code":       func() apitest.Answer { return r.Exchange(t, apitest.DemoWeb, foreign) },
		"revoke":     func() apitest.Answer { return r.Post(t, "/oauth2/revoke", apitest.DemoWeb, "token", foreign) },
		"introspect": func() apitest.Answer { return r.Post(t, "/oauth2/introspect", apitest.DemoService, "token", foreign) },
		"revoke access token": func() apitest.Answer {
			return r.Post(t, "/oauth2/revoke", apitest.DemoWeb, "token", foreignJWT)
		},
		"introspect access token": func() apitest.Answer {
			return r.Post(t, "/oauth2/introspect", apitest.DemoService, "token", foreignJWT)
		},
	} {
		if a := do(); a.Status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	if !r.Active(t, good.Text("access_token")) {
		t.Error("what verifies is not active")
	}
	if a := r.Refresh(t, apitest.DemoWeb, good.Text("refresh_token")); a.Status != http.StatusOK {
		t.Errorf("what verifies is not refreshed: %d %s", a.Status, a.Body)
	}
}

// announce appends the first event of a key and waits until it is known.
func announce(t *testing.T, r *apitest.Replica, kid string, fact events.KeyAnnounced) {
	t.Helper()
	e := events.Event{
		ID: "announce-" + kid, Source: apitest.Issuer, Time: time.Now(), Subject: r.Log.Realm().KeySubject(kid), Fact: fact,
	}
	if _, err := r.Log.Append(t.Context(), eventlog.Unit{Event: e}); err != nil {
		t.Fatal(err)
	}
	embeddedtest.Eventually(t, "the key to be missed", func() bool { return r.Server.Ready(t.Context()) != nil })
}

// TestNoActiveMACKey leaves the replica without a key for new refresh tokens.
// A rotation without one could not be folded, and would stop the partition for
// everybody.
func TestNoActiveMACKey(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{})
	code := r.Login(t, apitest.DemoWeb, "read offline_access")
	token := r.Tokens(t, apitest.DemoWeb, "read offline_access").Text("refresh_token")
	announce(t, r, "mac-200", events.KeyAnnounced{Use: events.KeyUseMAC, MACKey: 200})
	last, ok, err := r.Log.Last(t.Context(), r.Log.Realm().KeySubject("mac-1"))
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	e := events.Event{
		ID: "retire-mac-1", Source: apitest.Issuer, Time: time.Now(), Subject: last.Subject, Fact: events.KeyRetired{},
	}
	if _, err := r.Log.Append(t.Context(), eventlog.Unit{Event: e, Expect: last.Seq}); err != nil {
		t.Fatal(err)
	}
	login := func() apitest.Answer {
		return r.JSON(t, "/api/oauth2/login?"+apitest.CodeQuery(apitest.DemoWeb.ID, "read").Encode(), map[string]string{
			"username": authority.DemoUser, "password": authority.DemoPassword,
		})
	}
	embeddedtest.Eventually(t, "no MAC key", func() bool { return login().Status == http.StatusTeapot })
	for name, a := range map[string]apitest.Answer{
		"refresh":  r.Refresh(t, apitest.DemoWeb, token),
		"exchange": r.Exchange(t, apitest.DemoWeb, code),
	} {
		if a.Status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	r.WaitFolded(t)
	for _, s := range r.Local.Status() {
		if s.Err != nil {
			t.Errorf("%s: %v", s.Stream, s.Err)
		}
	}
}
