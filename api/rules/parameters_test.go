package rules_test

import (
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

func TestParseVerifier(t *testing.T) {
	for _, test := range []struct {
		verifier string
		ok       bool
	}{
		{"", true}, // none sent
		{strings.Repeat("a", 42), false},
		{strings.Repeat("a", 43), true},
		{strings.Repeat("~", 128), true},
		{strings.Repeat("a", 129), false},
		{strings.Repeat("a", 43) + "+", false},
		{strings.Repeat("a", 43) + " ", false},
		{strings.Repeat("a", 43) + "é", false},
	} {
		if refusal := rules.ParseVerifier(test.verifier); (refusal == nil) != test.ok {
			t.Errorf("%q: %v", test.verifier, refusal)
		}
	}
}

func TestParseChallenge(t *testing.T) {
	for _, test := range []struct {
		name, challenge, method string
		reason                  rules.Reason
	}{
		{"none", "", "", ""},
		{"S256", challenge, "S256", ""},
		{"plain", challenge, "plain", rules.BadParameter},
		{"no method is plain", challenge, "", rules.BadParameter},
		{"unknown method", challenge, "s256", rules.BadParameter},
		{"method alone", "", "S256", rules.MissingParameter},
		{"too short", challenge[1:], "S256", rules.BadParameter},
		{"padded", challenge + "=", "S256", rules.BadParameter},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantRefusal(t, rules.ParseChallenge(test.challenge, test.method), test.reason)
		})
	}
}

func TestParseScope(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string
		bad  bool
	}{
		{"", nil, false},
		{"read write", []string{"read", "write"}, false},
		{"write read write", []string{"write", "read"}, false},
		{" read  write ", []string{"read", "write"}, false},
		{`a"b`, nil, true},
		{`a\b`, nil, true},
		{"a\tb", nil, true},
		{"é", nil, true},
		{"!#[]~", []string{"!#[]~"}, false},
	} {
		got, refusal := rules.ParseScope(test.text)
		if (refusal != nil) != test.bad {
			t.Errorf("%q: %v", test.text, refusal)
		}
		wantEqual(t, test.text, got, test.want)
	}
}

func TestParseResource(t *testing.T) {
	for text, ok := range map[string]bool{
		"https://api.example": true, "urn:example:api": true, "https://api.example/x?y=1": true,
		"": false, "/relative": false, "api.example": false, "https://api.example/#f": false, "https://api.example#": false, "https:": false, "://": false,
	} {
		if refusal := rules.ParseResource(text); (refusal == nil) != ok {
			t.Errorf("%q: %v", text, refusal)
		}
	}
}

func TestRegisterClient(t *testing.T) {
	day := int64(24 * 60 * 60)
	good := func() events.ClientSettings { return web().ClientSettings }
	for _, test := range []struct {
		name   string
		id     string
		change func(*events.ClientSettings)
		reason rules.Reason
	}{
		{"good", "app", nil, ""},
		{"an id that is no subject", "a.b", nil, rules.BadParameter},
		{"a wildcard", "*", nil, rules.BadParameter},
		{"an id that could be a user's", "5e3b6a1c-0000-4000-8000-000000000001", nil, rules.BadParameter},
		{"unknown grant type", "app", func(s *events.ClientSettings) { s.GrantTypes = []string{"password"} }, rules.BadParameter},
		{"codes without a redirect", "app", func(s *events.ClientSettings) { s.RedirectURIs = nil }, rules.BadParameter},
		{"public with credentials", "app", func(s *events.ClientSettings) { s.Public = true }, rules.BadParameter},
		{"confidential with passwords", "app", func(s *events.ClientSettings) { s.PasswordLogin = true }, rules.BadParameter},
		{"scope with a space", "app", func(s *events.ClientSettings) { s.Scope = []string{"a b"} }, rules.BadParameter},
		{"unknown algorithm", "app", func(s *events.ClientSettings) { s.SigningAlg = "none" }, rules.BadParameter},
		{"access tokens for two days", "app", func(s *events.ClientSettings) { s.AccessTokenLifetime = 2 * day }, rules.BadParameter},
		{"codes for an hour", "app", func(s *events.ClientSettings) { s.CodeLifetime = 3600 }, rules.BadParameter},
		{"negative window", "app", func(s *events.ClientSettings) { w := int64(-1); s.RetryWindow = &w }, rules.BadParameter},
		{"grants for a century", "app", func(s *events.ClientSettings) { s.RefreshAbsoluteLifetime = 36500 * day }, rules.BadParameter},
		{"a name with a line break", "app", func(s *events.ClientSettings) { s.Name = "a\nb" }, rules.BadParameter},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := good()
			if test.change != nil {
				test.change(&s)
			}
			_, refusal := rules.RegisterClient(fold.Client{}, test.id, s, nil, []string{"ES256"})
			wantRefusal(t, refusal, test.reason)
		})
	}
}

func TestOriginsThatCanBeAllowed(t *testing.T) {
	for origin, ok := range map[string]bool{
		"https://app.example":           true,
		"https://app.example:8443":      true,
		"http://localhost:3000":         true,
		"http://[::1]:3000":             true,
		"https://xn--bcher-kva.example": true,
		"https://app.example/":          false,
		"https://app.example:443":       false,
		"https://app.example:":          false,
		"http://localhost:80":           false,
		"http://app.example":            false,
		"https://App.example":           false,
		"https://*.example":             false,
		"https://user@app.example":      false,
		"https://app.example?":          false,
		"https://app.example#":          false,
		"https://":                      false,
		"app.example":                   false,
		"null":                          false,
		"*":                             false,
		"":                              false,
	} {
		s := web().ClientSettings
		s.AllowedOrigins = []string{"https://good.example", origin}
		_, refusal := rules.UpdateClient(web(), s, []string{"ES256"})
		if (refusal == nil) != ok || refusal != nil && refusal.Parameter != "allowed_origins" {
			t.Errorf("%s: %v", origin, refusal)
		}
	}
}

func TestRedirectURIsThatCanBeRegistered(t *testing.T) {
	for uri, ok := range map[string]bool{
		"https://app.example/callback":       true,
		"http://127.0.0.1:9999/callback":     true,
		"http://[::1]/callback":              true,
		"com.example.app:/callback":          true,
		"http://app.example/callback":        false,
		"https://app.example/#":              false,
		"https://user@app.example/":          false,
		`https://app.example\@evil.example/`: false,
		"https://*.example/":                 false,
		"/callback":                          false,
		"javascript:alert(1)":                false,
		"data:text/html,x":                   false,
		"https:///callback":                  false,
	} {
		s := web().ClientSettings
		s.RedirectURIs = []string{uri}
		_, refusal := rules.RegisterClient(fold.Client{}, "app", s, nil, nil)
		if (refusal == nil) != ok {
			t.Errorf("%q: %v", uri, refusal)
		}
	}
}

func TestLogoutAddressesThatCanBeRegistered(t *testing.T) {
	const secure = "https://app.example/logout?a=1"
	for _, test := range []struct {
		uri              string
		redirect, listen bool
	}{
		{secure, true, true},
		{"http://127.0.0.1:9999/logout", true, true},
		{"com.example.app:/logout", true, false},
		{"http://app.example/logout", false, false},
		{secure + "#", false, false},
		{"https://user@app.example/", false, false},
		{"https://*.example/", false, false},
		{"/logout", false, false},
		{"javascript:alert(1)", false, false},
	} {
		s := web().ClientSettings
		s.PostLogoutRedirectURIs = []string{secure, test.uri}
		_, refusal := rules.UpdateClient(web(), s, []string{"ES256"})
		if (refusal == nil) != test.redirect || refusal != nil && refusal.Parameter != "post_logout_redirect_uris" {
			t.Errorf("to be sent to %q: %v", test.uri, refusal)
		}
		s = web().ClientSettings
		s.BackchannelLogoutURI, s.BackchannelLogoutSession = test.uri, true
		_, refusal = rules.UpdateClient(web(), s, []string{"ES256"})
		if (refusal == nil) != test.listen || refusal != nil && refusal.Parameter != "backchannel_logout_uri" {
			t.Errorf("to be told at %q: %v", test.uri, refusal)
		}
	}
	s := web().ClientSettings
	s.BackchannelLogoutSession = true
	_, refusal := rules.UpdateClient(web(), s, []string{"ES256"})
	wantRefusal(t, refusal, rules.BadParameter)
}

func TestSecretsOverlapByTwo(t *testing.T) {
	c := web()
	for i, id := range []string{"one", "two", "three"} {
		fact, refusal := rules.AddClientSecret(c, events.ClientSecretAdded{ID: id})
		if i == 2 {
			wantRefusal(t, refusal, rules.Conflict)
			return
		}
		c.Secrets = append(c.Secrets, fact.(events.ClientSecretAdded))
	}
}
