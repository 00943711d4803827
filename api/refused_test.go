package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// everything is what happened, but for the ticks and the refusals.
func everything(t testing.TB, r *apitest.Replica) string {
	t.Helper()
	var all strings.Builder
	for line := range strings.Lines(string(r.WholeEvents(t))) {
		if !strings.Contains(line, `"request.refused.v1"`) {
			all.WriteString(line)
		}
	}
	return all.String()
}

// refusal is an event of refusals without what differs from run to run.
func refusal(e events.Recorded) events.RequestRefused {
	f, _ := e.Fact.(events.RequestRefused)
	f.First, f.Last = 0, 0
	return f
}

// TestRefusedExchange is an exchange that fails: it changes nothing, and the
// audit has it with its reason and its request.
func TestRefusedExchange(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := exchanger(t, r, nil, nil)
	subjectToken := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	grant, err := events.ParseGrantID(r.GrantOf(t, subjectToken))
	if err != nil {
		t.Fatal(err)
	}
	before, began := everything(t, r), time.Now().Unix()
	a := swap(t, r, c, subjectToken, "scope", "admin")
	wantError(t, a, http.StatusBadRequest, "invalid_scope")
	all := r.Refusals(t, 1)
	if after := everything(t, r); after != before {
		t.Errorf("it changed something:\n%s\nwas\n%s", after, before)
	}
	user, _ := apitest.Claims(t, subjectToken)["sub"].(string)
	want := events.RequestRefused{
		What: exchangeGrant, Client: c.ID, Grant: grant, User: user,
		Reason: "invalid_scope", Parameter: "scope", Detail: "beyond the grant or the client", Count: 1,
	}
	got, _ := all[0].Fact.(events.RequestRefused)
	if refusal(all[0]) != want {
		t.Errorf("recorded %+v, want %+v", got, want)
	}
	if got.First != got.Last || got.First < began-1 || got.Last > time.Now().Unix()+1 {
		t.Errorf("from %d to %d, and it began at %d", got.First, got.Last, began)
	}
	meta := all[0].Meta
	if meta.Request != a.Header.Get("X-Request-Id") || meta.Actor != "client:"+c.ID || meta.Origin == "" {
		t.Errorf("meta %+v", meta)
	}
	if all[0].Subject != r.Log.Realm().RefusedSubject(grant.Partition()) {
		t.Errorf("stored on %s", all[0].Subject)
	}
}

// TestRefusedRetryFromElsewhere is recorded beside the grant and not on it, and
// does not end it.
func TestRefusedRetryFromElsewhere(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) { patient(s); s.TrustedProxies = loopback }})
	first := r.Tokens(t, apitest.DemoSPA, "read offline_access")
	from := func(address string) apitest.Answer {
		return request{
			body:   as(apitest.DemoSPA, "grant_type", "refresh_token", "refresh_token", first.Text("refresh_token")),
			header: []string{"X-Forwarded-For", address},
		}.send(t, r.URL)
	}
	second := wantOK(t, from("192.0.2.1"))
	grant := r.GrantOf(t, second.Text("access_token"))
	for range 3 {
		wantError(t, from("192.0.2.2"), http.StatusBadRequest, "invalid_grant")
	}
	for _, e := range r.Refusals(t, 3) {
		f := refusal(e)
		if f.What != "refresh_token" || f.Grant.String() != grant || f.Client != "demo-spa" || f.User != subject(t, second) ||
			f.Reason != "invalid_refresh_token" || f.Detail != "retry from another address" || e.Meta.Origin == "" {
			t.Errorf("recorded %+v, %+v", f, e.Meta)
		}
	}
	wantEvents(t, r, grant, opened, redeemed, rotated)
	wantOK(t, r.Refresh(t, apitest.DemoSPA, second.Text("refresh_token")))
}

// TestWhyLoggedOut tells the ends of a session apart by what the audit has.
func TestWhyLoggedOut(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := register(t, r, map[string]any{"refresh_token_idle_lifetime": 1})
	reused := r.Tokens(t, apitest.DemoWeb, "read offline_access")
	next := wantOK(t, r.Refresh(t, apitest.DemoWeb, reused.Text("refresh_token")))
	wantOK(t, r.Refresh(t, apitest.DemoWeb, next.Text("refresh_token")))
	ended := r.Tokens(t, apitest.DemoWeb, "read offline_access")
	wantOK(t, r.Post(t, revokePath, apitest.DemoWeb, "token", ended.Text("refresh_token")))
	idle := r.Tokens(t, c, "read offline_access")
	lost := func(c apitest.Client, a apitest.Answer) {
		t.Helper()
		wantError(t, r.Refresh(t, c, a.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	}
	lost(apitest.DemoWeb, reused)
	lost(apitest.DemoWeb, ended)
	lost(apitest.DemoSPA, ended)
	end := time.Unix(int64(apitest.Claims(t, idle.Text("access_token"))["iat"].(float64))+2, 0)
	embeddedtest.Eventually(t, "the token to be idle for too long", func() bool { return time.Now().After(end) })
	lost(c, idle)
	want := map[string]string{
		"reuse of a spent refresh token": grantOf(t, reused), "grant revoked": grantOf(t, ended),
		"of another client": grantOf(t, ended), "idle for too long": grantOf(t, idle),
	}
	for _, e := range r.Refusals(t, 4) {
		f := refusal(e)
		if want[f.Detail] != f.Grant.String() || f.User != subject(t, reused) {
			t.Errorf("recorded %+v", f)
		}
		delete(want, f.Detail)
	}
	if len(want) > 0 {
		t.Errorf("not recorded: %v", want)
	}
}

// TestRecordedRefusals has what is recorded of every kind of request, in both
// dialects, and what is not.
func TestRecordedRefusals(t *testing.T) {
	t.Parallel()
	r := single(t)
	alices := r.Tokens(t, apitest.DemoWeb, "read")
	access, alice := alices.Text("access_token"), subject(t, alices)
	grant, err := events.ParseGrantID(grantOf(t, alices))
	if err != nil {
		t.Fatal(err)
	}
	stranger, wrong := apitest.Client{ID: "nobody", Secret: "x"}, apitest.Client{ID: "demo-web", Secret: "x"}
	login := func(path, client, user string) func() apitest.Answer {
		return func() apitest.Answer {
			return r.JSON(t, path+"?"+apitest.CodeQuery(client, "read").Encode(), map[string]string{"username": user, "password": "off with"})
		}
	}
	const failed, credentials = authority.ClientAuthenticationFailed, "client_credentials"
	for name, test := range map[string]struct {
		send func() apitest.Answer
		want events.RequestRefused
		// actor is whether the client is known to be the one.
		actor bool
	}{
		"unknown client": {
			func() apitest.Answer { return r.Token(t, stranger, "grant_type", credentials) },
			events.RequestRefused{What: credentials, Reason: string(failed), Detail: "unknown client"},
			false,
		},
		"wrong secret": {
			func() apitest.Answer { return r.Token(t, wrong, "grant_type", "refresh_token") },
			events.RequestRefused{What: "refresh_token", Client: "demo-web", Reason: string(failed), Detail: "wrong secret"},
			false,
		},
		"wrong secret at the Login API": {
			func() apitest.Answer { return loginIssue(t, r, wrong, "grant_type", exchangeGrantLogin) },
			events.RequestRefused{What: exchangeGrant, Client: "demo-web", Reason: string(failed), Detail: "wrong secret"},
			false,
		},
		"wrong secret at introspection": {
			func() apitest.Answer { return r.Post(t, introspectPath, wrong, "token", access) },
			events.RequestRefused{What: "introspection", Client: "demo-web", Reason: string(failed), Detail: "wrong secret"},
			false,
		},
		"wrong secret at revocation": {
			func() apitest.Answer { return r.Post(t, revokePath, wrong, "token", access) },
			events.RequestRefused{What: "revocation", Client: "demo-web", Reason: string(failed), Detail: "wrong secret"},
			false,
		},
		"a grant type that there is not": {
			func() apitest.Answer { return r.Token(t, apitest.DemoWeb, "grant_type", "password") },
			events.RequestRefused{What: "token", Client: "demo-web", Reason: "unsupported_grant_type", Parameter: "grant_type"},
			true,
		},
		"no code": {
			func() apitest.Answer { return r.Token(t, apitest.DemoWeb, "grant_type", "authorization_code") },
			events.RequestRefused{What: "authorization_code", Client: "demo-web", Reason: "missing_parameter", Parameter: "code"},
			true,
		},
		"a refresh token of nobody": {
			func() apitest.Answer { return r.Refresh(t, apitest.DemoWeb, "chr_x") },
			events.RequestRefused{
				What: "refresh_token", Client: "demo-web", Reason: "invalid_refresh_token", Parameter: "refresh_token", Detail: "does not verify",
			},
			true,
		},
		"a target by name": {
			func() apitest.Answer {
				return loginIssue(t, r, apitest.DemoService, "grant_type", credentials, "audience", "https://else.example")
			},
			events.RequestRefused{
				What: credentials, Client: "demo-service", Reason: "invalid_target", Parameter: "audience", Detail: "audience beyond the grant or the client",
			},
			true,
		},
		"another's token": {
			func() apitest.Answer { return r.Post(t, revokePath, apitest.DemoSPA, "token", access) },
			events.RequestRefused{
				What: "revocation", Client: "demo-spa", Grant: grant, User: alice, Reason: "token_of_another_client", Parameter: "token",
			},
			true,
		},
		"wrong password": {
			login(loginPath, "demo-web", authority.DemoUser),
			events.RequestRefused{What: "login", Client: "demo-web", User: alice, Reason: "wrong_credentials"},
			false,
		},
		"unknown user": {
			login(passwordPath, "demo-spa", "nobody"),
			events.RequestRefused{What: "login", Client: "demo-spa", Reason: "wrong_credentials"},
			false,
		},
		"a client that may not send passwords": {
			login(passwordPath, "demo-web", authority.DemoUser),
			events.RequestRefused{
				What: "login", Client: "demo-web", Reason: "unauthorized_client", Parameter: "client_id", Detail: "the client may not send passwords",
			},
			false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.want.Count = 1
			a := test.send()
			if a.Status < http.StatusBadRequest || a.Status >= http.StatusInternalServerError {
				t.Fatalf("answer %d %s", a.Status, a.Body)
			}
			e := recordedAs(t, r, a)
			if got := refusal(e); got != test.want {
				t.Errorf("recorded %+v, want %+v", got, test.want)
			}
			if want := map[bool]string{true: "client:" + test.want.Client}[test.actor]; e.Meta.Actor != want {
				t.Errorf("actor %q, want %q", e.Meta.Actor, want)
			}
		})
	}
	// What is wrong before a client is known, and what may be otherwise soon.
	count := len(r.Refused(t))
	wantError(t, request{body: "grant_type=%zz"}.send(t, r.URL), http.StatusBadRequest, "invalid_request")
	wantError(t, request{body: form("a_secret_name", "1", "a_secret_name", "2")}.send(t, r.URL), http.StatusBadRequest, "invalid_request")
	r.Server.Close()
	if n := len(r.Refused(t)); n != count {
		t.Errorf("%d more events", n-count)
	}
}

// recordedAs waits for the event of the request that was answered.
func recordedAs(t testing.TB, r *apitest.Replica, a apitest.Answer) (found events.Recorded) {
	t.Helper()
	embeddedtest.Eventually(t, "the refusal to be in the log", func() bool {
		for _, e := range r.Refused(t) {
			if e.Meta.Request == a.Header.Get("X-Request-Id") {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// TestRefusalsWithoutTheLog are answered as ever, at once, and are in the log
// when it is back.
func TestRefusalsWithoutTheLog(t *testing.T) {
	for _, l := range losses {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			token := f.Tokens(t, apitest.DemoWeb, "read offline_access").Text("refresh_token")
			refuse := func() {
				t.Helper()
				wantError(t, f.Refresh(t, apitest.DemoWeb, token+"A"), http.StatusBadRequest, "invalid_grant")
				wantError(t, f.Token(t, apitest.Client{ID: "demo-web", Secret: "x"}, "grant_type", "client_credentials"), http.StatusUnauthorized, "invalid_client")
			}
			l.begin(f.proxy)
			for range 3 {
				refuse()
			}
			embeddedtest.Eventually(t, "a write to be lost", f.proxy.Holds)
			refuse()
			f.proxy.Drop()
			f.proxy.Heal()
			f.Refusals(t, 8)
		})
	}
}

// TestManyRefusals are few events.
func TestManyRefusals(t *testing.T) {
	t.Parallel()
	r := single(t)
	began := time.Now()
	apitest.Race(8, func(int) (a apitest.Answer) {
		for range 50 {
			a = r.Refresh(t, apitest.DemoSPA, "chr_x")
		}
		return a
	})
	r.Server.Close()
	took := time.Since(began)
	if all := r.Refusals(t, 400); len(all) > 2+int(took/time.Second) {
		t.Errorf("%d events in %s", len(all), took)
	}
}
