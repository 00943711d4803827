package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// hatter is a user that administrators register.
var hatter = map[string]string{"username": "hatter", "password": "more-tea-please", "email": "hatter@example.com"}

func createUser(t testing.TB, r *apitest.Replica, body any) apitest.Answer {
	t.Helper()
	a := r.Admin(t, http.MethodPost, "/users", body)
	if a.Status != http.StatusCreated {
		t.Fatalf("create: %d %s", a.Status, a.Body)
	}
	return a
}

func passwordLogin(t testing.TB, r *apitest.Replica, username, password string) apitest.Answer {
	t.Helper()
	return r.JSON(t, loginPath+"?"+apitest.CodeQuery("demo-spa", "read offline").Encode(), map[string]string{"username": username, "password": password})
}

// TestUsersOfAdministrators has them registered where nobody can by themselves.
func TestUsersOfAdministrators(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) { patient(s); s.Registration = false }})
	made := createUser(t, r, hatter)
	id := made.Text("user_id")
	if made.Text("username") != "hatter" || made.Text("email") != "hatter@example.com" || strings.Contains(string(made.Body), "tea") {
		t.Errorf("created %s", made.Body)
	}
	wantOK(t, passwordLogin(t, r, "hatter", "more-tea-please"))
	embeddedtest.Eventually(t, "the session to be counted", func() bool {
		shown := wantOK(t, r.Admin(t, http.MethodGet, "/users/"+id, nil))
		return shown.JSON["sessions"] == 1.0 && shown.JSON["grants"] == 1.0 && shown.JSON["deleted"] == false
	})
	found, _ := wantOK(t, r.Admin(t, http.MethodGet, "/users?username=hatter", nil)).JSON["users"].([]any)
	if len(found) != 1 || found[0].(map[string]any)["user_id"] != id {
		t.Errorf("found %v", found)
	}
	t.Run("without a password", func(t *testing.T) {
		bare := createUser(t, r, map[string]string{"username": "dormouse"})
		if bare.JSON["email"] != nil || bare.JSON["disabled"] != false {
			t.Errorf("created %s", bare.Body)
		}
		for _, password := range []string{"", "dormouse"} {
			if a := passwordLogin(t, r, "dormouse", password); a.Status == http.StatusOK {
				t.Errorf("signed in by %q", password)
			}
		}
	})
	for name, body := range map[string]any{
		"no name": map[string]string{"password": "more-tea-please"}, "a bad address": map[string]string{"username": "hare", "email": "hare"},
		"a short password": map[string]string{"username": "hare", "password": "tea"}, "a taken name": hatter,
		"an unknown member": map[string]string{"username": "hare", "admin": "true"},
	} {
		wantError(t, r.Admin(t, http.MethodPost, "/users", body), http.StatusBadRequest, "invalid_request")
		if name != "a taken name" {
			if got, _ := r.Admin(t, http.MethodGet, "/users?username=hare", nil).JSON["users"].([]any); len(got) != 0 {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
	log := string(r.WholeEvents(t))
	for _, planted := range []string{"hatter", "more-tea-please", "dormouse"} {
		if strings.Contains(log, planted) {
			t.Errorf("the log has %q", planted)
		}
	}
}

// TestDeleteAUser erases the person, ends all, and leaves the audit whole.
func TestDeleteAUser(t *testing.T) {
	t.Parallel()
	r := single(t)
	id := createUser(t, r, hatter).Text("user_id")
	login := passwordLogin(t, r, "hatter", "more-tea-please")
	tokens := wantOK(t, r.Exchange(t, apitest.DemoSPA, apitest.CodeOf(t, login)))
	unspent := apitest.CodeOf(t, passwordLogin(t, r, "hatter", "more-tea-please"))
	before := strings.Count(string(r.WholeEvents(t)), "\n")

	for range 2 {
		a := wantOK(t, r.Admin(t, http.MethodDelete, "/users/"+id, nil))
		if last, ok, err := r.Log.Last(t.Context(), r.Log.Realm().UserSubject(id)); err != nil || !ok || a.JSON["erased"] != true ||
			last.Fact != (events.UserErased{}) || a.JSON["seq"] != float64(last.Seq) || a.Text("stream") != "MAIN_REGISTRY" || last.Meta.Actor != "admin" {
			t.Fatalf("told %s, the last event is %+v, %v", a.Body, last, err)
		}
	}
	shown := wantOK(t, r.Admin(t, http.MethodGet, "/users/"+id, nil))
	if shown.JSON["deleted"] != true || shown.JSON["erased"] != true || shown.JSON["disabled"] != true || shown.JSON["username"] != nil || shown.JSON["sessions"] != 0.0 || shown.JSON["epoch"] != 1.0 {
		t.Errorf("shows %s", shown.Body)
	}
	if r.Active(t, tokens.Text("access_token")) {
		t.Error("the access token lives on")
	}
	wantError(t, r.Refresh(t, apitest.DemoSPA, tokens.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	wantError(t, r.Exchange(t, apitest.DemoSPA, unspent), http.StatusBadRequest, "invalid_grant")
	if a := passwordLogin(t, r, "hatter", "more-tea-please"); a.Status != http.StatusUnauthorized {
		t.Errorf("login: %d %s", a.Status, a.Body)
	}
	if a := ssoAt(t, r, sessionCookie(t, login)); a.Status != http.StatusUnauthorized {
		t.Errorf("session: %d %s", a.Status, a.Body)
	}
	wantError(t, r.Admin(t, http.MethodPost, "/users/"+id+"/enable", nil), http.StatusConflict, "conflict")
	wantOK(t, r.Admin(t, http.MethodPost, "/users/"+id+"/disable", nil))
	wantOK(t, r.Admin(t, http.MethodPost, "/users/"+id+"/cut-off", nil))
	if got, _ := wantOK(t, r.Admin(t, http.MethodGet, "/users?username=hatter", nil)).JSON["users"].([]any); len(got) != 0 {
		t.Errorf("still found: %v", got)
	}
	log := string(r.WholeEvents(t))
	if n := strings.Count(log, "user.deleted.v1"); n != 1 || strings.Count(log, "user.erased.v1") != 1 || strings.Count(log, "\n") <= before {
		t.Errorf("%d deletions in the log", n)
	}
	t.Run("and the name is free", func(t *testing.T) {
		next := createUser(t, r, hatter).Text("user_id")
		if next == id {
			t.Error("the id was given again")
		}
		wantOK(t, passwordLogin(t, r, "hatter", "more-tea-please"))
		// To delete the old one again takes nothing from the new one.
		wantOK(t, r.Admin(t, http.MethodDelete, "/users/"+id, nil))
		wantOK(t, passwordLogin(t, r, "hatter", "more-tea-please"))
	})
}

func TestSessionsOfAdministrators(t *testing.T) {
	t.Parallel()
	r := single(t)
	v := r.NewVisitor(t)
	openAccount(t, v)
	user := subject(t, r.Tokens(t, apitest.DemoSPA, "read"))
	path := "/users/" + user + "/sessions"
	list := func() (all []map[string]any) {
		sessions, _ := wantOK(t, r.Admin(t, http.MethodGet, path, nil)).JSON["sessions"].([]any)
		for _, one := range sessions {
			all = append(all, one.(map[string]any))
		}
		return all
	}
	embeddedtest.Eventually(t, "the sessions to be listed", func() bool { return len(list()) == 2 })
	first := list()[1]
	if first["user_agent"] != "Go-http-client/1.1" || fmt.Sprint(first["amr"]) != "[pwd]" {
		t.Errorf("session %v", first)
	}
	target := path + "/" + fmt.Sprint(first["session_id"])
	other := createUser(t, r, hatter).Text("user_id")
	wantError(t, r.Admin(t, http.MethodDelete, strings.Replace(target, user, other, 1), nil), http.StatusNotFound, "not_found")
	openAccount(t, v)
	if a := r.Admin(t, http.MethodDelete, target, nil); a.Status != http.StatusNoContent {
		t.Fatalf("end: %d %s", a.Status, a.Body)
	}
	wantPage(t, v.Open(accountPath), http.StatusOK, "Sign in")
	wantError(t, r.Admin(t, http.MethodDelete, target, nil), http.StatusNotFound, "not_found")
	if len(list()) != 1 {
		t.Errorf("left %v", list())
	}
	log := string(r.WholeEvents(t))
	_, ended, _ := strings.Cut(log, `"session.ended.v1"`)
	if ended, _, _ = strings.Cut(ended, "\n"); !strings.Contains(ended, `"actor":"admin"`) || !strings.Contains(ended, "admin_request") || strings.Contains(ended, `"origin"`) {
		t.Errorf("recorded %s", ended)
	}
}
