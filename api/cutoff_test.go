package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// TestCutOffReachesEveryReplica ends all that was issued in a user's name, at
// one replica. What the user gets afterwards, wherever they log in, lives.
func TestCutOffReachesEveryReplica(t *testing.T) {
	t.Parallel()
	c := apitest.NewCluster(t, 3)
	at := c.Replicas[0]
	client, other := register(t, at, retryWindow(600)), exchanger(t, at, nil, nil)
	waitKnown(t, c.Replicas[1], client, other)
	waitKnown(t, c.Replicas[2], client, other)
	tokens, twice := newTokens(t, at, client), newTokens(t, c.Replicas[1], client)
	spent := twice.Text("refresh_token")
	twice = wantOK(t, refreshed(t, c.Replicas[1], client, spent))
	codes := []string{newCode(t, at, client), newCode(t, at, client), newCode(t, at, client)}
	exchanged := wantOK(t, swap(t, at, other, tokens.Text("access_token"))).Text("access_token")
	user := subject(t, tokens)

	w := newWatch(t, exchanged, c.Replicas...)
	administer(t, at, "/users/"+user+"/cut-off")
	ended := time.Now()
	fresh := make([]apitest.Answer, len(c.Replicas))
	for i, r := range c.Replicas {
		fresh[i] = newTokens(t, r, client)
	}
	w.end(t, ended, bound)

	for i, r := range c.Replicas {
		for _, token := range []string{tokens.Text("access_token"), twice.Text("access_token"), exchanged} {
			if active(t, r, token) {
				t.Error("an access token outlived the cut-off")
			}
			a := apitest.Settled(t, func() apitest.Answer { return me(t, r, token) })
			wantLoginError(t, a, http.StatusUnauthorized, "002-016")
		}
		for _, token := range []string{tokens.Text("refresh_token"), twice.Text("refresh_token"), spent} {
			wantError(t, refreshed(t, r, client, token), http.StatusBadRequest, "invalid_grant")
		}
		code := apitest.Settled(t, func() apitest.Answer { return r.Exchange(t, client, codes[i]) })
		wantError(t, code, http.StatusBadRequest, "invalid_grant")
		swapped := swap(t, r, other, tokens.Text("access_token"))
		wantError(t, swapped, http.StatusBadRequest, "invalid_request")
		for _, f := range fresh {
			if !active(t, r, f.Text("access_token")) {
				t.Error("what was issued after the cut-off is dead")
			}
		}
		wantOK(t, refreshed(t, r, client, fresh[i].Text("refresh_token")))
	}
}

// TestLoginKnowsOfACutOff at a replica that has not heard of it: the new grant
// must not end with the old ones.
func TestLoginKnowsOfACutOff(t *testing.T) {
	t.Parallel()
	var gate apitest.Gate
	node := embeddedtest.Single(t)
	at := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	at.Seed(t)
	behind := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient, FeedGate: gate.Pass})
	user := subject(t, behind.Tokens(t, apitest.DemoSPA, "read"))
	gate.Shut()
	t.Cleanup(gate.Open)
	wantOK(t, at.Admin(t, http.MethodPost, "/users/"+user+"/cut-off", nil))
	token := wantOK(t, behind.JSON(t, passwordPath+"?client_id=demo-spa", alice)).Text("access_token")
	if !at.Active(t, token) {
		t.Error("a login after the cut-off got what is dead")
	}
	gate.Open()
}

// TestCutOff is told to the administrator and in the log, and repeats; of a
// disabled user there is nothing to end.
func TestCutOff(t *testing.T) {
	t.Parallel()
	r := single(t)
	user := subject(t, r.Tokens(t, apitest.DemoSPA, "read"))
	cutOff := func() apitest.Answer { return wantOK(t, r.Admin(t, http.MethodPost, "/users/"+user+"/cut-off", nil)) }
	for epoch := range 2 {
		token := r.Tokens(t, apitest.DemoSPA, "read").Text("access_token")
		if a := cutOff(); a.JSON["epoch"] != float64(epoch+1) || a.JSON["disabled"] != false || a.Text("user_id") != user {
			t.Errorf("cut off: %s", a.Body)
		}
		wantInactive(t, r, apitest.DemoService, token)
	}
	wantOK(t, r.Admin(t, http.MethodPost, "/users/"+user+"/disable", nil))
	if a := cutOff(); a.JSON["epoch"] != 3.0 || a.JSON["disabled"] != true {
		t.Errorf("cut off while disabled: %s", a.Body)
	}
	log := string(r.WholeEvents(t))
	if n := strings.Count(log, "user.cut_off.v1"); n != 2 || !strings.Contains(log, "admin_request") {
		t.Errorf("%d cut-offs in the log", n)
	}
}

// TestWhoCutOff is in the event: the administrator, or the user with the sealed
// origin of the request.
func TestWhoCutOff(t *testing.T) {
	t.Parallel()
	r := single(t)
	tokens := r.Tokens(t, apitest.DemoSPA, "read")
	user := subject(t, tokens)
	signOut := request{method: http.MethodGet, path: "/api/oauth2/logout?sessions=all", header: bearer(tokens.Text("access_token"))}
	if a := signOut.send(t, r.URL); a.Status != http.StatusNoContent {
		t.Fatalf("sign out: %d %s", a.Status, a.Body)
	}
	wantOK(t, r.Admin(t, http.MethodPost, "/users/"+user+"/cut-off", nil))
	type cutOff struct {
		actor, reason string
		sealed        bool
	}
	var got []cutOff
	for line := range bytes.Lines(r.WholeEvents(t)) {
		var e struct {
			Type, Subject string
			Meta          struct{ Actor, Origin string }
			Data          struct{ Reason string }
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if e.Type == "user.cut_off.v1" && e.Subject == "main.user."+user {
			got = append(got, cutOff{e.Meta.Actor, e.Data.Reason, e.Meta.Origin != ""})
		}
	}
	if want := []cutOff{{"user:" + user, "user_request", true}, {"admin", "admin_request", false}}; !slices.Equal(got, want) {
		t.Errorf("cut-offs %v, want %v", got, want)
	}
}

// TestClientCutOffReachesEveryReplica ends all that was issued to a client, at
// one replica, what another one made from it too. What the client gets
// afterwards, wherever it asks, lives, and so does what others have.
func TestClientCutOffReachesEveryReplica(t *testing.T) {
	t.Parallel()
	c := apitest.NewCluster(t, 3)
	at := c.Replicas[0]
	client, other := register(t, at, retryWindow(600)), exchanger(t, at, nil, nil)
	waitKnown(t, c.Replicas[1], client, other)
	waitKnown(t, c.Replicas[2], client, other)
	tokens, others := newTokens(t, at, client), own(t, at, other)
	codes := []string{newCode(t, at, client), newCode(t, at, client), newCode(t, at, client)}
	exchanged := wantOK(t, swap(t, at, other, tokens.Text("access_token"))).Text("access_token")

	w := newWatch(t, exchanged, c.Replicas...)
	administer(t, at, "/clients/"+client.ID+"/cut-off")
	ended := time.Now()
	fresh := make([]apitest.Answer, len(c.Replicas))
	for i, r := range c.Replicas {
		fresh[i] = newTokens(t, r, client)
	}
	w.end(t, ended, bound)

	for i, r := range c.Replicas {
		for _, token := range []string{tokens.Text("access_token"), exchanged} {
			if active(t, r, token) {
				t.Error("an access token outlived the cut-off of its client")
			}
		}
		wantError(t, refreshed(t, r, client, tokens.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
		code := apitest.Settled(t, func() apitest.Answer { return r.Exchange(t, client, codes[i]) })
		wantError(t, code, http.StatusBadRequest, "invalid_grant")
		if !active(t, r, others) {
			t.Error("another client's token ended")
		}
		for _, f := range fresh {
			if !active(t, r, f.Text("access_token")) {
				t.Error("what was issued after the cut-off is dead")
			}
		}
		wantOK(t, refreshed(t, r, client, fresh[i].Text("refresh_token")))
	}
}

// TestIssuingKnowsOfAClientCutOff at a replica that has not heard of it, where a grant
// is opened. An access token without one may have ended when it is issued there, and
// nothing revives it.
func TestIssuingKnowsOfAClientCutOff(t *testing.T) {
	t.Parallel()
	var gate apitest.Gate
	node := embeddedtest.Single(t)
	at := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	at.Seed(t)
	behind := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient, FeedGate: gate.Pass})
	gateway := exchanger(t, at, nil, nil)
	waitKnown(t, behind, gateway)
	users := at.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	tokens := func(at *apitest.Replica) map[string]string {
		return map[string]string{
			"client credentials": own(t, at, gateway),
			"an exchange":        wantOK(t, swap(t, at, gateway, users)).Text("access_token"),
		}
	}
	gate.Shut()
	t.Cleanup(gate.Open)
	for _, id := range []string{gateway.ID, apitest.DemoSPA.ID} {
		wantOK(t, at.Admin(t, http.MethodPost, "/clients/"+id+"/cut-off", nil))
	}
	for name, token := range map[string]string{
		"a code":     behind.Tokens(t, apitest.DemoSPA, "read").Text("access_token"),
		"a password": wantOK(t, behind.JSON(t, passwordPath+"?client_id=demo-spa", alice)).Text("access_token"),
	} {
		if !at.Active(t, token) {
			t.Errorf("%s: what was issued after the cut-off is dead", name)
		}
	}
	late := tokens(behind)
	gate.Open()
	for _, how := range []string{"cut off", "disable", "enable"} {
		if how != "cut off" {
			wantOK(t, at.Admin(t, http.MethodPost, "/clients/"+gateway.ID+"/"+how, nil))
		}
		for name, token := range late {
			if at.Active(t, token) {
				t.Errorf("%s: what was issued where the cut-off was not known is active after %s", name, how)
			}
		}
	}
	embeddedtest.Eventually(t, "the replica to hear of it", func() bool {
		a := behind.Token(t, gateway, "grant_type", "client_credentials")
		return a.Status == http.StatusOK && at.Active(t, a.Text("access_token"))
	})
	for name, token := range tokens(behind) {
		if !at.Active(t, token) {
			t.Errorf("%s: what was issued where the cut-off is known is dead", name)
		}
	}
}

// TestClientCutOff is told to the administrator and in the log, and repeats; of a
// disabled client there is nothing to end.
func TestClientCutOff(t *testing.T) {
	t.Parallel()
	r := single(t)
	cutOff := func() { wantOK(t, r.Admin(t, http.MethodPost, "/clients/demo-web/cut-off", nil)) }
	for range 2 {
		token := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
		cutOff()
		wantInactive(t, r, apitest.DemoService, token)
	}
	wantOK(t, r.Admin(t, http.MethodPost, "/clients/demo-web/disable", nil))
	cutOff()
	log := string(r.WholeEvents(t, "client", "demo-web", "actor", "admin", "reason", "admin_request"))
	if n := strings.Count(log, "client.cut_off.v1\",\"subject"); n != 2 {
		t.Errorf("%d cut-offs in the log: %s", n, log)
	}
}
