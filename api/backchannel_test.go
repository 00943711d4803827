package api_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"testing"

	zitadel "github.com/zitadel/oidc/v3/pkg/oidc"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// listening registers a client that is told of ends of sessions.
func listening(t testing.TB, r *apitest.Replica, settings map[string]any) (apitest.Client, *apitest.Listener) {
	t.Helper()
	l := apitest.NewListener(t)
	all := map[string]any{"backchannel_logout_uri": l.URL, "backchannel_logout_session_required": true}
	maps.Copy(all, settings)
	return shop(t, r, all), l
}

// wantLogoutToken checks a logout token with an independent verifier, which
// checks signature, issuer, audience and time (OpenID Connect Back-Channel Logout
// 1.0 §2.6), and what only logout tokens have by hand.
func wantLogoutToken(t testing.TB, r *apitest.Replica, c apitest.Client, token, sub, sid string) map[string]any {
	t.Helper()
	if _, err := idVerifier(t, r, c, "ES256").Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	var read zitadel.LogoutTokenClaims
	if _, err := zitadel.ParseToken(token, &read); err != nil || read.SessionID != sid || read.Subject != sub || read.Events[logoutEvent] == nil {
		t.Errorf("another library reads %+v, %v", read, err)
	}
	claims := apitest.Claims(t, token)
	kinds, _ := claims["events"].(map[string]any)
	if _, ok := kinds[logoutEvent].(map[string]any); !ok || len(kinds) != 1 {
		t.Errorf("events %v", claims["events"])
	}
	if claims["sub"] != sub || claims["sid"] != sid || claims["jti"] == "" || claims["exp"].(float64)-claims["iat"].(float64) > 120 {
		t.Errorf("claims %v, want %s in %s", claims, sub, sid)
	}
	wantOf(t, claims, "iss", "aud", "iat", "exp", "jti", "events", "sub", "sid")
	return claims
}

// outcomes are what the log has of deliveries.
func outcomes(t testing.TB, r *apitest.Replica) (all []events.Fact) {
	t.Helper()
	for _, p := range r.Log.Partitions() {
		told, err := r.Log.After(t.Context(), events.DefaultRealm.LogoutSubject(p), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range told {
			all = append(all, e.Fact)
		}
	}
	return all
}

func wantOutcomes(t testing.TB, r *apitest.Replica, delivered int) {
	t.Helper()
	embeddedtest.Eventually(t, "the outcomes are recorded", func() bool { return len(outcomes(t, r)) >= delivered })
	all := outcomes(t, r)
	if len(all) != delivered || slices.ContainsFunc(all, func(f events.Fact) bool { _, ok := f.(events.LogoutDelivered); return !ok }) {
		t.Errorf("outcomes %+v, want %d deliveries", all, delivered)
	}
}

// TestBackchannelLogout tells all clients of a session, and none of another.
func TestBackchannelLogout(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: patient, Partitions: 3})
	one, told := listening(t, r, nil)
	pairwise, also := listening(t, r, map[string]any{"subject_type": "pairwise"})
	_, never := listening(t, r, nil)
	deaf := shop(t, r, nil)
	v, other := r.NewVisitor(t), r.NewVisitor(t)
	first := visit(t, r, v, one)
	visit(t, r, v, one) // twice, and told once
	second := visit(t, r, v, pairwise)
	visit(t, r, v, deaf)
	visit(t, r, other, one)
	v.Open(leaving("id_token_hint", first.Text("id_token")))

	sid := claim(t, first, "sid")
	wantLogoutToken(t, r, one, told.Told(1)[0], subject(t, first), sid)
	if subject(t, second) == subject(t, first) {
		t.Error("the subject is not pairwise")
	}
	wantLogoutToken(t, r, pairwise, also.Told(1)[0], subject(t, second), sid)
	wantOutcomes(t, r, 2)
	for _, f := range outcomes(t, r) {
		o := f.(events.LogoutDelivered).LogoutOutcome
		if o.Session.String() != sid || o.User != subject(t, first) || o.Attempts == 0 || o.Status != http.StatusOK || o.Until == 0 {
			t.Errorf("recorded %+v", o)
		}
	}
	wantSignedIn(t, other, true)
	if len(told.Tokens()) != 1 || len(never.Tokens()) != 0 {
		t.Errorf("told %d and %d times", len(told.Tokens()), len(never.Tokens()))
	}
	t.Run("by signing in again", func(t *testing.T) {
		before := visit(t, r, v, one)
		p := v.Open(authorizeURL(one, "scope", "openid", "prompt", "login"))
		wantCode(t, signIn(t, v, p))
		wantLogoutToken(t, r, one, told.Told(2)[1], subject(t, before), claim(t, before, "sid"))
	})
}

// TestCutOffTellsAllSessions of the user, and of nobody else.
func TestCutOffTellsAllSessions(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: patient, Partitions: 2})
	one, told := listening(t, r, nil)
	two, also := listening(t, r, nil)
	here, there := r.NewVisitor(t), r.NewVisitor(t)
	mine := visit(t, r, here, one)
	want := []string{claim(t, mine, "sid"), claim(t, visit(t, r, there, one), "sid")}
	visit(t, r, there, two)
	bob := r.NewVisitor(t)
	p := bob.Open(authorizeURL(one, "scope", "openid"))
	p = bob.Open(p.URL.Path[:len("/oauth2/")] + "register?" + p.URL.RawQuery)
	wantCode(t, bob.Submit(p, "username", "bob", "email", "bob@example.com", "password", "a-good-password"))
	wantOK(t, r.Admin(t, http.MethodPost, "/users/"+subject(t, mine)+"/cut-off", nil))
	slices.Sort(want)
	sids := func(tokens []string) (sids []string) {
		for _, token := range tokens {
			sids = append(sids, wantLogoutToken(t, r, one, token, subject(t, mine), apitest.Claims(t, token)["sid"].(string))["sid"].(string))
		}
		slices.Sort(sids)
		return sids
	}
	if got := sids(told.Told(2)); !slices.Equal(got, want) {
		t.Errorf("told of %q, want %q", got, want)
	}
	also.Told(1)
	wantOutcomes(t, r, 3)
	wantSignedIn(t, bob, true)

	// What begins after the cut-off ends with a disabled account.
	again := visit(t, r, r.NewVisitor(t), two)
	wantOK(t, r.Admin(t, http.MethodPost, "/users/"+subject(t, mine)+"/disable", nil))
	wantLogoutToken(t, r, two, also.Told(2)[1], subject(t, mine), claim(t, again, "sid"))
	wantOutcomes(t, r, 4)
	p = bob.Open(authorizeURL(two, "scope", "openid"))
	bobs := wantOK(t, r.Exchange(t, two, wantCode(t, p)))
	if a := r.Admin(t, http.MethodDelete, "/users/"+subject(t, bobs), nil); a.Status >= 300 {
		t.Fatalf("delete: %d %s", a.Status, a.Body)
	}
	wantLogoutToken(t, r, two, also.Told(3)[2], subject(t, bobs), claim(t, bobs, "sid"))
	wantLogoutToken(t, r, one, told.Told(3)[2], subject(t, bobs), claim(t, bobs, "sid"))
	wantOutcomes(t, r, 6)
	if len(told.Tokens()) != 3 {
		t.Errorf("told %d times", len(told.Tokens()))
	}
}

// TestClientThatIsDown is told once it is up again, and holds up nobody.
func TestClientThatIsDown(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: patient})
	up, told := listening(t, r, nil)
	down, later := listening(t, r, nil)
	hung, never := listening(t, r, nil)
	later.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	never.Answer(func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() })
	const sessions = 3
	for n := range sessions {
		v := r.NewVisitor(t)
		tokens := visit(t, r, v, up)
		visit(t, r, v, down)
		visit(t, r, v, hung)
		v.Open(leaving("id_token_hint", tokens.Text("id_token")))
		told.Told(n + 1)
	}
	embeddedtest.Eventually(t, "the one that is down is tried again", func() bool { return later.Arrived() > 2 })
	later.Answer(nil)
	tokens := later.Told(sessions)
	seen := map[any]bool{}
	for _, token := range tokens {
		seen[apitest.Claims(t, token)["jti"]] = true
	}
	if len(seen) != sessions || len(tokens) != sessions {
		t.Errorf("%d tokens of %d ends", len(tokens), len(seen))
	}
	wantOutcomes(t, r, 2*sessions)
}

// TestLogoutIsToldOnce by one of several replicas, and a token that is sent again
// has the same jti.
func TestLogoutIsToldOnce(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	r := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	r.Seed(t)
	others := []*apitest.Replica{apitest.Start(t, node.Conn(), apitest.Options{}), apitest.Start(t, node.Conn(), apitest.Options{})}
	c, told := listening(t, r, nil)
	refused := make(chan string, 100)
	told.Answer(func(w http.ResponseWriter, q *http.Request) {
		refused <- q.PostFormValue("logout_token")
		w.WriteHeader(http.StatusBadRequest)
	})
	v := r.NewVisitor(t)
	v.Open(leaving("id_token_hint", visit(t, r, v, c).Text("id_token")))
	first := <-refused
	told.Answer(nil)
	again := told.Told(1)[0]
	if apitest.Claims(t, first)["jti"] != apitest.Claims(t, again)["jti"] {
		t.Error("another jti")
	}
	wantOutcomes(t, r, 1)
	for _, o := range others {
		o.WaitFolded(t)
	}
	if len(told.Tokens()) != 1 {
		t.Errorf("told %d times", len(told.Tokens()))
	}
}

// TestAuditShowsLogouts finds them by the user.
func TestAuditShowsLogouts(t *testing.T) {
	t.Parallel()
	r := single(t)
	c, told := listening(t, r, nil)
	v := r.NewVisitor(t)
	tokens := visit(t, r, v, c)
	v.Open(leaving("id_token_hint", tokens.Text("id_token")))
	told.Told(1)
	wantOutcomes(t, r, 1)
	for line := range bytes.Lines(r.WholeEvents(t)) {
		var e struct {
			Type string
			Data struct{ Client, User string }
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if e.Type == "logout.delivered.v1" && e.Data.Client == c.ID && e.Data.User == subject(t, tokens) {
			return
		}
	}
	t.Error("no delivery in the audit")
}
