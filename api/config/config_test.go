package config

import (
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
)

func valid() Settings {
	s := Default()
	s.Issuer = "https://auth.example"
	return s
}

func TestDefaultIsValid(t *testing.T) {
	if err := valid().Check(); err != nil {
		t.Fatal(err)
	}
}

func TestPolicyIsTheRules(t *testing.T) {
	if got, want := Default().Policy(), rules.DefaultPolicy(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestCheckNamesTheFlag(t *testing.T) {
	tests := map[string]struct {
		change func(*Settings)
		want   string
	}{
		"login page, http":     {func(s *Settings) { s.LoginURL = "http://people.example/login" }, "login-url: must be https"},
		"login page, path":     {func(s *Settings) { s.LoginURL = "/login" }, "login-url: is not an absolute URL"},
		"consent page, anchor": {func(s *Settings) { s.ConsentURL = "https://people.example/#a" }, "consent-url: must have no fragment"},
		"consent page, secret": {func(s *Settings) { s.ConsentURL = "https://a:b@people.example/" }, "consent-url: must hold no credentials"},
		"no issuer":            {func(s *Settings) { s.Issuer = "" }, "issuer: is required"},
		"no algorithm":         {func(s *Settings) { s.SigningAlgorithms = nil }, "signing-algorithms: there is none"},
		"HS256":                {func(s *Settings) { s.SigningAlgorithms = []string{"HS256"} }, `signing-algorithms: "HS256" is not one of`},
		"ES256 twice":          {func(s *Settings) { s.SigningAlgorithms = []string{"ES256", "ES256"} }, "ES256 is there twice"},
		"code of 11m":          {func(s *Settings) { s.CodeLifetime = 11 * time.Minute }, "code-lifetime: 11m0s is not between"},
		"token of 25h":         {func(s *Settings) { s.AccessTokenLifetime = 25 * time.Hour }, "access-token-lifetime: 25h0m0s is not between"},
		"token of 0":           {func(s *Settings) { s.AccessTokenLifetime = 0 }, "access-token-lifetime: 0s is not between"},
		"idle over absolute":   {func(s *Settings) { s.RefreshIdle = s.RefreshAbsolute + 1 }, "refresh-idle: 2160h0m0.000000001s is longer than refresh-absolute"},
		"negative window":      {func(s *Settings) { s.RetryWindow = -1 }, "retry-window: -1ns is not between"},
		"impossible freshness": {func(s *Settings) { s.FreshnessBound = time.Millisecond }, "freshness-bound: 1ms is not between"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := valid()
			tt.change(&s)
			err := s.Check()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestCheckReportsEverything(t *testing.T) {
	err := Settings{}.Check()
	if n := len(strings.Split(err.Error(), "\n")); n < 6 {
		t.Errorf("%d lines for a zero value:\n%v", n, err)
	}
}

func TestValidateIssuer(t *testing.T) {
	good := []string{
		"https://auth.example",
		"https://auth.example/tenant/1",
		"https://auth.example:8443",
		"http://127.0.0.1:8080",
		"http://localhost:8080",
		"http://[::1]:8080",
	}
	for _, issuer := range good {
		if err := ValidateIssuer(issuer); err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
	}
	bad := []string{
		"",
		"auth.example",
		"https://",
		"https:auth.example",
		"https://:8443",
		"ftp://127.0.0.1",
		"http://auth.example",
		"http://127.0.0.1.example",
		"https://auth.example/",
		"https://auth.example?",
		"https://auth.example?a=b",
		"https://auth.example#",
		"https://auth.example#a",
		"https://user@auth.example",
		"https://Auth.example",
		"HTTPS://auth.example",
		"https://auth.example/a b",
		"https://auth.example\n",
	}
	for _, issuer := range bad {
		if err := ValidateIssuer(issuer); err == nil {
			t.Errorf("%q was accepted", issuer)
		}
	}
}
