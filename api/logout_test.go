package api_test

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/pkg/client/rp"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

const (
	endSessionPath = "/oauth2/logout"
	goodbye        = "https://shop.example/goodbye?from=here"
)

// shop registers a relying party of the installation's own that people are sent
// back to when they have signed out.
func shop(t testing.TB, r *apitest.Replica, settings map[string]any) apitest.Client {
	t.Helper()
	all := map[string]any{"first_party": true, "post_logout_redirect_uris": []string{goodbye}}
	maps.Copy(all, settings)
	return relyingParty(t, r, all)
}

// visit signs a person in at a client, or uses the session there is, and gives
// the tokens.
func visit(t testing.TB, r *apitest.Replica, v *apitest.Visitor, c apitest.Client) apitest.Answer {
	t.Helper()
	p := v.Open(authorizeURL(c, "scope", "openid read"))
	if p.Outside == nil {
		p = signIn(t, v, p)
	}
	return wantOK(t, r.Exchange(t, c, wantCode(t, p)))
}

// leaving is a request of a client's to have a person signed out.
func leaving(pairs ...string) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Add(pairs[i], pairs[i+1])
	}
	return endSessionPath + "?" + q.Encode()
}

func wantGoodbye(t testing.TB, p apitest.Page, state string) {
	t.Helper()
	want := goodbye
	if state != "" {
		want += "&state=" + state
	}
	if p.Outside == nil || p.Status != http.StatusSeeOther || p.Outside.String() != want {
		t.Fatalf("shows %d %q, sends to %v, want %s", p.Status, p.Heading(), p.Outside, want)
	}
	dropped := false
	for _, c := range (&http.Response{Header: p.Header}).Cookies() {
		dropped = dropped || strings.HasSuffix(c.Name, "chancery-session") && c.Value == "" && c.Expires.Before(time.Now())
	}
	if !dropped {
		t.Error("the session's cookie is not dropped")
	}
}

func wantSignedIn(t testing.TB, v *apitest.Visitor, signedIn bool) {
	t.Helper()
	q := v.Open(authorizeURL(apitest.DemoSPA, "prompt", "none")).Outside.Query()
	if q.Has("code") != signedIn {
		t.Errorf("answered %v, signed in: %t", q, signedIn)
	}
}

// TestEndSession is OpenID Connect RP-Initiated Logout 1.0.
func TestEndSession(t *testing.T) {
	t.Parallel()
	r := single(t)
	c, other := shop(t, r, nil), shop(t, r, nil)
	t.Run("by the session's ID token", func(t *testing.T) {
		v := r.NewVisitor(t)
		tokens := visit(t, r, v, c)
		hint := tokens.Text("id_token")
		p := v.Open(leaving("id_token_hint", hint, "post_logout_redirect_uri", goodbye, "state", "x", "logout_hint", "alice"))
		wantGoodbye(t, p, "x")
		wantSignedIn(t, v, false)
		if !r.Active(t, tokens.Text("access_token")) {
			t.Error("the tokens went with the session")
		}
		wantGoodbye(t, v.Open(leaving("id_token_hint", hint, "post_logout_redirect_uri", goodbye)), "") // again
	})
	t.Run("of another client of the session", func(t *testing.T) {
		v := r.NewVisitor(t)
		visit(t, r, v, c)
		hint := visit(t, r, v, other).Text("id_token")
		wantGoodbye(t, v.Open(leaving("id_token_hint", hint, "client_id", other.ID, "post_logout_redirect_uri", goodbye)), "")
		wantSignedIn(t, v, false)
	})
	t.Run("without anything", func(t *testing.T) {
		v := r.NewVisitor(t)
		visit(t, r, v, c)
		p := v.Open(endSessionPath)
		wantPage(t, p, http.StatusOK, "Sign out?")
		wantSignedIn(t, v, true)
		wantPage(t, v.Submit(p, "decision", "sign_out"), http.StatusOK, "You are signed out")
		wantSignedIn(t, v, false)
		wantPage(t, v.Open(endSessionPath), http.StatusOK, "You are signed out")
	})
	t.Run("in the person's language", func(t *testing.T) {
		p := r.NewVisitor(t).Open(leaving("ui_locales", "de"))
		if p.Header.Get("Content-Language") != "de" {
			t.Errorf("in %s", p.Header.Get("Content-Language"))
		}
	})
	t.Run("for a client that shows nothing", func(t *testing.T) {
		v := r.NewVisitor(t)
		visit(t, r, v, c)
		target := leaving("client_id", c.ID, "post_logout_redirect_uri", goodbye, "state", "x")
		p := v.Open(target)
		wantPage(t, p, http.StatusOK, "Sign out?")
		if stay := v.Submit(p, "decision", "stay"); stay.Outside != nil || stay.URL.Path != "/oauth2/account" {
			t.Errorf("who stays is sent to %s, %v", stay.URL, stay.Outside)
		}
		wantSignedIn(t, v, true)
		wantGoodbye(t, v.Submit(v.Open(target), "decision", "sign_out"), "x")
		wantSignedIn(t, v, false)
		wantGoodbye(t, v.Submit(p, "decision", "sign_out"), "x") // already
		wantGoodbye(t, v.Open(target), "x")
	})
	t.Run("by POST from the client's site", func(t *testing.T) {
		v := r.NewVisitor(t)
		hint := visit(t, r, v, c).Text("id_token")
		fields := url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {goodbye}, "state": {"x"}}
		// As browsers do, without the cookies of another site.
		first := request{path: endSessionPath, body: fields.Encode(), header: []string{"Origin", "https://shop.example"}}.send(t, r.URL)
		location := first.Header.Get("Location")
		if first.Status != http.StatusSeeOther || strings.Contains(location, hint) || first.Header.Get("Set-Cookie") != "" {
			t.Fatalf("answer %d to %s", first.Status, location)
		}
		wantSignedIn(t, v, true)
		wantGoodbye(t, v.Open(location), "x")
		wantSignedIn(t, v, false)
	})
	t.Run("by an independent client", func(t *testing.T) {
		v := r.NewVisitor(t)
		hint := visit(t, r, v, c).Text("id_token")
		party, err := rp.NewRelyingPartyOIDC(t.Context(), apitest.Issuer, c.ID, c.Secret, authority.DemoRedirect, []string{"openid"},
			rp.WithHTTPClient(issuerClient(t, r)))
		if err != nil {
			t.Fatal(err)
		}
		target := strings.Replace(party.GetEndSessionEndpoint(), apitest.Issuer, r.URL, 1)
		wantGoodbye(t, v.Open(target+"?"+url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {goodbye}}.Encode()), "")
		wantSignedIn(t, v, false)
	})
}

// TestLogoutIsAFact reads the end of a session from the log.
func TestLogoutIsAFact(t *testing.T) {
	t.Parallel()
	r := single(t)
	v := r.NewVisitor(t)
	tokens := visit(t, r, v, shop(t, r, nil))
	v.Open(leaving("id_token_hint", tokens.Text("id_token")))
	sid, err := events.ParseGrantID(claim(t, tokens, "sid"))
	if err != nil {
		t.Fatal(err)
	}
	ended := endings(t, r, sid.Partition())
	if len(ended) != 1 || ended[0].Session != sid || ended[0].Reason != events.ReasonUserRequest || ended[0].User != subject(t, tokens) {
		t.Errorf("ended %+v", ended)
	}
}

// endings are the sessions that have ended in a partition.
func endings(t testing.TB, r *apitest.Replica, p events.Partition) (ended []events.SessionEnded) {
	t.Helper()
	marks, err := r.Log.After(t.Context(), events.DefaultRealm.RevokedSubject(p), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range marks {
		if e, ok := m.Fact.(events.SessionEnded); ok {
			ended = append(ended, e)
		}
	}
	return ended
}

// TestNobodyIsSignedOutUnasked sends what does not prove that a client means the
// session at the browser.
func TestNobodyIsSignedOutUnasked(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := shop(t, r, nil)
	v := r.NewVisitor(t)
	tokens := visit(t, r, v, c)
	hint := tokens.Text("id_token")
	parts := strings.Split(hint, ".")
	older := r.NewVisitor(t)
	for name, bad := range map[string]string{
		"another session of the same person's": visit(t, r, older, c).Text("id_token"),
		"changed":                              parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"unsigned":                             parts[0] + "." + parts[1] + ".",
		"an access token":                      tokens.Text("access_token"),
		"garbage":                              "garbage",
	} {
		t.Run(name, func(t *testing.T) {
			wantPage(t, v.Open(leaving("id_token_hint", bad, "client_id", c.ID, "post_logout_redirect_uri", goodbye)), http.StatusOK, "Sign out?")
			wantSignedIn(t, v, true)
		})
	}
	p := v.Open(endSessionPath)
	t.Run("a form without its token", func(t *testing.T) {
		for _, token := range []string{"", "x", older.Open(endSessionPath).Fields.Get("csrf")} {
			if got := v.Submit(p, "decision", "sign_out", "csrf", token); got.Status != http.StatusForbidden {
				t.Errorf("token %q: %d %q", token, got.Status, got.Heading())
			}
		}
		fields := maps.Clone(p.Fields)
		fields.Set("decision", "sign_out")
		send := request{path: p.Action, body: fields.Encode(), header: []string{"Origin", "https://evil.example", "Cookie", cookies(v)}}
		if a := send.send(t, r.URL); a.Status != http.StatusForbidden {
			t.Errorf("from another origin: %d", a.Status)
		}
		wantSignedIn(t, v, true)
	})
	t.Run("a form that was changed", func(t *testing.T) {
		for _, pairs := range [][]string{{"decision", "x"}, {"decision", ""}, {"decision", "sign_out", "request", "x"}, {"decision", "sign_out", "request", ""}} {
			if got := v.Submit(p, pairs...); got.Status != http.StatusBadRequest || got.Outside != nil {
				t.Errorf("%v: %d %q to %v", pairs, got.Status, got.Heading(), got.Outside)
			}
		}
		wantSignedIn(t, v, true)
	})
	t.Run("a request in another's place", func(t *testing.T) {
		login := r.NewVisitor(t).Open(authorizeURL(apitest.DemoSPA)).Fields.Get("request")
		wantPage(t, v.Open(leaving("request", login)), http.StatusBadRequest, "This page is no longer open")
		wantPage(t, v.Open("/oauth2/login?"+url.Values{"request": {p.Fields.Get("request")}}.Encode()), http.StatusBadRequest, "This page is no longer open")
	})
	wantPage(t, v.Submit(p, "decision", "sign_out"), http.StatusOK, "You are signed out")
}

// TestLogoutRedirects goes nowhere but to what is registered, and signs nobody
// out on the way to a page that says so.
func TestLogoutRedirects(t *testing.T) {
	t.Parallel()
	r := single(t)
	c, other := shop(t, r, nil), shop(t, r, map[string]any{"post_logout_redirect_uris": []string{"https://other.example/"}})
	v := r.NewVisitor(t)
	hint := visit(t, r, v, c).Text("id_token")
	wantNowhere := func(t *testing.T, target string) {
		t.Helper()
		for _, who := range []*apitest.Visitor{v, r.NewVisitor(t)} {
			if p := who.Open(target); p.Outside != nil || p.Status != http.StatusBadRequest || strings.Contains(string(p.Body), "evil") {
				t.Errorf("%s shows %d, sends to %v", target, p.Status, p.Outside)
			}
		}
		wantSignedIn(t, v, true)
	}
	for _, bad := range []string{
		"https://shop.example/goodbye", goodbye + "&b=2", "https://shop.example/Goodbye?from=here", "HTTPS://shop.example/goodbye?from=here",
		"http://shop.example/goodbye?from=here", "https://shop.example:443/goodbye?from=here", "https://shop.example./goodbye?from=here",
		"https://shop.example/x/../goodbye?from=here", "https://user@shop.example/goodbye?from=here",
		"https://shop.example@evil.example/goodbye?from=here", "https://evil.example\\@shop.example/goodbye?from=here",
		goodbye + "#evil", "//shop.example/goodbye?from=here", "/goodbye", "javascript:alert('evil')", goodbye + " ",
		authority.DemoRedirect, "https://other.example/",
	} {
		wantNowhere(t, leaving("id_token_hint", hint, "post_logout_redirect_uri", bad))
		wantNowhere(t, leaving("client_id", c.ID, "post_logout_redirect_uri", bad))
	}
	for name, target := range map[string]string{
		"nobody's":                  leaving("post_logout_redirect_uri", goodbye),
		"a bad hint's":              leaving("id_token_hint", "garbage", "post_logout_redirect_uri", goodbye),
		"an unknown client's":       leaving("client_id", "nobody", "post_logout_redirect_uri", goodbye),
		"another client's":          leaving("id_token_hint", hint, "client_id", other.ID, "post_logout_redirect_uri", "https://other.example/"),
		"one of two":                leaving("client_id", c.ID, "post_logout_redirect_uri", goodbye, "post_logout_redirect_uri", goodbye),
		"with two states":           leaving("client_id", c.ID, "post_logout_redirect_uri", goodbye, "state", "a", "state", "b"),
		"with a state without end":  leaving("client_id", c.ID, "post_logout_redirect_uri", goodbye, "state", strings.Repeat("s", 3000)),
		"with a control character":  leaving("client_id", c.ID, "post_logout_redirect_uri", goodbye, "state", "a\r\nb"),
		"of a request of one's own": leaving("request", "e30"),
	} {
		t.Run(name, func(t *testing.T) { wantNowhere(t, target) })
	}
	t.Run("a disabled client's", func(t *testing.T) {
		wantOK(t, r.Admin(t, http.MethodPost, "/clients/"+c.ID+"/disable", nil))
		wantNowhere(t, leaving("id_token_hint", hint, "post_logout_redirect_uri", goodbye))
	})
}

// TestExpiredHint signs out by an ID token that is past its end, which nothing
// else takes.
func TestExpiredHint(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) { patient(s); s.AccessTokenLifetime = time.Second }})
	c := shop(t, r, nil)
	v := r.NewVisitor(t)
	tokens := visit(t, r, v, c)
	verifier := idVerifier(t, r, c, "ES256")
	hint := tokens.Text("id_token")
	embeddedtest.Eventually(t, "the ID token expires", func() bool {
		_, err := verifier.Verify(t.Context(), hint)
		return err != nil
	})
	wantGoodbye(t, v.Open(leaving("id_token_hint", hint, "post_logout_redirect_uri", goodbye)), "")
	wantSignedIn(t, v, false)
}
