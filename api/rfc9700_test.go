package api_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
)

// TestRedirectURIIsExact is RFC 9700 §2.1, with the tricks of CVE-2024-8883,
// CVE-2020-15233, CVE-2024-39694 and CVE-2022-40083. No answer redirects.
func TestRedirectURIIsExact(t *testing.T) {
	t.Parallel()
	r := single(t)
	const registered = "https://app.example/cb?x=1"
	one := register(t, r, map[string]any{"redirect_uris": []string{registered}})
	two := register(t, r, map[string]any{"redirect_uris": []string{registered, "https://app.example/other"}})
	login := func(c apitest.Client, redirects ...string) apitest.Answer {
		q := apitest.CodeQuery(c.ID, "read")
		q["redirect_uri"] = redirects
		return r.JSON(t, loginPath+"?"+q.Encode(), alice)
	}
	for _, redirect := range []string{
		"https://app.example/cb", "https://app.example/cb?x=1&y=2", "https://app.example/cb?x=2", "https://app.example/cb/?x=1",
		"https://APP.example/cb?x=1", "https://app.example/CB?x=1", "HTTPS://app.example/cb?x=1", "http://app.example/cb?x=1",
		"https://app.example:443/cb?x=1", "https://app.example./cb?x=1", "https://user@app.example/cb?x=1",
		"https://app.example@evil.example/cb?x=1", "https://evil.example/https://app.example/cb?x=1",
		"https://app.example/..%2fcb?x=1", "https://app.example/x/../cb?x=1", "https://app.example/%63b?x=1",
		"https://app.example\\@evil.example/cb?x=1", "//app.example/cb?x=1", "/cb?x=1", "https://[::1]/cb?x=1",
		"https://app.example/cb?x=1#", "https://app.example/cb?x=1#frag", " https://app.example/cb?x=1",
		"javascript:alert(1)", "data:text/html,x", "https://app.example.evil.example/cb?x=1",
	} {
		t.Run(redirect, func(t *testing.T) { wantLoginError(t, login(one, redirect), http.StatusBadRequest, "010-023") })
	}
	t.Run("sent twice", func(t *testing.T) {
		wantLoginError(t, login(one, registered, registered), http.StatusBadRequest, "0")
	})
	t.Run("left out, one registered", func(t *testing.T) {
		apitest.CodeOf(t, login(one, ""))
	})
	t.Run("left out, two registered", func(t *testing.T) {
		wantLoginError(t, login(two, ""), http.StatusBadRequest, "0")
	})
	t.Run("keeps its query", func(t *testing.T) {
		u, err := url.Parse(login(one, registered).Text("login_url"))
		if err != nil || u.Query().Get("x") != "1" || u.Query().Get("code") == "" {
			t.Errorf("login_url %v, %v", u, err)
		}
	})
}

// TestLoopbackPort is the exception that RFC 9700 §2.1 makes for native apps,
// and no wider.
func TestLoopbackPort(t *testing.T) {
	t.Parallel()
	r := single(t)
	native := register(t, r, map[string]any{
		"public": true, "redirect_uris": []string{"http://127.0.0.1/cb", "http://[::1]:1/cb", "http://localhost:1/cb", "https://127.0.0.1/cb"},
	})
	for _, test := range []struct {
		client   apitest.Client
		redirect string
		ok       bool
	}{
		{native, "http://127.0.0.1:51234/cb", true},
		{native, "http://[::1]:51234/cb", true},
		{native, "http://127.0.0.1:51234/other", false},
		{native, "http://127.0.0.1:51234/cb?x=1", false},
		{native, "http://127.0.0.1:51234/cb/", false},
		{native, "http://127.0.0.1:51234", false},
		{native, "http://127.0.0.1:/cb", false},
		{native, "http://127.0.0.1:x/cb", false},
		{native, "http://127.0.0.1:1@evil.example/cb", false},
		{native, "http://127.0.0.1.evil.example:51234/cb", false},
		{native, "http://127.0.0.2:51234/cb", false},
		{native, "http://localhost:51234/cb", false},
		{native, "https://127.0.0.1:51234/cb", false},
		{apitest.DemoWeb, "http://127.0.0.1:51234/callback", false},
	} {
		t.Run(test.redirect, func(t *testing.T) {
			q := apitest.CodeQuery(test.client.ID, "read")
			q.Set("redirect_uri", test.redirect)
			a := r.JSON(t, loginPath+"?"+q.Encode(), alice)
			if !test.ok {
				wantLoginError(t, a, http.StatusBadRequest, "010-023")
				return
			}
			code := apitest.CodeOf(t, a)
			wantError(t, r.Token(t, test.client, exchange(code, "redirect_uri", "http://127.0.0.1/cb")...), http.StatusBadRequest, "invalid_grant")
			wantOK(t, r.Token(t, test.client, exchange(code, "redirect_uri", test.redirect)...))
		})
	}
}

// TestRedirectURIAtTheTokenEndpoint is RFC 6749 §4.1.3: the same again if it
// was sent, and nothing else if it was not.
func TestRedirectURIAtTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	r := single(t)
	q := apitest.CodeQuery("demo-web", "read")
	q.Del("redirect_uri")
	without := func() string { return apitest.CodeOf(t, r.JSON(t, loginPath+"?"+q.Encode(), alice)) }
	wantOK(t, r.Token(t, apitest.DemoWeb, exchange(without(), "redirect_uri", "")...))
	wantOK(t, r.Token(t, apitest.DemoWeb, exchange(without())...))
	a := r.Token(t, apitest.DemoWeb, exchange(without(), "redirect_uri", "http://127.0.0.1:9999/other")...)
	wantError(t, a, http.StatusBadRequest, "invalid_grant")
}

// TestRetryOfAPublicClientFromElsewhere is what DESIGN calls the thief who
// follows the victim: refused, and nobody is revoked. X-Forwarded-For tells
// addresses apart only where its sender is trusted (RFC 9700 §4.13).
func TestRetryOfAPublicClientFromElsewhere(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		trusted []netip.Prefix
		// victim and thief are what the two requests say of their address.
		victim, thief string
		status        int
	}{
		{"behind a trusted proxy", loopback, "192.0.2.1", "192.0.2.2", 400},
		{"behind a trusted proxy, the same", loopback, "192.0.2.1", "192.0.2.1", 200},
		{"a forged hop in front", loopback, "192.0.2.1", "192.0.2.1, 192.0.2.2", 400},
		{"nobody is trusted", nil, "192.0.2.1", "192.0.2.2", 200},
		{"another proxy is trusted", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, "192.0.2.1", "192.0.2.2", 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) { patient(s); s.TrustedProxies = test.trusted }})
			first := r.Tokens(t, apitest.DemoSPA, "read offline_access")
			from := func(address string) apitest.Answer {
				return request{
					body:   form("grant_type", "refresh_token", "client_id", "demo-spa", "refresh_token", first.Text("refresh_token")),
					header: []string{"X-Forwarded-For", address, "X-Real-Ip", address},
				}.send(t, r.URL)
			}
			second := wantOK(t, from(test.victim))
			again := from(test.thief)
			if test.status == http.StatusOK {
				if wantOK(t, again).Text("refresh_token") != second.Text("refresh_token") {
					t.Error("the retry got another successor")
				}
				return
			}
			wantError(t, again, test.status, "invalid_grant")
			wantEvents(t, r, r.GrantOf(t, second.Text("access_token")), opened, redeemed, rotated)
			wantOK(t, r.Refresh(t, apitest.DemoSPA, second.Text("refresh_token")))
		})
	}
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// TestSecurityHeaders are on every answer, errors included (RFC 9700 §4.2.4,
// §4.16).
func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	r := single(t)
	for _, q := range []request{
		{method: http.MethodGet, path: metadataPath},
		{method: http.MethodGet, path: "/nothing"},
		{path: loginPath},
		{},
		{method: http.MethodDelete, path: tokenPath},
		{method: http.MethodGet, path: "/"},
	} {
		a := q.send(t, r.URL)
		for name, want := range map[string]string{
			"Referrer-Policy":         "no-referrer",
			"X-Content-Type-Options":  "nosniff",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s %s: %s = %q", q.method, q.path, name, got)
			}
		}
	}
}
