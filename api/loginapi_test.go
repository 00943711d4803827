package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/limit"
	"github.com/chancery-authority/chancery/api/secret"
)

// TestLoginAPI goes the ways that the Login API offers, with what real clients
// send beside what they must.
func TestLoginAPI(t *testing.T) {
	t.Parallel()
	r := single(t)
	bob := map[string]any{"username": "bob", "password": "a-good-password", "email": "bob@example.com", "fields": []any{1}}
	q := apitest.CodeQuery("demo-spa", "read offline")
	for name, value := range map[string]string{"engine": "unity", "sdk": "login", "sdk_v": "1.0", "state": "state/with?odd&chars=1"} {
		q.Set(name, value)
	}
	var first apitest.Answer
	for _, path := range []string{registerPath, loginPath} {
		t.Run(path, func(t *testing.T) {
			a := r.JSON(t, path+"?"+q.Encode(), bob)
			wantNoStore(t, a)
			code := apitest.CodeOf(t, a)
			u, _ := url.Parse(a.Text("login_url"))
			if u.Query().Get("state") != q.Get("state") || u.Host+u.Path != "127.0.0.1:9999/callback" || len(a.JSON) != 1 {
				t.Errorf("answer %s", a.Body)
			}
			first = wantOK(t, r.Exchange(t, apitest.DemoSPA, code))
		})
	}
	t.Run(passwordPath, func(t *testing.T) {
		a := wantOK(t, r.JSON(t, passwordPath+"?client_id=demo-spa&scope=read+offline", bob))
		wantNoStore(t, a)
		if a.Text("token_type") != "bearer" || a.JSON["expires_in"] != 3600.0 || a.Text("scope") != "read offline" || a.Text("refresh_token") == "" {
			t.Errorf("answer %s", a.Body)
		}
		for _, word := range []string{"error", "code", "description"} {
			if _, ok := a.JSON[word]; ok {
				t.Errorf("a successful answer has %s", word)
			}
		}
		second := wantOK(t, r.Refresh(t, apitest.DemoSPA, a.Text("refresh_token"), "redirect_uri", "https://ignored.example"))
		if subject(t, second) != subject(t, first) {
			t.Error("another user")
		}
	})
	t.Run("without a scope", func(t *testing.T) {
		a := wantOK(t, r.JSON(t, passwordPath+"?client_id=demo-spa", bob))
		if a.Text("scope") != "read write" || a.Text("refresh_token") != "" {
			t.Errorf("answer %s", a.Body)
		}
	})
}

// TestLoginAPIQuery is what is wrong with a query, whatever the body.
func TestLoginAPIQuery(t *testing.T) {
	t.Parallel()
	r := single(t)
	registerAs(t, r, "asleep", map[string]any{})
	wantOK(t, r.Admin(t, http.MethodPost, "/clients/asleep/disable", nil))
	for _, test := range []struct {
		name   string
		change []string
		status int
		code   string
	}{
		{"no client_id", []string{"client_id", ""}, 400, "0"},
		{"an unknown client", []string{"client_id", "nobody"}, 404, "003-061"},
		{"a disabled client", []string{"client_id", "asleep"}, 404, "003-061"},
		{"a client id with markup", []string{"client_id", "<b>"}, 404, "003-061"},
		{"a client without codes", []string{"client_id", "demo-service", "redirect_uri", ""}, 400, "0"},
		{"no state", []string{"state", ""}, 400, "010-022"},
		{"a state of 7 characters", []string{"state", "1234567"}, 400, "010-022"},
		{"a state of 7 characters in 14 bytes", []string{"state", "ééééééé"}, 400, "010-022"},
		{"no response_type", []string{"response_type", ""}, 400, "0"},
		{"response_type token", []string{"response_type", "token"}, 400, "0"},
		{"response_type code token", []string{"response_type", "code token"}, 400, "0"},
		{"a redirect_uri not registered", []string{"redirect_uri", "https://evil.example"}, 400, "010-023"},
		{"a scope it may not have", []string{"scope", "admin"}, 422, "0"},
		{"an audience it may not have", []string{"audience", "https://api.example"}, 422, "0"},
		{"an ill-formed scope", []string{"scope", `"`}, 422, "0"},
		{"a line break in the state", []string{"state", "12345678\r\nSet-Cookie: a=b"}, 400, "0"},
		{"a password in the query", []string{"password", "wonderland"}, 400, "0"},
		{"a secret in the query", []string{"client_secret", "x"}, 400, "0"},
		{"client_id twice", []string{"client_id", "demo-web\x00demo-web"}, 400, "0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			q := apitest.CodeQuery("demo-spa", "read")
			for i := 0; i < len(test.change); i += 2 {
				q[test.change[i]] = strings.Split(test.change[i+1], "\x00")
			}
			for _, path := range []string{loginPath, registerPath} {
				wantLoginError(t, r.JSON(t, path+"?"+q.Encode(), alice), test.status, test.code)
			}
		})
	}
	t.Run("a query that cannot be read", func(t *testing.T) {
		wantLoginError(t, r.JSON(t, loginPath+"?client_id=%zz", alice), http.StatusBadRequest, "0")
	})
	t.Run("a client that may not send passwords", func(t *testing.T) {
		for _, c := range []string{"demo-web", "demo-service"} {
			wantLoginError(t, r.JSON(t, passwordPath+"?client_id="+c, alice), http.StatusUnprocessableEntity, "003-020")
		}
	})
}

// TestLoginAPIBody is what is wrong with a body, under a query that is right.
func TestLoginAPIBody(t *testing.T) {
	t.Parallel()
	r := single(t)
	long := strings.Repeat("é", 256)
	for _, test := range []struct {
		name     string
		member   string
		value    any
		login    string // code of the logins, "" if nothing is wrong for them
		register string
	}{
		{"no username", "username", nil, "0", "0"},
		{"an empty username", "username", "", "0", "0"},
		{"a username of 256 characters", "username", long, "0", "0"},
		{"a username that is a number", "username", 1, "0", "0"},
		{"a username with a line break", "username", "al\nice", "0", "0"},
		{"no password", "password", nil, "0", "0"},
		{"a password of 101 characters", "password", long[:202], "0", "0"},
		{"a password of 5 characters", "password", "12345", "003-001", "0"},
		{"a wrong password", "password", "looking-glass", "003-001", "003-003"},
		{"no email", "email", nil, "", "0"},
		{"an email that is none", "email", "alice", "", "0"},
		{"an email with a name", "email", "Alice <alice@example.com>", "", "0"},
		{"a user name that is taken", "email", "other@example.com", "", "003-003"},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := map[string]any{"username": "alice", "password": "wonderland", "email": "alice@example.com"}
			body[test.member] = test.value
			q := apitest.CodeQuery("demo-spa", "read").Encode()
			wantLoginAnswer(t, r.JSON(t, registerPath+"?"+q, body), test.register)
			wantLoginAnswer(t, r.JSON(t, loginPath+"?"+q, body), test.login)
			wantLoginAnswer(t, r.JSON(t, passwordPath+"?client_id=demo-spa", body), test.login)
		})
	}
}

// wantLoginAnswer expects the error of a code, or none.
func wantLoginAnswer(t testing.TB, a apitest.Answer, code string) {
	t.Helper()
	status := map[string]int{"0": 400, "003-001": 401, "003-003": 422}
	if code == "" {
		wantOK(t, a)
		return
	}
	wantLoginError(t, a, status[code], code)
}

// TestLoginAPIRequests is what is not JSON as it should be.
func TestLoginAPIRequests(t *testing.T) {
	t.Parallel()
	r := single(t)
	q := "?" + apitest.CodeQuery("demo-spa", "read").Encode()
	valid := `{"username":"alice","password":"wonderland"}`
	for _, test := range []struct {
		name   string
		q      request
		status int
	}{
		{"a form", request{body: "username=alice&password=wonderland"}, 400},
		{"JSON called text", request{contentType: "text/plain", body: valid}, 400},
		{"an array", request{contentType: "application/json", body: "[" + valid + "]"}, 400},
		{"null", request{contentType: "application/json", body: "null"}, 400},
		{"two objects", request{contentType: "application/json", body: valid + valid}, 400},
		{"a member twice", request{contentType: "application/json", body: `{"username":"alice","password":"wonderland","username":"bob"}`}, 400},
		{"a member twice, in another case", request{contentType: "application/json", body: `{"username":"alice","password":"wonderland","PASSWORD":"x"}`}, 400},
		{"cut off", request{contentType: "application/json", body: valid[:20]}, 400},
		{"empty", request{contentType: "application/json"}, 400},
		{"GET", request{method: http.MethodGet}, 405},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, path := range []string{loginPath, registerPath, passwordPath} {
				test.q.path = path + q
				if path == passwordPath {
					test.q.path = path + "?client_id=demo-spa"
				}
				wantLoginError(t, test.q.send(t, r.URL), test.status, "0")
			}
		})
	}
	t.Run("no such call", func(t *testing.T) {
		wantLoginError(t, request{path: "/api/oauth2/nothing"}.send(t, r.URL), http.StatusNotFound, "003-061")
	})
}

// TestLoginsLookAlike compares the answers about a name that there is and one
// that there is not.
func TestLoginsLookAlike(t *testing.T) {
	t.Parallel()
	r := single(t)
	q := "?client_id=demo-spa"
	known := r.JSON(t, passwordPath+q, map[string]string{"username": "alice", "password": "looking-glass"})
	unknown := r.JSON(t, passwordPath+q, map[string]string{"username": "nobody", "password": "looking-glass"})
	for _, a := range []apitest.Answer{known, unknown} {
		wantLoginError(t, a, http.StatusUnauthorized, "003-001")
		envelope, _ := a.JSON["error"].(map[string]any)
		delete(envelope, "details") // the request id
	}
	if !maps.Equal(known.JSON["error"].(map[string]any), unknown.JSON["error"].(map[string]any)) {
		t.Errorf("%s and %s differ", known.Body, unknown.Body)
	}
}

// TestFloodOfLogins is the bound on password hashing: what is too much is told
// to come later, and everything that hashes nothing goes on.
func TestFloodOfLogins(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: patient, Passwords: secret.PasswordConfig{
		Cost: secret.PasswordCost{Memory: 8 << 10, Time: 32, Threads: 1}, Concurrent: 1, Queue: 2,
	}})
	const flood = 24
	answers := make(chan apitest.Answer, flood)
	for i := range flood {
		go func() {
			answers <- r.JSON(t, passwordPath+"?client_id=demo-spa", map[string]string{"username": fmt.Sprintf("u%d", i), "password": "wrong-password"})
		}()
	}
	counts := map[int]int{}
	for range flood {
		a := <-answers
		counts[a.Status]++
		if a.Status == http.StatusTooManyRequests {
			wantLoginError(t, a, http.StatusTooManyRequests, "0")
			if a.Header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
			from := time.Now()
			wantOK(t, r.Token(t, apitest.DemoService, "grant_type", "client_credentials"))
			if took := time.Since(from); took > 10*time.Second {
				t.Errorf("a request that hashes nothing took %v", took)
			}
		}
	}
	if counts[429] == 0 || counts[401] == 0 || counts[429]+counts[401] != flood {
		t.Errorf("answers by status: %v", counts)
	}
	body, _ := json.Marshal(alice)
	wantOK(t, request{path: passwordPath + "?client_id=demo-spa", contentType: "application/json", body: string(body)}.send(t, r.URL))
}

// TestGuessingPasswords is RFC 6749 §10.10: after so many wrong ones an address must
// wait before it may try that name again, whatever it then tries.
func TestGuessingPasswords(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) {
		patient(s)
		s.TrustedProxies, s.FailureLimit = loopback, limit.Rate{N: 1, Per: time.Minute, Burst: 10}
	}})
	login := func(from, password string) apitest.Answer {
		body, _ := json.Marshal(map[string]string{"username": "alice", "password": password})
		return request{
			path: passwordPath + "?client_id=demo-spa", contentType: "application/json", body: string(body),
			header: []string{"X-Forwarded-For", from},
		}.send(t, r.URL)
	}
	for range 10 {
		wantOK(t, login("192.0.2.1", "wonderland")) // counts for nothing
		wantLoginError(t, login("192.0.2.1", "looking-glass"), http.StatusUnauthorized, "003-001")
	}
	for _, password := range []string{"looking-glass", "wonderland"} {
		a := login("192.0.2.1", password)
		wantLoginError(t, a, http.StatusTooManyRequests, "0")
		if a.Header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
	}
	wantOK(t, login("192.0.2.2", "wonderland"))
}
