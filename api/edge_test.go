package api_test

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
)

const (
	tokenPath      = "/oauth2/token"
	introspectPath = "/oauth2/introspect"
	revokePath     = "/oauth2/revoke"
	loginPath      = "/api/oauth2/login"
	registerPath   = "/api/oauth2/user"
	passwordPath   = "/api/oauth2/login/token"
)

// single is a replica on a log of its own. Its freshness bound is one that a
// loaded machine keeps; tests of the bound take the default.
func single(t *testing.T) *apitest.Replica {
	t.Helper()
	return apitest.Single(t, apitest.Options{Settings: patient})
}

func patient(s *config.Settings) { s.FreshnessBound = 20 * time.Second }

// A request is what a line of a table sends: a POST of a form to the token
// endpoint, unless it says otherwise.
type request struct {
	method, path, contentType, body string
	// header is names and values in turn.
	header []string
}

func (q request) build(t testing.TB, base string) *http.Request {
	t.Helper()
	method, path, contentType := or(q.method, http.MethodPost), or(q.path, tokenPath), or(q.contentType, "application/x-www-form-urlencoded")
	r, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(q.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	for i := 0; i < len(q.header); i += 2 {
		r.Header.Add(q.header[i], q.header[i+1])
	}
	return r
}

func (q request) send(t testing.TB, base string) apitest.Answer {
	t.Helper()
	return apitest.Do(t, q.build(t, base))
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// form encodes names and values in turn.
func form(pairs ...string) string {
	var parts []string
	for i := 0; i < len(pairs); i += 2 {
		parts = append(parts, url.QueryEscape(pairs[i])+"="+url.QueryEscape(pairs[i+1]))
	}
	return strings.Join(parts, "&")
}

func basic(c apitest.Client) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(c.ID)+":"+url.QueryEscape(c.Secret)))
}

// register creates a client. What settings leaves out is as demo-web has it.
func register(t testing.TB, r *apitest.Replica, settings map[string]any) apitest.Client {
	t.Helper()
	body := map[string]any{
		"grant_types":   []string{"authorization_code", "refresh_token"},
		"redirect_uris": []string{"http://127.0.0.1:9999/callback"},
		"scope":         []string{"read", "write"},
	}
	maps.Copy(body, settings)
	a := r.Admin(t, http.MethodPost, "/clients", body)
	if a.Status != http.StatusCreated {
		t.Fatalf("register a client: %d %s", a.Status, a.Body)
	}
	return apitest.Client{ID: a.Text("client_id"), Secret: a.Text("client_secret")}
}

// wantOK fails the test at once if an answer is not 200.
func wantOK(t testing.TB, a apitest.Answer) apitest.Answer {
	t.Helper()
	if a.Status != http.StatusOK {
		t.Fatalf("answer %d %s, want 200", a.Status, a.Body)
	}
	return a
}

// wantError expects an error of RFC 6749 §5.2.
func wantError(t testing.TB, a apitest.Answer, status int, code string) {
	t.Helper()
	if a.Status != status || a.Text("error") != code {
		t.Errorf("answer %d %s, want %d %s", a.Status, a.Body, status, code)
	}
	wantNoStore(t, a)
	wantDescription(t, a.Text("error_description"))
	if a.Text("request_id") == "" || a.Text("request_id") != a.Header.Get("X-Request-Id") {
		t.Errorf("request id %q in the body, %q in the header", a.Text("request_id"), a.Header.Get("X-Request-Id"))
	}
	challenged := status == http.StatusUnauthorized || code == "insufficient_scope"
	if challenge := a.Header.Get("WWW-Authenticate"); challenged != (challenge != "") {
		t.Errorf("status %d with WWW-Authenticate %q", status, challenge)
	}
	if status == http.StatusTooManyRequests && a.Header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
}

// wantLoginError expects the Login API's envelope, and nothing beside it.
func wantLoginError(t testing.TB, a apitest.Answer, status int, code string) {
	t.Helper()
	envelope, _ := a.JSON["error"].(map[string]any)
	got, _ := envelope["code"].(string)
	description, _ := envelope["description"].(string)
	_, details := envelope["details"].(map[string]any)
	if a.Status != status || got != code || !details || len(a.JSON) != 1 {
		t.Errorf("answer %d %s, want %d with code %s", a.Status, a.Body, status, code)
	}
	wantNoStore(t, a)
	wantDescription(t, description)
}

// wantNoStore expects what every answer of these endpoints has (RFC 6749 §5.1).
func wantNoStore(t testing.TB, a apitest.Answer) {
	t.Helper()
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control = %q", got)
	}
	if got := a.Header.Get("X-Content-Type-Options"); got != "nosniff" {
		t.Errorf("X-Content-Type-Options = %q", got)
	}
	if got := a.Header.Get("Content-Type"); len(a.Body) > 0 && got != "application/json" {
		t.Errorf("Content-Type = %q", got)
	}
}

// wantDescription expects %x20-21 / %x23-5B / %x5D-7E (RFC 6749 §5.2).
func wantDescription(t testing.TB, description string) {
	t.Helper()
	if description == "" || strings.ContainsFunc(description, func(r rune) bool {
		return r < 0x20 || r > 0x7e || r == '"' || r == '\\'
	}) {
		t.Errorf("error description %q", description)
	}
}

// wantInactive expects exactly {"active":false} (RFC 7662 §2.2).
func wantInactive(t testing.TB, r *apitest.Replica, c apitest.Client, token string) {
	t.Helper()
	a := r.Post(t, introspectPath, c, "token", token)
	if got := strings.TrimSpace(string(a.Body)); a.Status != http.StatusOK || got != `{"active":false}` {
		t.Errorf("introspection: %d %s", a.Status, got)
	}
	wantNoStore(t, a)
}

// wantDead expects that an access token is refused within a second, the default
// bound (I4): a request that is sent later than that never finds it active, and
// some request does find it inactive.
func wantDead(t testing.TB, r *apitest.Replica, token string, since time.Time) {
	t.Helper()
	for deadline := since.Add(time.Second); ; {
		late := time.Now().After(deadline)
		a := r.Post(t, introspectPath, apitest.DemoService, "token", token)
		switch {
		case a.Status == http.StatusServiceUnavailable:
		case a.JSON["active"] == false:
			return
		case late:
			t.Fatalf("still active after the bound: %d %s", a.Status, a.Body)
		}
	}
}

// wantEvents expects the types of a grant's events.
func wantEvents(t testing.TB, r *apitest.Replica, grant string, want ...string) {
	t.Helper()
	if got := r.Events(t, grant); !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

// What happens to a grant, as the log has it.
const (
	opened   = "grant.opened.v1"
	redeemed = "code.redeemed.v1"
	rotated  = "refresh_token.rotated.v1"
	repeated = "refresh_token.repeated.v1"
	revoked  = "grant.revoked.v1"
)
