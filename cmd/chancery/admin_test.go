package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const adminKey = "the-admin-key"

// fakeAdmin answers one call of the admin API and remembers it.
type fakeAdmin struct {
	status int
	answer string

	calls []call
}

type call struct {
	Request string
	Body    map[string]any
}

func (f *fakeAdmin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := call{Request: r.Method + " " + r.URL.RequestURI()}
	if r.Header.Get("Authorization") != "Bearer "+adminKey {
		c.Request = "unauthorized"
	}
	if text, _ := io.ReadAll(r.Body); len(text) > 0 {
		if err := json.Unmarshal(text, &c.Body); err != nil {
			c.Request = err.Error()
		}
	}
	f.calls = append(f.calls, c)
	w.WriteHeader(f.status)
	fmt.Fprint(w, f.answer)
}

// ask runs the program against f.
func (f *fakeAdmin) ask(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	t.Setenv("CHANCERY_ADMIN_URL", server.URL)
	t.Setenv("CHANCERY_ADMIN_KEY_FILE", writeFile(t, "admin-key", adminKey+"\n"))
	return chancery(t, args...)
}

const someClient = `{"client_id":"web","client_name":"The web","grant_types":["authorization_code"],
	"redirect_uris":["https://app.example/cb"],"scope":["read","write"],"refresh_token_retry_window":0,
	"secrets":[{"id":"s1"}],"created_at":"2026-11-22T10:00:00Z","updated_at":"2026-11-22T10:00:00Z"}`

func TestAdminCommands(t *testing.T) {
	tests := map[string]struct {
		args   []string
		answer string
		want   []call
		prints []string
	}{
		"create": {
			[]string{
				"client", "create", "web", "--name", "The web", "--grant-type", "authorization_code,refresh_token",
				"--redirect-uri", "https://app.example/a,b", "--redirect-uri", "https://app.example/c", "--scope", "read write",
				"--allowed-origin", "https://app.example", "--allowed-origin", "http://localhost:3000",
				"--retry-window", "0", "--access-token-lifetime", "5m", "--require-pkce",
				"--post-logout-redirect-uri", "https://app.example/bye", "--backchannel-logout-uri", "https://app.example/logout",
				"--backchannel-logout-session-required",
			},
			`{"client_id":"web","client_secret":"shown-once"}`,
			[]call{{"POST /admin/v1/clients", map[string]any{
				"client_id": "web", "client_name": "The web", "grant_types": list("authorization_code", "refresh_token"),
				"redirect_uris":   list("https://app.example/a,b", "https://app.example/c"),
				"allowed_origins": list("https://app.example", "http://localhost:3000"), "scope": list("read", "write"),
				"refresh_token_retry_window": 0.0, "access_token_lifetime": 300.0, "require_pkce": true,
				"post_logout_redirect_uris": list("https://app.example/bye"), "backchannel_logout_uri": "https://app.example/logout",
				"backchannel_logout_session_required": true,
			}}},
			[]string{"client_secret", "shown-once"},
		},
		"create for token exchange": {
			[]string{
				"client", "create", "gateway", "--grant-type", exchangeGrant, "--exchange-delegation", "--exchange-max-depth", "2",
				"--exchange-audience", "ledger files", "--exchange-may-act", "batch",
			},
			`{"client_id":"gateway","token_exchange":{"delegation":true,"audiences":["ledger","files"],"max_depth":2,"may_act":"batch"}}`,
			[]call{{"POST /admin/v1/clients", map[string]any{
				"client_id": "gateway", "grant_types": list(exchangeGrant), "token_exchange": map[string]any{
					"delegation": true, "audiences": list("ledger", "files"), "max_depth": 2.0, "may_act": "batch",
				},
			}}},
			[]string{"delegation, depth 2, to ledger files, then only batch"},
		},
		"update of token exchange": {
			[]string{"client", "update", "gateway", "--no-exchange-delegation", "--exchange-impersonation", "--exchange-audience", ""},
			`{"client_id":"gateway","token_exchange":{"delegation":true,"audiences":["ledger"]}}`,
			[]call{{"GET /admin/v1/clients/gateway", nil}, {"PUT /admin/v1/clients/gateway", map[string]any{
				"token_exchange": map[string]any{"impersonation": true},
			}}},
			[]string{"gateway"},
		},
		"create with pairwise subjects": {
			[]string{"client", "create", "web", "--subject-type", "pairwise", "--sector-identifier", "web.example"},
			`{"client_id":"web","subject_type":"pairwise","sector_identifier":"web.example"}`,
			[]call{{"POST /admin/v1/clients", map[string]any{
				"client_id": "web", "subject_type": "pairwise", "sector_identifier": "web.example",
			}}},
			[]string{"pairwise", "web.example"},
		},
		"create without id": {
			[]string{"client", "create", "--public"},
			`{"client_id":"made-up","public":true}`,
			[]call{{"POST /admin/v1/clients", map[string]any{"public": true}}},
			[]string{"made-up", "public"},
		},
		"list": {
			[]string{"client", "list"},
			`{"clients":[` + someClient + `]}`,
			[]call{{"GET /admin/v1/clients", nil}},
			[]string{"CLIENT", "web", "The web", "confidential", "enabled", "read write"},
		},
		"show": {
			[]string{"client", "show", "web"},
			someClient,
			[]call{{"GET /admin/v1/clients/web", nil}},
			[]string{"web", "The web", "https://app.example/cb", "s1", "2026-11-22T10:00:00Z"},
		},
		"update": {
			[]string{"client", "update", "web", "--scope", "", "--no-public", "--retry-window", "default"},
			someClient,
			[]call{{"GET /admin/v1/clients/web", nil}, {"PUT /admin/v1/clients/web", map[string]any{
				"client_name": "The web", "grant_types": list("authorization_code"), "redirect_uris": list("https://app.example/cb"),
			}}},
			[]string{"web"},
		},
		"disable":     {[]string{"client", "disable", "web"}, someClient, []call{{"POST /admin/v1/clients/web/disable", nil}}, []string{"web disabled"}},
		"enable":      {[]string{"client", "enable", "web"}, someClient, []call{{"POST /admin/v1/clients/web/enable", nil}}, []string{"web enabled"}},
		"cut-off":     {[]string{"client", "cut-off", "web"}, someClient, []call{{"POST /admin/v1/clients/web/cut-off", nil}}, []string{"web cut off"}},
		"secret add":  {[]string{"client", "secret", "add", "web"}, `{"id":"s2","secret":"shh"}`, []call{{"POST /admin/v1/clients/web/secrets", nil}}, []string{"s2", "shh"}},
		"secret drop": {[]string{"client", "secret", "drop", "web", "s1"}, "", []call{{"DELETE /admin/v1/clients/web/secrets/s1", nil}}, []string{"s1 of web dropped"}},
		"user show": {
			[]string{"user", "show", "u1"},
			`{"user_id":"u1","username":"alice","deleted":false,"epoch":3,"sessions":2,"grants":7}`,
			[]call{{"GET /admin/v1/users/u1", nil}},
			[]string{"alice", "active", "7"},
		},
		"user show by name": {
			[]string{"user", "show", "--username", "white rabbit"},
			`{"users":[{"user_id":"u1","username":"white rabbit","disabled":true}]}`,
			[]call{{"GET /admin/v1/users?username=white+rabbit", nil}},
			[]string{"u1", "disabled"},
		},
		"user create": {
			[]string{"user", "create", "alice", "--email", "a@example.com", "--no-password"},
			`{"user_id":"u1","username":"alice"}`,
			[]call{{"POST /admin/v1/users", map[string]any{"username": "alice", "email": "a@example.com"}}},
			[]string{"u1"},
		},
		"user sessions": {
			[]string{"user", "sessions", "u1"},
			`{"sessions":[{"session_id":"s1","auth_time":1767323045,"exp":1767326645,"amr":["pwd"],"user_agent":"a\u001bb"}]}`,
			[]call{{"GET /admin/v1/users/u1/sessions", nil}},
			[]string{"s1", "2026-01-02T03:04:05Z", "pwd", `a\x1bb`},
		},
		"user sessions, end one": {
			[]string{"user", "sessions", "u1", "--end", "s1"},
			"",
			[]call{{"DELETE /admin/v1/users/u1/sessions/s1", nil}},
			[]string{"s1 ended"},
		},
		"user erase": {
			[]string{"user", "erase", "u1"},
			`{"user_id":"u1","erased":true,"stream":"MAIN_REGISTRY","seq":42}`,
			[]call{{"DELETE /admin/v1/users/u1", nil}},
			[]string{"u1 erased", "MAIN_REGISTRY 42"},
		},
		"user erase, by name": {
			[]string{"user", "erase", "--username", "alice"},
			`{"users":[{"user_id":"u1"}],"user_id":"u1","erased":true,"stream":"MAIN_REGISTRY","seq":42}`,
			[]call{{"GET /admin/v1/users?username=alice", nil}, {"DELETE /admin/v1/users/u1", nil}},
			[]string{"u1 erased"},
		},
		"user show, erased": {
			[]string{"user", "show", "u1"},
			`{"user_id":"u1","deleted":true,"erased":true}`,
			[]call{{"GET /admin/v1/users/u1", nil}},
			[]string{"state       erased"},
		},
		"user delete, its other name": {
			[]string{"user", "delete", "u1"},
			`{"user_id":"u1","erased":true,"stream":"MAIN_REGISTRY","seq":42}`,
			[]call{{"DELETE /admin/v1/users/u1", nil}},
			[]string{"u1 erased"},
		},
		"user cut-off": {[]string{"user", "cut-off", "u1"}, "{}", []call{{"POST /admin/v1/users/u1/cut-off", nil}}, []string{"u1 cut off"}},
		"user disable": {[]string{"user", "disable", "u1"}, "{}", []call{{"POST /admin/v1/users/u1/disable", nil}}, []string{"u1 disabled"}},
		"user enable":  {[]string{"user", "enable", "u1"}, "{}", []call{{"POST /admin/v1/users/u1/enable", nil}}, []string{"u1 enabled"}},
		"grant show": {
			[]string{"grant", "show", "00ff"},
			`{"id":"` + strings.Repeat("0", 32) + `","seq":7,"client":"web","user":"u1","revoked_reason":"code_reuse"}`,
			[]call{{"GET /admin/v1/grants/00ff", nil}},
			[]string{"revoked: code_reuse", "web", "u1", "7"},
		},
		"grant revoke": {[]string{"grant", "revoke", "00ff"}, "{}", []call{{"POST /admin/v1/grants/00ff/revoke", nil}}, []string{"00ff revoked"}},
		"status": {
			[]string{"status"},
			`{"issuer":"https://auth.example","realm":"main","reason":"draining","clock_skew_ms":3,"projector":[{"stream":"MAIN_EVENTS_0","head":9,"position":8,"lag_seconds":1.5,"hash":"` + strings.Repeat("ab", 32) + `"}]}`,
			[]call{{"GET /admin/v1/status", nil}},
			[]string{"not ready: draining", "MAIN_EVENTS_0", "8", "9", "1.5s", "abababababab "},
		},
		"status with a warning": {
			[]string{"status"},
			`{"issuer":"https://auth.example","realm":"main","ready":true,"warnings":["only 25 are left"]}`,
			[]call{{"GET /admin/v1/status", nil}},
			[]string{"only 25 are left"},
		},
		"key list": {
			[]string{"key", "list"},
			`{"keys":[{"id":"mac-1","use":"mac","mac_key":1,"state":"active","changed_at":"2026-11-22T10:00:00Z","encrypted_with":"k1"},{"id":"AbC","use":"sig","alg":"ES256","state":"announced","changed_at":"2026-11-22T10:00:00Z","encrypted_with":"k2","next":{"action":"activate","at":"2026-11-23T10:00:00Z"}}],"next":[{"action":"announce","at":"2027-02-19T10:00:00Z","use":"mac"}],"mac_keys_left":254,"encryption":{"active":"k2","known":["k1","k2"],"client_secrets":{"k1":3},"stores":["keys"]}}`,
			[]call{{"GET /admin/v1/keys", nil}},
			[]string{"mac-1", "ES256", "activate 2026-11-23T10:00:00Z", "announce 2027-02-19T10:00:00Z", "254 of 255", "k2 is active", "key k1: 3"},
		},
		"key rotate": {
			[]string{"key", "rotate", "--alg", "ES256", "--now"},
			`{"id":"AbC","use":"sig","alg":"ES256","state":"active"}`,
			[]call{{"POST /admin/v1/keys", map[string]any{"use": "sig", "alg": "ES256", "now": true}}},
			[]string{"AbC (ES256) active"},
		},
		"key announce": {
			[]string{"key", "announce", "--mac"},
			`{"id":"mac-2","use":"mac","state":"announced"}`,
			[]call{{"POST /admin/v1/keys", map[string]any{"use": "mac", "alg": "", "now": false}}},
			[]string{"mac-2 (MAC) announced"},
		},
		"key activate": {
			[]string{"key", "activate", "AbC", "--now"},
			`{"id":"AbC","use":"sig","alg":"ES256","state":"active"}`,
			[]call{{"POST /admin/v1/keys/AbC/activate", map[string]any{"now": true}}},
			[]string{"AbC (ES256) active"},
		},
		"key retire": {
			[]string{"key", "retire", "AbC"},
			`{"id":"AbC","use":"sig","alg":"ES256","state":"retired"}`,
			[]call{{"POST /admin/v1/keys/AbC/retire", nil}},
			[]string{"AbC (ES256) retired"},
		},
		"key drop, counted": {
			[]string{"key", "drop", "mac-1", "--dry-run"},
			`{"id":"mac-1","use":"mac","state":"active","grants":12,"sessions":3}`,
			[]call{{"POST /admin/v1/keys/mac-1/drop", map[string]any{"dry_run": true}}},
			[]string{"refresh tokens of 12 grants, and 3 sessions"},
		},
		"key drop": {
			[]string{"key", "drop", "AbC", "--yes"},
			`{"id":"AbC","use":"sig","alg":"ES256","state":"dropped","access_tokens":40}`,
			[]call{{"POST /admin/v1/keys/AbC/drop", map[string]any{"dry_run": true}}, {"POST /admin/v1/keys/AbC/drop", nil}},
			[]string{"40 access tokens", "AbC (ES256) dropped"},
		},
		"ids are escaped": {
			[]string{"client", "show", "a/../b?c"},
			someClient,
			[]call{{"GET /admin/v1/clients/a%2F..%2Fb%3Fc", nil}},
			[]string{"web"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := &fakeAdmin{status: http.StatusOK, answer: tt.answer}
			out, errs, status := f.ask(t, tt.args...)
			if status != exitOK {
				t.Fatalf("status %d: %s", status, errs)
			}
			if !reflect.DeepEqual(f.calls, tt.want) {
				t.Errorf("called %v, want %v", f.calls, tt.want)
			}
			for _, want := range tt.prints {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
		})
	}
}

const exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"

func list(items ...any) []any { return items }

func TestJSONOutput(t *testing.T) {
	f := &fakeAdmin{status: http.StatusOK, answer: someClient}
	out, errs, status := f.ask(t, "client", "show", "web", "--json")
	var got, want any
	if err := json.Unmarshal([]byte(out), &got); status != exitOK || err != nil {
		t.Fatalf("status %d, %v: %s%s", status, err, out, errs)
	}
	_ = json.Unmarshal([]byte(someClient), &want)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestErrorsGoToStderr(t *testing.T) {
	tests := map[string]struct {
		status       int
		answer, want string
	}{
		"the API's":    {404, `{"error":"not_found","error_description":"no such client","request_id":"R1"}`, "chancery: no such client (not_found, request R1)\n"},
		"a proxy's":    {502, "<html>", "chancery: Bad Gateway (502)\n"},
		"a redirect":   {302, "", "chancery: Found (302)\n"},
		"a terminal's": {400, `{"error":"x","error_description":"a\u001b[2Jb"}`, `a\x1b[2Jb`},
		"no JSON":      {200, "hello", "chancery: reading the answer"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := &fakeAdmin{status: tt.status, answer: tt.answer}
			out, errs, status := f.ask(t, "client", "show", "web")
			if status != exitFailure || out != "" || !strings.Contains(errs, tt.want) {
				t.Errorf("status %d, stdout %q, stderr %q; want %q", status, out, errs, tt.want)
			}
		})
	}
}

func TestAdminKey(t *testing.T) {
	f := &fakeAdmin{status: http.StatusOK, answer: `{"clients":[]}`}
	server := httptest.NewServer(f)
	defer server.Close()
	data := t.TempDir()
	args := []string{"client", "list", "--admin-url", server.URL, "--data", data}

	if _, errs, status := chancery(t, args...); status != exitFailure || !strings.Contains(errs, "no admin key") {
		t.Errorf("without a key: status %d, %s", status, errs)
	}
	t.Setenv("CHANCERY_ADMIN_KEY", adminKey)
	if _, errs, status := chancery(t, args...); status != exitOK {
		t.Errorf("from the environment: status %d, %s", status, errs)
	}
	if _, _, status := chancery(t, "client", "list", "--admin-url", "127.0.0.1:8081"); status != exitFailure {
		t.Errorf("an address that is no URL: status %d", status)
	}
	for _, c := range f.calls {
		if c.Request != "GET /admin/v1/clients" {
			t.Errorf("called %v", c)
		}
	}
}

const (
	firstEvent  = `{"stream":"MAIN_EVENTS_0","seq":7,"time":"2026-11-22T10:00:00Z","type":"grant.opened.v1","outcome":"done","client":"w\u001beb","grant":"00ff"}`
	secondEvent = `{"stream":"MAIN_EVENTS_0","seq":8,"time":"2026-11-22T10:00:01Z","type":"request.refused.v1","outcome":"refused","reason":"invalid_code","count":3}`
	twoEvents   = firstEvent + "\n" + secondEvent + "\n"
)

func TestAuditTail(t *testing.T) {
	f := &fakeAdmin{status: http.StatusOK, answer: twoEvents}
	out, errs, status := f.ask(t, "audit", "tail", "--grant", "00ff", "--type", "grant.*,code", "--since", "2026-11-22T09:00:00+01:00", "--whole")
	if status != exitOK {
		t.Fatalf("status %d: %s", status, errs)
	}
	want := "GET /admin/v1/events?data=true&follow=true&format=ndjson&grant=00ff&since=2026-11-22T08%3A00%3A00Z&type=grant.%2A%2Ccode"
	if got := f.calls[0].Request; got != want {
		t.Errorf("called %q, want %q", got, want)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "grant=00ff") || !strings.HasSuffix(lines[1], "refused x3 reason=invalid_code") {
		t.Errorf("printed %q", out)
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("an escape character reaches the terminal: %q", out)
	}
}

// TestAuditList pages on until there is enough.
func TestAuditList(t *testing.T) {
	f := &fakeAdmin{status: http.StatusOK, answer: `{"events":[` + firstEvent + `,` + secondEvent + `],"next":"c1"}`}
	out, errs, status := f.ask(t, "audit", "list", "-n", "5", "--oldest", "--json", "--address", "::ffff:192.0.2.1", "--client", "web")
	if status != exitOK || out != twoEvents+twoEvents+twoEvents {
		t.Errorf("status %d: %s\n%s", status, errs, out)
	}
	for i, want := range []string{
		"GET /admin/v1/events?address=%3A%3Affff%3A192.0.2.1&client=web&limit=5&order=oldest",
		"GET /admin/v1/events?address=%3A%3Affff%3A192.0.2.1&client=web&cursor=c1&limit=3&order=oldest",
		"GET /admin/v1/events?address=%3A%3Affff%3A192.0.2.1&client=web&cursor=c1&limit=1&order=oldest",
	} {
		if len(f.calls) != 3 || f.calls[i].Request != want {
			t.Fatalf("call %d: %v, want %s", i, f.calls, want)
		}
	}
	if _, errs, status := f.ask(t, "audit", "list", "--since", "yesterday"); status != exitFailure || !strings.Contains(errs, "neither") {
		t.Errorf("a bad time: status %d, %s", status, errs)
	}
}

func TestAuditShow(t *testing.T) {
	f := &fakeAdmin{status: http.StatusOK, answer: secondEvent}
	if out, errs, status := f.ask(t, "audit", "show", "MAIN_EVENTS_0", "8"); status != exitOK || !strings.Contains(out, `"reason": "invalid_code"`) {
		t.Errorf("status %d: %s\n%s", status, errs, out)
	}
	if got, want := f.calls[0].Request, "GET /admin/v1/events/MAIN_EVENTS_0/8"; got != want {
		t.Errorf("called %q, want %q", got, want)
	}
}

func TestAuditExport(t *testing.T) {
	file := filepath.Join(t.TempDir(), "events")
	f := &fakeAdmin{status: http.StatusOK, answer: twoEvents}
	for i, test := range []struct{ args, format string }{{"", "ndjson"}, {"--format csv", "csv"}} {
		if out, errs, status := f.ask(t, append([]string{"audit", "export"}, strings.Fields(test.args)...)...); status != exitOK || out != twoEvents {
			t.Errorf("status %d: %s\n%s", status, errs, out)
		}
		if got, want := f.calls[i].Request, "GET /admin/v1/events?format="+test.format; got != want {
			t.Errorf("called %q, want %q", got, want)
		}
	}
	if out, errs, status := f.ask(t, "audit", "export", "-o", file); status != exitOK || out != "" {
		t.Errorf("status %d: %s\n%s", status, errs, out)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != twoEvents {
		t.Errorf("the file has %q, %v", text, err)
	}
	if _, errs, status := f.ask(t, "audit", "export", "-o", file); status != exitFailure || !strings.Contains(errs, "exists") {
		t.Errorf("over a file: status %d, %s", status, errs)
	}
}

func TestEventsCutShort(t *testing.T) {
	f := &fakeAdmin{status: http.StatusOK, answer: twoEvents + `{"error":"server_error","error_description":"the log could not be read further","request_id":"R2"}` + "\n"}
	out, errs, status := f.ask(t, "audit", "export")
	if status != exitFailure || out != twoEvents || !strings.Contains(errs, "cut short: the log could not be read further (server_error, request R2)") {
		t.Errorf("status %d: %q\n%q", status, errs, out)
	}
}

// TestUserCreateReadsThePassword from stdin, its first line as it is.
func TestUserCreateReadsThePassword(t *testing.T) {
	for stdin, want := range map[string]string{
		"six ears\n": "six ears", "six ears": "six ears", " spaced \r\nnext\n": " spaced ", "": "", "\n": "",
	} {
		f := &fakeAdmin{status: http.StatusCreated, answer: `{"user_id":"u1"}`}
		server := httptest.NewServer(f)
		t.Cleanup(server.Close)
		t.Setenv("CHANCERY_ADMIN_URL", server.URL)
		t.Setenv("CHANCERY_ADMIN_KEY_FILE", writeFile(t, "admin-key", adminKey+"\n"))
		stdout, stderr, status := chanceryReading(t, stdin, "user", "create", "alice")
		if want == "" {
			if status != exitFailure || len(f.calls) != 0 {
				t.Errorf("%q: status %d, calls %v", stdin, status, f.calls)
			}
			continue
		}
		if status != exitOK || len(f.calls) != 1 || f.calls[0].Body["password"] != want {
			t.Errorf("%q: status %d, calls %v: %s", stdin, status, f.calls, stderr)
		}
		if strings.Contains(stdout+stderr, want) {
			t.Errorf("%q is printed: %s%s", want, stdout, stderr)
		}
	}
}
