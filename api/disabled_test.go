package api_test

import (
	"net/http"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
)

// holdings is one of everything that a client or a user can hold.
type holdings struct {
	code, refresh, access, own string
}

func hold(t testing.TB, r *apitest.Replica, c apitest.Client) holdings {
	t.Helper()
	tokens := r.Tokens(t, c, "read offline_access")
	h := holdings{
		code:    r.Login(t, c, "read offline_access"),
		refresh: tokens.Text("refresh_token"),
		access:  tokens.Text("access_token"),
	}
	if c.Secret != "" {
		h.own = wantOK(t, r.Token(t, c, "grant_type", "client_credentials")).Text("access_token")
	}
	return h
}

// wantNothing expects that nothing of it is worth anything.
func (h holdings) wantNothing(t *testing.T, r *apitest.Replica, c apitest.Client, status int, code string) {
	t.Helper()
	wantError(t, r.Exchange(t, c, h.code), status, code)
	wantError(t, r.Refresh(t, c, h.refresh), status, code)
	wantInactive(t, r, apitest.DemoService, h.access)
	wantInactive(t, r, apitest.DemoService, h.refresh)
	if h.own != "" {
		wantInactive(t, r, apitest.DemoService, h.own)
	}
}

// TestDisabledClient is CVE-2024-47000: it gets nothing from any grant, at once
// where it was disabled, and enabling it again revives nothing.
func TestDisabledClient(t *testing.T) {
	t.Parallel()
	r := single(t)
	all := []string{"authorization_code", "refresh_token", "client_credentials"}
	for _, settings := range []map[string]any{
		{"client_id": "confidential", "grant_types": all},
		{"client_id": "public", "public": true, "password_login": true},
	} {
		c := register(t, r, settings)
		t.Run(c.ID, func(t *testing.T) {
			held := hold(t, r, c)
			wantOK(t, r.Admin(t, http.MethodPost, "/clients/"+c.ID+"/disable", nil))
			held.wantNothing(t, r, c, http.StatusUnauthorized, "invalid_client")
			wantError(t, r.Token(t, c, "grant_type", "client_credentials"), http.StatusUnauthorized, "invalid_client")
			wantError(t, r.Post(t, introspectPath, c, "token", held.access), http.StatusUnauthorized, "invalid_client")
			wantError(t, r.Post(t, revokePath, c, "token", held.refresh), http.StatusUnauthorized, "invalid_client")
			for _, path := range []string{loginPath, registerPath, passwordPath} {
				q := apitest.CodeQuery(c.ID, "read")
				wantLoginError(t, r.JSON(t, path+"?"+q.Encode(), alice), http.StatusNotFound, "003-061")
			}
			wantOK(t, r.Admin(t, http.MethodPost, "/clients/"+c.ID+"/enable", nil))
			held.wantNothing(t, r, c, http.StatusBadRequest, "invalid_grant")
			fresh := hold(t, r, c)
			wantOK(t, r.Refresh(t, c, fresh.refresh))
			wantOK(t, r.Exchange(t, c, fresh.code))
			if !r.Active(t, fresh.access) || fresh.own != "" && !r.Active(t, fresh.own) {
				t.Error("what it got after it was enabled is dead")
			}
		})
	}
}

// TestDisabledUser is CVE-2025-64521: the same for a user, at every client.
func TestDisabledUser(t *testing.T) {
	t.Parallel()
	r := single(t)
	user := subject(t, r.Tokens(t, apitest.DemoSPA, "read"))
	web, spa := apitest.DemoWeb, apitest.DemoSPA
	holdUser := func(c apitest.Client) holdings {
		tokens := r.Tokens(t, c, "read offline_access")
		return holdings{
			code: r.Login(t, c, "read offline_access"), refresh: tokens.Text("refresh_token"), access: tokens.Text("access_token"),
		}
	}
	heldWeb, heldSPA := holdUser(web), holdUser(spa)
	wantOK(t, r.Admin(t, http.MethodPost, "/users/"+user+"/disable", nil))
	heldWeb.wantNothing(t, r, web, http.StatusBadRequest, "invalid_grant")
	heldSPA.wantNothing(t, r, spa, http.StatusBadRequest, "invalid_grant")
	for _, path := range []string{loginPath, passwordPath} {
		q := "?" + apitest.CodeQuery("demo-spa", "read").Encode()
		wantLoginError(t, r.JSON(t, path+q, alice), http.StatusUnauthorized, "010-026")
		// Only who knows the password hears that the account is disabled.
		wrong := map[string]string{"username": "alice", "password": "looking-glass"}
		wantLoginError(t, r.JSON(t, path+q, wrong), http.StatusUnauthorized, "003-001")
	}
	wantOK(t, r.Token(t, apitest.DemoService, "grant_type", "client_credentials"))

	wantOK(t, r.Admin(t, http.MethodPost, "/users/"+user+"/enable", nil))
	heldWeb.wantNothing(t, r, web, http.StatusBadRequest, "invalid_grant")
	heldSPA.wantNothing(t, r, spa, http.StatusBadRequest, "invalid_grant")
	fresh := holdUser(web)
	wantOK(t, r.Refresh(t, web, fresh.refresh))
	wantOK(t, r.Exchange(t, web, fresh.code))
}
