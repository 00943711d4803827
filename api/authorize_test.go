package api_test

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

const authorizePath = "/oauth2/authorize"

// authorizeURL is an authorization request of a client, with parameters changed
// in pairs; an empty value leaves one out.
func authorizeURL(c apitest.Client, pairs ...string) string {
	q := apitest.CodeQuery(c.ID, "read offline_access")
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			q.Del(pairs[i])
		} else {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return authorizePath + "?" + q.Encode()
}

// signIn fills in the sign-in page.
func signIn(t testing.TB, v *apitest.Visitor, p apitest.Page) apitest.Page {
	t.Helper()
	wantPage(t, p, http.StatusOK, "Sign in")
	return v.Submit(p, "username", authority.DemoUser, "password", authority.DemoPassword)
}

func wantPage(t testing.TB, p apitest.Page, status int, heading string) {
	t.Helper()
	if p.Status != status || p.Heading() != heading {
		t.Fatalf("%s shows %d %q, want %d %q: %s to %s", p.URL.Path, p.Status, p.Heading(), status, heading, p.Body, p.Outside)
	}
	for name, want := range map[string]string{"X-Frame-Options": "DENY", "Cache-Control": "no-store"} {
		if p.Header.Get(name) != want {
			t.Errorf("%s is %q", name, p.Header.Get(name))
		}
	}
	if !strings.Contains(p.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Errorf("policy %q", p.Header.Get("Content-Security-Policy"))
	}
}

// wantResponse is the response that a client gets by redirect.
func wantResponse(t testing.TB, p apitest.Page) url.Values {
	t.Helper()
	if p.Outside == nil || p.Status != http.StatusSeeOther || !strings.HasPrefix(p.Outside.String(), authority.DemoRedirect+"?") {
		t.Fatalf("%s shows %d %q, no response to a client: %s", p.URL, p.Status, p.Heading(), p.Body)
	}
	q := p.Outside.Query()
	if q.Get("iss") != apitest.Issuer || q.Get("state") != "a-state-of-16-ch" {
		t.Errorf("response %v", q)
	}
	return q
}

func wantCode(t testing.TB, p apitest.Page) string {
	t.Helper()
	q := wantResponse(t, p)
	if q.Get("code") == "" || len(q) != 3 {
		t.Fatalf("response %v, want a code", q)
	}
	return q.Get("code")
}

func wantRefused(t testing.TB, p apitest.Page, code, parameter string) {
	t.Helper()
	q := wantResponse(t, p)
	if q.Get("error") != code || q.Has("code") || !strings.HasPrefix(q.Get("error_description"), parameter) {
		t.Errorf("response %v, want %s of %s", q, code, parameter)
	}
	wantDescription(t, q.Get("error_description"))
}

// TestAuthorize goes to a client for the first time, and then again.
func TestAuthorize(t *testing.T) {
	t.Parallel()
	r := single(t)
	v := r.NewVisitor(t)
	p := signIn(t, v, v.Open(authorizeURL(apitest.DemoPartner)))
	wantPage(t, p, http.StatusOK, "Allow access?")
	p = v.Submit(p, "decision", "allow")
	tokens := wantOK(t, r.Exchange(t, apitest.DemoPartner, wantCode(t, p)))
	if tokens.Text("refresh_token") == "" || tokens.Text("scope") != "read offline_access" || claim(t, tokens, "sid") == "" {
		t.Errorf("tokens %s", tokens.Body)
	}
	t.Run("again", func(t *testing.T) {
		again := wantOK(t, r.Exchange(t, apitest.DemoPartner, wantCode(t, v.Open(authorizeURL(apitest.DemoPartner, "scope", "read")))))
		if claim(t, again, "sid") != claim(t, tokens, "sid") {
			t.Error("another session")
		}
		wantCode(t, v.Open(authorizeURL(apitest.DemoPartner, "prompt", "none")))
		wantPage(t, v.Open(authorizeURL(apitest.DemoPartner, "scope", "read write")), http.StatusOK, "Allow access?")
		wantRefused(t, v.Open(authorizeURL(apitest.DemoPartner, "scope", "write", "prompt", "none")), "consent_required", "prompt")
	})
	t.Run("first party", func(t *testing.T) {
		wantCode(t, v.Open(authorizeURL(apitest.DemoSPA)))
	})
	t.Run("with a wrong password", func(t *testing.T) {
		v := r.NewVisitor(t)
		p := v.Submit(v.Open(authorizeURL(apitest.DemoSPA)), "username", authority.DemoUser, "password", "wrong")
		wantPage(t, p, http.StatusUnprocessableEntity, "Sign in")
		if p.Fields.Get("username") != authority.DemoUser || p.Fields.Get("password") != "" {
			t.Errorf("fields %v", p.Fields)
		}
		wantCode(t, v.Submit(p, "password", authority.DemoPassword))
		embeddedtest.Eventually(t, "the refused sign-in to be in the audit", func() bool {
			return slices.ContainsFunc(r.Refused(t), func(e events.Recorded) bool {
				f, ok := e.Fact.(events.RequestRefused)
				return ok && f.What == "login" && f.Reason == string(authority.WrongCredentials)
			})
		})
	})
	t.Run("registering", func(t *testing.T) {
		v := r.NewVisitor(t)
		p := v.Open(authorizeURL(apitest.DemoSPA))
		p = v.Open(strings.Replace(p.URL.String(), "/login?", "/register?", 1))
		wantPage(t, p, http.StatusOK, "Create an account")
		p = v.Submit(p, "username", authority.DemoUser, "email", "a@example.com", "password", "a-good-password")
		wantPage(t, p, http.StatusUnprocessableEntity, "Create an account")
		p = v.Submit(p, "username", "dinah", "password", "short")
		wantPage(t, p, http.StatusUnprocessableEntity, "Create an account")
		code := wantCode(t, v.Submit(p, "password", "a-good-password"))
		wantOK(t, r.Exchange(t, apitest.DemoSPA, code))
	})
	t.Run("denied", func(t *testing.T) {
		p := v.Open(authorizeURL(apitest.DemoPartner, "scope", "read write"))
		wantRefused(t, v.Submit(p, "decision", "deny"), "access_denied", "")
	})
	t.Run("by POST", func(t *testing.T) {
		q, _ := url.Parse(authorizeURL(apitest.DemoSPA))
		fields := map[string][]string(q.Query())
		wantCode(t, v.Submit(apitest.Page{Action: authorizePath, Fields: fields}))
	})
	t.Run("by form post", func(t *testing.T) {
		p := v.Open(authorizeURL(apitest.DemoSPA, "response_mode", "form_post"))
		if p.Status != http.StatusOK || p.Action != authority.DemoRedirect || p.Fields.Get("state") != "a-state-of-16-ch" ||
			p.Fields.Get("iss") != apitest.Issuer || len(p.Fields) != 3 {
			t.Fatalf("form to %s with %v: %s", p.Action, p.Fields, p.Body)
		}
		wantOK(t, r.Exchange(t, apitest.DemoSPA, p.Fields.Get("code")))
	})
}

// TestWithoutPKCE is for confidential clients alone, and only if it is said.
func TestWithoutPKCE(t *testing.T) {
	t.Parallel()
	r := single(t)
	client := register(t, r, map[string]any{"client_id": "old", "pkce_optional": true, "first_party": true})
	v := r.NewVisitor(t)
	code := wantCode(t, signIn(t, v, v.Open(authorizeURL(client, "code_challenge", "", "code_challenge_method", ""))))
	wantOK(t, r.Token(t, client, "grant_type", "authorization_code", "code", code, "redirect_uri", authority.DemoRedirect))
	spa := register(t, r, map[string]any{"client_id": "old-spa", "pkce_optional": true, "public": true})
	wantRefused(t, v.Open(authorizeURL(spa, "code_challenge", "", "code_challenge_method", "")), "invalid_request", "code_challenge")
}

// TestPrompts asks a person who is signed in for more.
func TestPrompts(t *testing.T) {
	t.Parallel()
	r := single(t)
	signedIn := func(t *testing.T) *apitest.Visitor {
		t.Helper()
		v := r.NewVisitor(t)
		wantCode(t, signIn(t, v, v.Open(authorizeURL(apitest.DemoSPA))))
		return v
	}
	t.Run("none without a session", func(t *testing.T) {
		wantRefused(t, r.NewVisitor(t).Open(authorizeURL(apitest.DemoSPA, "prompt", "none")), "login_required", "prompt")
	})
	for name, pairs := range map[string][]string{"prompt=login": {"prompt", "login"}, "max_age=0": {"max_age", "0"}} {
		t.Run(name, func(t *testing.T) {
			v := signedIn(t)
			p := v.Open(authorizeURL(apitest.DemoSPA, pairs...))
			skipped := strings.Replace(p.URL.String(), "/login?", "/continue?", 1)
			wantPage(t, v.Open(skipped), http.StatusOK, "Sign in")
			wantPage(t, v.Open(strings.Replace(p.URL.String(), "/login?", "/select-account?", 1)), http.StatusOK, "Sign in")
			wantPage(t, v.Open(strings.Replace(p.URL.String(), "/login?", "/consent?", 1)), http.StatusOK, "Sign in")
			wantCode(t, signIn(t, v, p))
		})
	}
	t.Run("id_token_hint", func(t *testing.T) {
		v := r.NewVisitor(t)
		code := wantCode(t, signIn(t, v, v.Open(authorizeURL(apitest.DemoSPA, "scope", "openid"))))
		hint := wantOK(t, r.Exchange(t, apitest.DemoSPA, code)).Text("id_token")
		wantCode(t, v.Open(authorizeURL(apitest.DemoSPA, "prompt", "none", "id_token_hint", hint)))
		wantRefused(t, v.Open(authorizeURL(apitest.DemoPartner, "id_token_hint", hint)), "invalid_request", "id_token_hint")
		wantRefused(t, v.Open(authorizeURL(apitest.DemoSPA, "id_token_hint", hint+"x")), "invalid_request", "id_token_hint")
		bob := map[string]string{"username": "hinted", "password": "a-good-password", "email": "hinted@example.com"}
		v.SetCookie("chancery-session", sessionCookie(t, r.JSON(t, registerPath+"?"+apitest.CodeQuery("demo-spa", "read").Encode(), bob)).Value)
		wantRefused(t, v.Open(authorizeURL(apitest.DemoSPA, "prompt", "none", "id_token_hint", hint)), "login_required", "prompt")
		p := v.Open(authorizeURL(apitest.DemoSPA, "id_token_hint", hint))
		p = v.Submit(p, "username", "hinted", "password", "a-good-password")
		wantCode(t, signIn(t, v, p))
	})
	t.Run("max_age", func(t *testing.T) {
		wantCode(t, signedIn(t).Open(authorizeURL(apitest.DemoSPA, "max_age", "600")))
	})
	t.Run("select_account", func(t *testing.T) {
		v := signedIn(t)
		p := v.Open(authorizeURL(apitest.DemoSPA, "prompt", "select_account"))
		wantPage(t, p, http.StatusOK, "Choose an account")
		wantCode(t, v.Submit(p, "decision", "continue"))
		wantCode(t, signIn(t, v, v.Submit(v.Open(authorizeURL(apitest.DemoSPA, "prompt", "select_account")), "decision", "switch")))
	})
	t.Run("consent", func(t *testing.T) {
		v := signedIn(t)
		p := v.Open(authorizeURL(apitest.DemoSPA, "prompt", "consent"))
		wantPage(t, p, http.StatusOK, "Allow access?")
		wantCode(t, v.Submit(p, "decision", "allow"))
	})
	t.Run("consent of another person", func(t *testing.T) {
		v := signedIn(t)
		p := v.Open(authorizeURL(apitest.DemoPartner, "prompt", "consent"))
		wantPage(t, p, http.StatusOK, "Allow access?")
		bob := map[string]string{"username": "bob", "password": "a-good-password", "email": "bob@example.com"}
		v.SetCookie("chancery-session", sessionCookie(t, r.JSON(t, registerPath+"?"+apitest.CodeQuery("demo-spa", "read").Encode(), bob)).Value)
		wantPage(t, v.Submit(p, "decision", "allow"), http.StatusOK, "Allow access?")
	})
}

// TestAuthorizeErrors is told to the client but for what decides where that is.
func TestAuthorizeErrors(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: patient})
	register(t, r, map[string]any{"client_id": "two", "redirect_uris": []string{authority.DemoRedirect, "https://b.example/cb"}})
	register(t, r, map[string]any{"client_id": "pushes", "redirect_uris": []string{authority.DemoRedirect}, "require_pushed_authorization_requests": true})
	registerAs(t, r, "works", map[string]any{"grant_types": []string{"client_credentials"}, "redirect_uris": []string{authority.DemoRedirect}})
	v := r.NewVisitor(t)
	for name, test := range map[string]struct {
		pairs           []string
		code, parameter string
	}{
		"response_type":        {[]string{"response_type", ""}, "invalid_request", "response_type"},
		"token":                {[]string{"response_type", "token"}, "unsupported_response_type", "response_type"},
		"code and more":        {[]string{"response_type", "code id_token"}, "unsupported_response_type", "response_type"},
		"fragment":             {[]string{"response_mode", "fragment"}, "invalid_request", "response_mode"},
		"no challenge":         {[]string{"code_challenge", "", "code_challenge_method", ""}, "invalid_request", "code_challenge"},
		"plain":                {[]string{"code_challenge_method", "plain"}, "invalid_request", "code_challenge_method"},
		"no method":            {[]string{"code_challenge_method", ""}, "invalid_request", "code_challenge_method"},
		"a short challenge":    {[]string{"code_challenge", "abc"}, "invalid_request", "code_challenge"},
		"scope":                {[]string{"scope", "admin"}, "invalid_scope", "scope"},
		"scope's characters":   {[]string{"scope", `"`}, "invalid_scope", "scope"},
		"resource":             {[]string{"resource", "https://a.example/#f"}, "invalid_target", "resource"},
		"another's resource":   {[]string{"resource", "https://a.example"}, "invalid_target", "resource"},
		"prompt":               {[]string{"prompt", "create"}, "invalid_request", "prompt"},
		"none and more":        {[]string{"prompt", "none login"}, "invalid_request", "prompt"},
		"max_age":              {[]string{"max_age", "-1"}, "invalid_request", "max_age"},
		"max_age's form":       {[]string{"max_age", "1e3"}, "invalid_request", "max_age"},
		"request":              {[]string{"request", "e30.e30."}, "request_not_supported", "request"},
		"claims":               {[]string{"claims", "{}"}, "invalid_request", "claims"},
		"registration":         {[]string{"registration", "{}"}, "registration_not_supported", "registration"},
		"control character":    {[]string{"nonce", "a\nb"}, "invalid_request", "nonce"},
		"a long nonce":         {[]string{"nonce", strings.Repeat("n", 3000)}, "invalid_request", "nonce"},
		"a client that pushes": {[]string{"client_id", "pushes"}, "invalid_request", "request_uri"},
		"a client of two":      {[]string{"client_id", "two", "scope", "admin"}, "invalid_scope", "scope"},
		"a grant it has not":   {[]string{"client_id", "works"}, "unauthorized_client", "response_type"},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, v.Open(authorizeURL(apitest.DemoSPA, test.pairs...)), test.code, test.parameter)
		})
	}
	t.Run("sent twice", func(t *testing.T) {
		wantRefused(t, v.Open(authorizeURL(apitest.DemoSPA)+"&nonce=a&nonce=b"), "invalid_request", "nonce")
		p := v.Open(authorizeURL(apitest.DemoSPA) + "&state=another")
		if p.Outside == nil || p.Outside.Query().Get("error") != "invalid_request" || p.Outside.Query().Has("state") {
			t.Errorf("two states are answered with %s", p.Outside)
		}
	})
	t.Run("told to nobody else", func(t *testing.T) {
		q, _ := url.Parse(authorizeURL(apitest.DemoSPA))
		without := func(name string) string {
			all := q.Query()
			all.Del(name)
			return authorizePath + "?" + all.Encode()
		}
		for name, test := range map[string]struct{ target, heading string }{
			"no client":           {without("client_id"), "We did not understand this request"},
			"an unknown client":   {authorizeURL(apitest.DemoSPA, "client_id", "nobody"), "This application is not known here"},
			"two clients":         {authorizeURL(apitest.DemoSPA) + "&client_id=demo-spa", "We did not understand this request"},
			"two redirects":       {authorizeURL(apitest.DemoSPA) + "&redirect_uri=" + url.QueryEscape(authority.DemoRedirect), ""},
			"none of two":         {authorizeURL(apitest.DemoSPA, "client_id", "two", "redirect_uri", ""), ""},
			"bad encoding":        {authorizeURL(apitest.DemoSPA) + "&a=%zz", "We did not understand this request"},
			"a foreign request":   {authorizeURL(apitest.DemoSPA, "request_uri", "https://evil.example/request"), ""},
			"an unknown request":  {authorizeURL(apitest.DemoSPA, "request_uri", "urn:ietf:params:oauth:request_uri:abc"), ""},
			"markup for a client": {authorizeURL(apitest.DemoSPA, "client_id", "<script>alert(1)</script>"), "This application is not known here"},
		} {
			t.Run(name, func(t *testing.T) {
				p := v.Open(test.target)
				if p.Outside != nil || p.Status < 400 || test.heading != "" && p.Heading() != test.heading {
					t.Errorf("shows %d %q, sends to %v", p.Status, p.Heading(), p.Outside)
				}
				if strings.Contains(string(p.Body), "alert(1)") || !strings.Contains(string(p.Body), p.Header.Get("X-Request-Id")) {
					t.Errorf("page %s", p.Body)
				}
			})
		}
	})
}

// TestRedirectMutations is what has been tried elsewhere (CVE-2024-8883,
// CVE-2020-15233, CVE-2024-39694, CVE-2022-40083): none of it is ever gone to.
func TestRedirectMutations(t *testing.T) {
	t.Parallel()
	r := single(t)
	v := r.NewVisitor(t)
	register(t, r, map[string]any{"client_id": "shop", "redirect_uris": []string{"https://shop.example/callback?a=1"}})
	signIn(t, v, v.Open(authorizeURL(apitest.DemoSPA)))
	good := "https://shop.example/callback?a=1"
	p := v.Open(authorizeURL(apitest.DemoSPA, "client_id", "shop", "redirect_uri", good, "prompt", "none", "response_type", "x"))
	if p.Outside == nil || !strings.HasPrefix(p.Outside.String(), good+"&error=unsupported_response_type") {
		t.Fatalf("the registered one is answered with %d at %v", p.Status, p.Outside)
	}
	for _, bad := range []string{
		"https://shop.example/callback", "https://shop.example/callback?a=1&b=2", "https://shop.example/callback?a=2",
		"https://shop.example/Callback?a=1", "HTTPS://shop.example/callback?a=1", "https://SHOP.example/callback?a=1",
		"http://shop.example/callback?a=1", "https://shop.example:443/callback?a=1", "https://shop.example:8443/callback?a=1",
		"https://shop.example./callback?a=1", "https://shop.example/callback/?a=1", "https://shop.example/x/../callback?a=1",
		"https://shop.example/..%2fcallback?a=1", "https://shop.example/%63allback?a=1", "https://shop.example/callback%00?a=1",
		"https://user@shop.example/callback?a=1", "https://shop.example@evil.example/callback?a=1", "https://evil.example/callback?a=1",
		"https://shop.example.evil.example/callback?a=1", "https://evil.example\\@shop.example/callback?a=1",
		"https://shop.example\\.evil.example/callback?a=1", "https://shop.example/callback?a=1#fragment", "//shop.example/callback?a=1",
		"/callback?a=1", "callback", "javascript:alert(1)", "data:text/html,x", "https://[::1]/callback?a=1",
		"https://127.0.0.1/callback?a=1", "https://2130706433/callback?a=1", "https://shop.example/callback?a=1 ", " https://shop.example/callback?a=1",
		"https://shop.example/callback?a=1\u3002", "https://shop\u3002example/callback?a=1", "https://shop.example/callback;a=1",
	} {
		for _, more := range [][]string{nil, {"prompt", "none"}, {"response_type", "x"}, {"response_mode", "form_post"}} {
			p := v.Open(authorizeURL(apitest.DemoSPA, slices.Concat([]string{"client_id", "shop", "redirect_uri", bad}, more)...))
			if p.Outside != nil || p.Status != http.StatusBadRequest || strings.Contains(string(p.Body), "<form") || strings.Contains(string(p.Body), "evil") {
				t.Errorf("%q shows %d, sends to %v", bad, p.Status, p.Outside)
			}
		}
	}
}

// TestPushedRequests is RFC 9126.
func TestPushedRequests(t *testing.T) {
	t.Parallel()
	r := single(t)
	client := register(t, r, map[string]any{
		"client_id": "pushes", "redirect_uris": []string{authority.DemoRedirect}, "first_party": true, "require_pushed_authorization_requests": true,
	})
	push := func(c apitest.Client, pairs ...string) apitest.Answer {
		q := apitest.CodeQuery(c.ID, "")
		q.Del("client_id")
		q.Del("scope")
		var all []string
		for name, values := range q {
			all = append(all, name, values[0])
		}
		return r.Post(t, "/oauth2/par", c, append(all, pairs...)...)
	}
	requestURI := func(t *testing.T, a apitest.Answer) string {
		t.Helper()
		uri := a.Text("request_uri")
		if a.Status != http.StatusCreated || a.JSON["expires_in"] != 90.0 || !strings.HasPrefix(uri, "urn:ietf:params:oauth:request_uri:") {
			t.Fatalf("answer %d %s", a.Status, a.Body)
		}
		wantNoStore(t, a)
		return uri
	}
	v := r.NewVisitor(t)
	uri := requestURI(t, push(client))
	target := authorizePath + "?" + url.Values{"client_id": {client.ID}, "request_uri": {uri}}.Encode()
	wantPage(t, v.Open(target), http.StatusOK, "Sign in")
	code := wantCode(t, signIn(t, v, v.Open(target)))
	wantOK(t, r.Exchange(t, client, code))
	t.Run("once", func(t *testing.T) {
		p := v.Open(target)
		if p.Outside != nil || p.Status != http.StatusBadRequest {
			t.Errorf("shows %d, sends to %v", p.Status, p.Outside)
		}
	})
	t.Run("another client's", func(t *testing.T) {
		q := url.Values{"client_id": {"demo-spa"}, "request_uri": {requestURI(t, push(client))}}
		if p := v.Open(authorizePath + "?" + q.Encode()); p.Outside != nil || p.Status != http.StatusBadRequest {
			t.Errorf("shows %d, sends to %v", p.Status, p.Outside)
		}
	})
	t.Run("changed", func(t *testing.T) {
		uri := requestURI(t, push(client))
		for _, at := range []int{40, len(uri) / 2, len(uri) - 2} {
			changed := uri[:at] + string('A'+(uri[at]-'A'+1)%26) + uri[at+1:]
			q := url.Values{"client_id": {client.ID}, "request_uri": {changed}}
			if p := v.Open(authorizePath + "?" + q.Encode()); p.Outside != nil || p.Status != http.StatusBadRequest {
				t.Errorf("shows %d, sends to %v", p.Status, p.Outside)
			}
		}
	})
	t.Run("refused", func(t *testing.T) {
		wantError(t, push(apitest.Client{ID: client.ID, Secret: "wrong"}), http.StatusUnauthorized, "invalid_client")
		wantError(t, push(client, "request_uri", uri), http.StatusBadRequest, "invalid_request")
		wantError(t, push(client, "prompt", "x"), http.StatusBadRequest, "invalid_request")
		wantError(t, push(client, "scope", "admin"), http.StatusBadRequest, "invalid_scope")
		wantError(t, r.Post(t, "/oauth2/par", client, "response_type", "code", "redirect_uri", "https://evil.example"), http.StatusBadRequest, "invalid_request")
	})
}

// TestPendingRequests are those that another browser, replica or time goes on
// with.
func TestPendingRequests(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	r := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	r.Seed(t)
	other := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	wantOver := func(t *testing.T, p apitest.Page) {
		t.Helper()
		wantPage(t, p, http.StatusBadRequest, "This page is no longer open")
	}
	t.Run("another replica", func(t *testing.T) {
		v := r.NewVisitor(t)
		p := v.Open(authorizeURL(apitest.DemoPartner))
		there := v.At(other)
		p = signIn(t, there, there.Open(p.URL.RequestURI()))
		wantPage(t, p, http.StatusOK, "Allow access?")
		back := there.At(r)
		wantOK(t, r.Exchange(t, apitest.DemoPartner, wantCode(t, back.Submit(p, "decision", "allow"))))
	})
	t.Run("another browser", func(t *testing.T) {
		p := r.NewVisitor(t).Open(authorizeURL(apitest.DemoSPA))
		wantOver(t, r.NewVisitor(t).Open(p.URL.RequestURI()))
	})
	t.Run("for no client", func(t *testing.T) {
		v := r.NewVisitor(t)
		p := v.Open("/oauth2/login")
		if p = signIn(t, v, p); p.URL.Path != "/oauth2/account" {
			t.Errorf("went on to %s", p.URL)
		}
		wantCode(t, v.Open(authorizeURL(apitest.DemoSPA, "prompt", "none")))
		own := v.Open("/oauth2/login").URL.RequestURI()
		wantPage(t, v.Open(own), http.StatusOK, "Sign in")
		for _, page := range []string{"select-account", "consent"} {
			if p = v.Open(strings.Replace(own, "login", page, 1)); p.Outside != nil || p.Status != http.StatusBadRequest {
				t.Errorf("%s shows %d %q", page, p.Status, p.Heading())
			}
		}
	})
	t.Run("used", func(t *testing.T) {
		v := r.NewVisitor(t)
		first := v.Open(authorizeURL(apitest.DemoSPA))
		wantCode(t, signIn(t, v, first))
		wantOver(t, signIn(t, v, first))
	})
	t.Run("tampered with", func(t *testing.T) {
		v := r.NewVisitor(t)
		p := v.Open(authorizeURL(apitest.DemoSPA))
		for _, bad := range []string{"", "x", p.Fields.Get("request") + "A", strings.ToUpper(p.Fields.Get("request"))} {
			wantOver(t, v.Submit(p, "username", authority.DemoUser, "password", authority.DemoPassword, "request", bad))
		}
	})
	t.Run("a form without its token", func(t *testing.T) {
		v := r.NewVisitor(t)
		p := v.Open(authorizeURL(apitest.DemoSPA))
		login := []string{"username", authority.DemoUser, "password", authority.DemoPassword}
		for _, token := range []string{"", "x", r.NewVisitor(t).Open(authorizeURL(apitest.DemoSPA)).Fields.Get("csrf")} {
			if got := v.Submit(p, append(login, "csrf", token)...); got.Status != http.StatusForbidden {
				t.Errorf("token %q: %d %q", token, got.Status, got.Heading())
			}
		}
		stranger := r.NewVisitor(t)
		if got := stranger.Submit(p, login...); got.Status != http.StatusForbidden {
			t.Errorf("without the cookie: %d %q", got.Status, got.Heading())
		}
		q := maps.Clone(p.Fields)
		q.Set("username", authority.DemoUser)
		q.Set("password", authority.DemoPassword)
		send := request{path: "/oauth2/login", body: q.Encode(), header: []string{"Origin", "https://evil.example", "Cookie", cookies(v)}}
		if a := send.send(t, r.URL); a.Status != http.StatusForbidden {
			t.Errorf("from another origin: %d", a.Status)
		}
		wantCode(t, v.Submit(p, login...))
	})
}

func cookies(v *apitest.Visitor) string {
	var all []string
	for _, c := range v.Cookies() {
		all = append(all, c.Name+"="+c.Value)
	}
	return strings.Join(all, "; ")
}

// TestConsentIsAFact reads what was agreed from the log.
func TestConsentIsAFact(t *testing.T) {
	t.Parallel()
	r := single(t)
	v := r.NewVisitor(t)
	p := v.Submit(signIn(t, v, v.Open(authorizeURL(apitest.DemoPartner))), "decision", "allow")
	tokens := wantOK(t, r.Exchange(t, apitest.DemoPartner, wantCode(t, p)))
	given, err := r.Log.After(t.Context(), events.DefaultRealm.ConsentSubject(subject(t, tokens), "demo-partner"), 0)
	if err != nil || len(given) != 1 {
		t.Fatalf("%d events: %v", len(given), err)
	}
	fact, ok := given[0].Fact.(events.ConsentGiven)
	if !ok || !slices.Equal(fact.Scope, []string{"offline_access", "read"}) || given[0].Meta.Actor != "user:"+subject(t, tokens) {
		t.Errorf("recorded %+v", given[0])
	}
}

// TestAgreedIsWhatWasShown asks for nothing that the client may have, and for
// targets of its own.
func TestAgreedIsWhatWasShown(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := registerAs(t, r, "narrow", map[string]any{
		"grant_types": []string{"authorization_code"}, "scope": []string{"read", "payments"},
	})
	v := r.NewVisitor(t)
	p := signIn(t, v, v.Open(authorizeURL(c, "scope", "offline_access")))
	wantPage(t, p, http.StatusOK, "Allow access?")
	tokens := wantOK(t, r.Exchange(t, c, wantCode(t, v.Submit(p, "decision", "allow"))))
	if strings.Contains(string(p.Body), "payments") || tokens.Text("scope") != "" {
		t.Errorf("scope %q", tokens.Text("scope"))
	}
	bank := registerAs(t, r, "bank", map[string]any{"scope": []string{"read"}, "audience": []string{"https://bank.example", "https://mail.example"}})
	p = v.Open(authorizeURL(bank, "scope", "read"))
	for _, target := range []string{"https://bank.example", "https://mail.example"} {
		if !strings.Contains(string(p.Body), target) {
			t.Errorf("the page does not show %s", target)
		}
	}
	wantCode(t, v.Submit(p, "decision", "allow"))
	if p := v.Submit(p, "decision", "deny"); p.Outside != nil || p.Status != http.StatusBadRequest {
		t.Errorf("a request that was answered is denied with %d, sent to %v", p.Status, p.Outside)
	}
}

// TestOtherPartiesTokens open no more than people agreed to.
func TestOtherPartiesTokens(t *testing.T) {
	t.Parallel()
	r := single(t)
	v := r.NewVisitor(t)
	p := v.Submit(signIn(t, v, v.Open(authorizeURL(apitest.DemoPartner))), "decision", "allow")
	a := wantOK(t, loginIssue(t, r, apitest.DemoPartner, exchange(wantCode(t, p))...))
	if claim(t, a, "username") != "" || claim(t, a, "email") != "" || claim(t, a, "type") != "user" {
		t.Errorf("claims %v", apitest.Claims(t, a.Text("access_token")))
	}
	wantLoginError(t, me(t, r, a.Text("access_token")), http.StatusForbidden, "010-026")
	wantLoginError(t, patchMe(t, r, a.Text("access_token"), map[string]any{"nickname": "x"}), http.StatusForbidden, "010-026")
	for _, sessions := range []string{"sso", "all"} {
		wantLoginError(t, signOut(t, r, sessions, a.Text("access_token")), http.StatusForbidden, "010-026")
	}
	p = v.Submit(v.Open(authorizeURL(apitest.DemoPartner, "scope", "profile email")), "decision", "allow")
	a = wantOK(t, loginIssue(t, r, apitest.DemoPartner, exchange(wantCode(t, p))...))
	if claim(t, a, "username") != authority.DemoUser || claim(t, a, "email") != "alice@example.com" {
		t.Errorf("claims %v", apitest.Claims(t, a.Text("access_token")))
	}
}

// TestPushedRequestsEnd does not let a browser prolong one.
func TestPushedRequestsEnd(t *testing.T) {
	t.Parallel()
	r := single(t)
	a := r.Post(t, "/oauth2/par", apitest.DemoWeb, "response_type", "code", "code_challenge", apitest.Challenge, "code_challenge_method", "S256")
	uri := a.Text("request_uri")
	form := url.Values{"client_id": {"demo-web"}, "request_uri": {uri}}
	again := request{path: authorizePath, body: form.Encode()}.send(t, r.URL)
	to, err := url.Parse(again.Header.Get("Location"))
	if err != nil || to.Query().Get("request_uri") != uri {
		t.Errorf("sent to %s with another request", to)
	}
	large := func(n int) []string {
		pairs := []string{"response_type", "code", "code_challenge", apitest.Challenge, "code_challenge_method", "S256"}
		for _, name := range []string{"state", "login_hint", "ui_locales", "acr_values"} {
			pairs = append(pairs, name, strings.Repeat("é", n))
		}
		return pairs
	}
	if a := r.Post(t, "/oauth2/par", apitest.DemoWeb, large(500)...); a.Status != http.StatusCreated {
		t.Errorf("a long request: %d %s", a.Status, a.Body)
	}
	wantError(t, r.Post(t, "/oauth2/par", apitest.DemoWeb, large(2000)...), http.StatusBadRequest, "invalid_request")
}

// TestSignInFromAnotherOrigin signs no browser in for a site that the client
// does not know.
func TestSignInFromAnotherOrigin(t *testing.T) {
	t.Parallel()
	r := single(t)
	allowOrigin(t, r, "demo-web", "https://evil.example")
	for origin, status := range map[string]int{"https://evil.example": http.StatusForbidden, apitest.Issuer: http.StatusOK, "": http.StatusOK} {
		login := newLogin(t, r)
		if origin != "" {
			login.Header.Set("Origin", origin)
		}
		a := apitest.Do(t, login)
		if a.Status != status || (a.Header.Get("Set-Cookie") != "") != (status == http.StatusOK) {
			t.Errorf("from %q: %d, cookie %q", origin, a.Status, a.Header.Get("Set-Cookie"))
		}
	}
}

// TestPushingClientsPush everywhere.
func TestPushingClientsPush(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := registerAs(t, r, "pushes", map[string]any{"require_pushed_authorization_requests": true})
	wantLoginError(t, r.LoginAnswer(t, c, "read"), http.StatusBadRequest, "0")
}
