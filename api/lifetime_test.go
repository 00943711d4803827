package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// TestLifetimes lets everything that ends by itself do so, at a client whose
// tokens live for a moment: a code (RFC 6749 §4.1.2), an access token, and a
// refresh token that is not used or whose grant is over (RFC 9700 §4.14.2).
func TestLifetimes(t *testing.T) {
	t.Parallel()
	r := single(t)
	lives := func(member string, seconds int) apitest.Client {
		return register(t, r, map[string]any{member: seconds})
	}
	code, access, idle := lives("code_lifetime", 1), lives("access_token_lifetime", 1), lives("refresh_token_idle_lifetime", 1)
	absolute := lives("refresh_token_absolute_lifetime", 3) // time enough for an exchange
	shortened := register(t, r, nil)

	unused := r.Login(t, code, "read")
	accessTokens := r.Tokens(t, access, "read offline_access")
	idleTokens, absoluteTokens := r.Tokens(t, idle, "read offline_access"), r.Tokens(t, absolute, "read offline_access")
	longTokens := r.Tokens(t, shortened, "read offline_access")
	if accessTokens.JSON["expires_in"] != 1.0 {
		t.Errorf("expires_in = %v", accessTokens.JSON["expires_in"])
	}
	// A policy made shorter counts at once.
	settings := wantOK(t, r.Admin(t, http.MethodGet, "/clients/"+shortened.ID, nil)).JSON
	settings["refresh_token_absolute_lifetime"] = 1
	wantOK(t, r.Admin(t, http.MethodPut, "/clients/"+shortened.ID, settings))

	end := time.Now().Add(4 * time.Second)
	embeddedtest.Eventually(t, "time to pass", func() bool { return time.Now().After(end) })
	wantError(t, r.Exchange(t, code, unused), http.StatusBadRequest, "invalid_grant")
	wantInactive(t, r, apitest.DemoService, accessTokens.Text("access_token"))
	wantOK(t, r.Refresh(t, access, accessTokens.Text("refresh_token")))
	for _, ended := range []struct {
		client apitest.Client
		tokens apitest.Answer
	}{{idle, idleTokens}, {absolute, absoluteTokens}, {shortened, longTokens}} {
		wantInactive(t, r, ended.client, ended.tokens.Text("refresh_token"))
		wantError(t, r.Refresh(t, ended.client, ended.tokens.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
		wantEvents(t, r, grantOf(t, ended.tokens), opened, redeemed)
	}
	// Nothing outlives its grant.
	wantInactive(t, r, apitest.DemoService, absoluteTokens.Text("access_token"))
}
