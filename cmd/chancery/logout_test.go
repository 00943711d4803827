package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// TestLogoutIsDeliveredAfterAKill kills the process with SIGKILL between the end
// of a session and its delivery to the clients, which are told after the next
// start.
func TestLogoutIsDeliveredAfterAKill(t *testing.T) {
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "admin-key"), []byte(apitest.AdminKey), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"serve", "--dev", "--issuer", apitest.Issuer, "--data", data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
	}
	cmd, replica := launchReplica(t, args)
	listeners := []*apitest.Listener{apitest.NewListener(t), apitest.NewListener(t)}
	v := replica.NewVisitor(t)
	for i, l := range listeners {
		l.Answer(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		signInAt(t, replica, v, register(t, replica, i, l))
	}
	p := v.Open("/oauth2/logout")
	if p = v.Submit(p, "decision", "sign_out"); p.Status != http.StatusOK {
		t.Fatalf("signed out: %d %s", p.Status, p.Body)
	}
	embeddedtest.Eventually(t, "both are being told", func() bool { return listeners[0].Arrived() > 0 && listeners[1].Arrived() > 0 })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed; until it is gone it holds its directory
	if n := len(listeners[0].Tokens()) + len(listeners[1].Tokens()); n != 0 {
		t.Fatalf("%d were told before the kill", n)
	}
	for _, l := range listeners {
		l.Answer(nil)
	}
	_, replica = launchReplica(t, args)
	for i, l := range listeners {
		if claims := apitest.Claims(t, l.Told(1)[0]); claims["aud"] != clientName(i) || claims["sid"] == nil {
			t.Errorf("told %v", claims)
		}
	}
	embeddedtest.Eventually(t, "the deliveries are in the log", func() bool {
		return bytes.Count(replica.Admin(t, http.MethodGet, "/events", nil).Body, []byte(`"logout.delivered.v1"`)) == len(listeners)
	})
}

func clientName(i int) string { return []string{"one", "two"}[i] }

// register registers a client that is told at a listener.
func register(t *testing.T, r *apitest.Replica, i int, l *apitest.Listener) apitest.Client {
	t.Helper()
	a := r.Admin(t, http.MethodPost, "/clients", map[string]any{
		"client_id": clientName(i), "grant_types": []string{"authorization_code"}, "redirect_uris": []string{authority.DemoRedirect},
		"scope": []string{"read"}, "first_party": true, "backchannel_logout_uri": l.URL,
	})
	if a.Status != http.StatusCreated {
		t.Fatalf("register: %d %s", a.Status, a.Body)
	}
	return apitest.Client{ID: a.Text("client_id"), Secret: a.Text("client_secret")}
}

func signInAt(t *testing.T, r *apitest.Replica, v *apitest.Visitor, c apitest.Client) {
	t.Helper()
	p := v.Open("/oauth2/authorize?" + apitest.CodeQuery(c.ID, "read").Encode())
	if p.Outside == nil {
		p = v.Submit(p, "username", authority.DemoUser, "password", authority.DemoPassword)
	}
	if p.Outside == nil || p.Outside.Query().Get("code") == "" {
		t.Fatalf("no code: %d %s", p.Status, p.Body)
	}
	if a := r.Exchange(t, c, p.Outside.Query().Get("code")); a.Status != http.StatusOK {
		t.Fatalf("exchange: %d %s", a.Status, a.Body)
	}
}
