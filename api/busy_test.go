package api_test

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/limit"
)

// anHour is how long three calls last in these tests.
var anHour = limit.Rate{N: 1, Per: time.Hour, Burst: 3}

func limited(t *testing.T, set func(*config.Settings)) caller {
	t.Helper()
	r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) {
		patient(s)
		s.TrustedProxies = loopback
		set(s)
	}})
	return caller{r}
}

// A caller sends requests from addresses of its choice.
type caller struct{ *apitest.Replica }

func (c caller) token(t *testing.T, from, path string, as apitest.Client) apitest.Answer {
	t.Helper()
	return request{
		path: path, body: "grant_type=client_credentials&token=none", header: []string{"Authorization", basic(as), "X-Forwarded-For", from},
	}.send(t, c.URL)
}

func (c caller) spa(t *testing.T, from string) apitest.Answer {
	t.Helper()
	return request{
		path: revokePath, body: "client_id=demo-spa&token=none", header: []string{"X-Forwarded-For", from},
	}.send(t, c.URL)
}

func (c caller) json(t *testing.T, from, path string, body any) apitest.Answer {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return request{
		path: path, contentType: "application/json", body: string(text), header: []string{"X-Forwarded-For", from},
	}.send(t, c.URL)
}

// wantWait checks that Retry-After is the hour until there is a token.
func wantWait(t *testing.T, a apitest.Answer) {
	t.Helper()
	seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if err != nil || seconds < 3500 || seconds > 3600 {
		t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
	}
}

func wantBusy(t *testing.T, a apitest.Answer) {
	t.Helper()
	wantError(t, a, http.StatusTooManyRequests, "too_many_requests")
	wantWait(t, a)
}

func wantLoginBusy(t *testing.T, a apitest.Answer) {
	t.Helper()
	wantLoginError(t, a, http.StatusTooManyRequests, "0")
	wantWait(t, a)
}

func TestAddressLimit(t *testing.T) {
	t.Parallel()
	r := limited(t, func(s *config.Settings) { s.AddressLimit = anHour })
	login := map[string]string{"username": "alice", "password": "wonderland"}
	path := passwordPath + "?client_id=demo-spa"
	for range 3 {
		wantOK(t, r.token(t, "192.0.2.1", tokenPath, apitest.DemoService))
		wantOK(t, r.json(t, "2001:db8::1", path, login))
	}
	wantBusy(t, r.token(t, "192.0.2.1", tokenPath, apitest.DemoService))
	wantBusy(t, request{method: http.MethodGet, path: tokenPath, header: []string{"X-Forwarded-For", "192.0.2.1"}}.send(t, r.URL))
	wantLoginBusy(t, r.json(t, "192.0.2.1", path, login))
	wantLoginBusy(t, r.json(t, "2001:db8::ffff", path, login))
	wantOK(t, r.token(t, "192.0.2.2", tokenPath, apitest.DemoService))
	wantOK(t, r.json(t, "2001:db8:0:1::1", path, login))
	// Verifiers of tokens need the keys, which cost nothing.
	wantOK(t, request{method: http.MethodGet, path: "/oauth2/jwks", header: []string{"X-Forwarded-For", "192.0.2.1"}}.send(t, r.URL))
}

func TestClientLimit(t *testing.T) {
	t.Parallel()
	r := limited(t, func(s *config.Settings) { s.ClientLimit = anHour })
	for _, path := range []string{tokenPath, introspectPath, revokePath} {
		wantError(t, r.token(t, "192.0.2.1", path, apitest.Client{ID: "demo-service", Secret: "wrong"}), http.StatusUnauthorized, "invalid_client")
		wantOK(t, r.token(t, "192.0.2.1", path, apitest.DemoService))
	}
	wantBusy(t, r.token(t, "192.0.2.2", tokenPath, apitest.DemoService))
	wantOK(t, r.token(t, "192.0.2.2", introspectPath, apitest.DemoWeb))
	for range 5 { // of a public client anybody could use it up
		wantOK(t, r.spa(t, "192.0.2.1"))
	}
}

func TestRegistrationLimit(t *testing.T) {
	t.Parallel()
	r := limited(t, func(s *config.Settings) { s.RegistrationLimit = anHour })
	register := func(from, name string) apitest.Answer {
		body := map[string]string{"username": name, "password": "a-good-password", "email": name + "@example.com"}
		return r.json(t, from, registerPath+"?"+apitest.CodeQuery("demo-spa", "read").Encode(), body)
	}
	for _, name := range []string{"a", "b", "c"} {
		wantOK(t, register("192.0.2.1", name))
	}
	wantLoginBusy(t, register("192.0.2.1", "d"))
	wantOK(t, register("192.0.2.2", "d"))
}

// TestFailureLimit is RFC 6749 §2.3.1's protection against brute force. Who
// guesses has to wait, and locks nobody out who knows the secret.
func TestFailureLimit(t *testing.T) {
	t.Parallel()
	r := limited(t, func(s *config.Settings) { s.FailureLimit = anHour })
	wrong := apitest.Client{ID: "demo-service", Secret: "wrong"}
	for _, path := range []string{tokenPath, introspectPath, revokePath} {
		wantError(t, r.token(t, "192.0.2.1", path, wrong), http.StatusUnauthorized, "invalid_client")
		wantOK(t, r.token(t, "192.0.2.9", path, apitest.DemoService)) // counts for nothing
	}
	wantBusy(t, r.token(t, "192.0.2.1", tokenPath, wrong))
	wantOK(t, r.token(t, "192.0.2.1", tokenPath, apitest.DemoService))
	wantLoginBusy(t, request{
		path: "/api/oauth2/token", body: "grant_type=client_credentials&client_id=demo-service&client_secret=wrong",
		header: []string{"X-Forwarded-For", "192.0.2.1"},
	}.send(t, r.URL))
	wantOK(t, r.token(t, "192.0.2.2", tokenPath, apitest.DemoService))
	wantOK(t, r.token(t, "192.0.2.1", introspectPath, apitest.DemoWeb))
	// A user and a client of one name are two.
	wantLoginError(t, r.json(t, "192.0.2.1", passwordPath+"?client_id=demo-spa", map[string]string{
		"username": "demo-service", "password": "wrong-password",
	}), http.StatusUnauthorized, "003-001")
}

// TestAddressFailureLimit counts what is wrong from an address, whoever's.
func TestAddressFailureLimit(t *testing.T) {
	t.Parallel()
	r := limited(t, func(s *config.Settings) { s.AddressFailureLimit = anHour })
	for _, id := range []string{"a", "b"} {
		wantError(t, r.token(t, "192.0.2.1", tokenPath, apitest.Client{ID: id, Secret: "wrong"}), http.StatusUnauthorized, "invalid_client")
	}
	path, login := passwordPath+"?client_id=demo-spa", map[string]string{"username": "alice", "password": "looking-glass"}
	wantLoginError(t, r.json(t, "192.0.2.1", path, login), http.StatusUnauthorized, "003-001")
	wantLoginBusy(t, r.json(t, "192.0.2.1", path, login))
	wantBusy(t, r.token(t, "192.0.2.1", tokenPath, apitest.Client{ID: "c", Secret: "wrong"}))
	wantOK(t, r.token(t, "192.0.2.1", tokenPath, apitest.DemoService))
}

// TestDefaultLimits are met by no client that knows its secret.
func TestDefaultLimits(t *testing.T) {
	t.Parallel()
	defaults := config.Default()
	r := limited(t, func(s *config.Settings) {
		s.AddressLimit, s.ClientLimit, s.RegistrationLimit = defaults.AddressLimit, defaults.ClientLimit, defaults.RegistrationLimit
		s.FailureLimit, s.AddressFailureLimit = defaults.FailureLimit, defaults.AddressFailureLimit
	})
	for _, a := range apitest.Race(racers, func(int) apitest.Answer {
		return r.token(t, netip.IPv6Loopback().String(), tokenPath, apitest.DemoService)
	}) {
		wantOK(t, a)
	}
	for range defaults.FailureLimit.Burst {
		a := r.Post(t, tokenPath, apitest.Client{ID: "demo-web", Secret: url.QueryEscape("wrong")})
		wantError(t, a, http.StatusUnauthorized, "invalid_client")
	}
	wantError(t, r.Post(t, tokenPath, apitest.Client{ID: "demo-web", Secret: "wrong"}), http.StatusTooManyRequests, "too_many_requests")
}
