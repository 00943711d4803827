package server

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// acceptedBy are the losses that the process that does not start says to name.
func acceptedBy(t *testing.T, c Config) []string {
	t.Helper()
	err := New(c).Start(t.Context())
	if err == nil {
		t.Fatal("it starts")
	}
	found := regexp.MustCompile(`--accept-loss (\S+)`).FindStringSubmatch(err.Error())
	if found == nil {
		t.Fatalf("it does not say how: %v", err)
	}
	return strings.Split(found[1], ",")
}

func replicaOf(s *Server) *apitest.Replica {
	return &apitest.Replica{URL: s.PublicURL(), AdminURL: s.AdminURL()}
}

// isRefused wants an answer of 400 invalid_grant: 503 would have the client try for
// ever.
func isRefused(t *testing.T, what string, a apitest.Answer) {
	t.Helper()
	if a.Status != http.StatusBadRequest || a.Text("error") != "invalid_grant" {
		t.Errorf("%s: %d %s", what, a.Status, a.Body)
	}
}

// TestLostGeneration loses the second generation of two grants with a half of a
// partition. One client keeps its grants: the second generation that it gets then is
// another token than the one that was lost.
func TestLostGeneration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := local(All, dir)
	c.Dev, c.Settings.Issuer = true, apitest.Issuer
	s := start(t, c)
	r := replicaOf(s)
	kept, ended := r.Tokens(t, apitest.DemoWeb, "read offline_access"), r.Tokens(t, apitest.DemoSPA, "read offline_access")
	own := r.Token(t, apitest.DemoService, "grant_type", "client_credentials").Text("access_token")
	issue(t, s, 60)
	lost := r.Refresh(t, apitest.DemoWeb, kept.Text("refresh_token"))
	if lost.Status != http.StatusOK {
		t.Fatalf("refresh: %d %s", lost.Status, lost.Body)
	}
	opened := r.Tokens(t, apitest.DemoWeb, "read offline_access")
	issue(t, s, 1)
	closeServer(t, s)

	embeddedtest.FlipBit(t, dir, partition, 0.6, false)
	c.Evidence.AcceptLoss = acceptedBy(t, c)
	if len(c.Evidence.AcceptLoss) != 1 {
		t.Fatalf("more than the partition is lost: %v", c.Evidence.AcceptLoss)
	}
	c.Evidence.AcceptLossKeepClient = []string{apitest.DemoWeb.ID}
	s = start(t, c)
	r = replicaOf(s)
	isRefused(t, "the generation that was lost", r.Refresh(t, apitest.DemoWeb, lost.Text("refresh_token")))
	isRefused(t, "a grant that was lost", r.Refresh(t, apitest.DemoWeb, opened.Text("refresh_token")))
	isRefused(t, "a grant of a client that keeps none", r.Refresh(t, apitest.DemoSPA, ended.Text("refresh_token")))
	for what, token := range map[string]string{
		"of the grant that goes on": kept.Text("access_token"), "that was lost": lost.Text("access_token"), "of a client": own,
		"of the grant that ended": ended.Text("access_token"),
	} {
		if r.Active(t, token) {
			t.Errorf("an access token %s is active", what)
		}
	}
	again := r.Refresh(t, apitest.DemoWeb, kept.Text("refresh_token"))
	if again.Status != http.StatusOK || again.Text("refresh_token") == lost.Text("refresh_token") {
		t.Fatalf("the grant that goes on: %d %s", again.Status, again.Body)
	}
	if !r.Active(t, again.Text("access_token")) {
		t.Error("its new access token is not active")
	}
	isRefused(t, "the generation that was lost, by now", r.Refresh(t, apitest.DemoWeb, lost.Text("refresh_token")))
	if fresh := r.Tokens(t, apitest.DemoSPA, "read offline_access"); !r.Active(t, fresh.Text("access_token")) {
		t.Error("a new grant gives nothing")
	}
	closeServer(t, s)

	// Whoever folds the log anew comes to the same, and the flag that is left ends nothing more.
	if err := os.RemoveAll(filepath.Join(dir, modelsDir)); err != nil {
		t.Fatal(err)
	}
	s = start(t, c)
	r = replicaOf(s)
	if a := r.Refresh(t, apitest.DemoWeb, again.Text("refresh_token")); a.Status != http.StatusOK {
		t.Errorf("after a restart: %d %s", a.Status, a.Body)
	}
	if !r.Active(t, again.Text("access_token")) {
		t.Error("a token of after the loss is not active after a restart")
	}
}
