package apitest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/events"
)

// PKCE of RFC 7636 appendix B.
const (
	Verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	Challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// An Answer is what a server said.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	// JSON is the body, if it is an object.
	JSON map[string]any
}

// Text is a member of the body that is a text, or empty.
func (a Answer) Text(name string) string {
	text, _ := a.JSON[name].(string)
	return text
}

// A browser would follow redirects; tests look at them.
var transport = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// Do sends a request and reads its answer, also if that is a redirect. It may be called from any
// goroutine; where there is no answer the test has failed, and it is zero.
func Do(t testing.TB, r *http.Request) Answer {
	t.Helper()
	response, err := transport.Do(r) //nolint:gosec // to the test's own server
	if err != nil {
		t.Error(err)
		return Answer{}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
		return Answer{}
	}
	a := Answer{Status: response.StatusCode, Header: response.Header, Body: body}
	_ = json.Unmarshal(body, &a.JSON) // not all answers are objects
	return a
}

// A Client is how requests authenticate.
type Client struct{ ID, Secret string }

// The demonstration clients.
var (
	DemoService = Client{"demo-service", authority.DemoServiceSecret}
	DemoWeb     = Client{"demo-web", authority.DemoWebSecret}
	DemoPartner = Client{"demo-partner", authority.DemoPartnerSecret}
	DemoSPA     = Client{ID: "demo-spa"}
	DemoCLI     = Client{ID: authority.DemoCLI}
)

// Post sends a form to a path of the public listener: with Basic if the client
// has a secret, with its client_id in the body otherwise.
func (r *Replica) Post(t testing.TB, path string, c Client, pairs ...string) Answer {
	t.Helper()
	form := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		form.Add(pair[0], pair[1])
	}
	if c.ID != "" && c.Secret == "" {
		form.Set("client_id", c.ID)
	}
	request := newRequest(t, http.MethodPost, r.URL+path, "application/x-www-form-urlencoded", form.Encode())
	if c.Secret != "" {
		request.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
	}
	return Do(t, request)
}

// Token sends a token request.
func (r *Replica) Token(t testing.TB, c Client, pairs ...string) Answer {
	t.Helper()
	return r.Post(t, "/oauth2/token", c, pairs...)
}

// Refresh sends a refresh.
func (r *Replica) Refresh(t testing.TB, c Client, token string, pairs ...string) Answer {
	t.Helper()
	return r.Token(t, c, append([]string{"grant_type", "refresh_token", "refresh_token", token}, pairs...)...)
}

// Exchange redeems a code that Login gave.
func (r *Replica) Exchange(t testing.TB, c Client, code string, pairs ...string) Answer {
	t.Helper()
	return r.Token(t, c, append([]string{
		"grant_type", "authorization_code", "code", code,
		"redirect_uri", authority.DemoRedirect, "code_verifier", Verifier,
	}, pairs...)...)
}

// Active introspects a token as the demonstration service.
func (r *Replica) Active(t testing.TB, token string) bool {
	t.Helper()
	a := r.Post(t, "/oauth2/introspect", DemoService, "token", token)
	if a.Status != http.StatusOK {
		t.Fatalf("introspect: %d %s", a.Status, a.Body)
	}
	active, _ := a.JSON["active"].(bool)
	return active
}

// JSON sends a JSON body to a path of the public listener.
func (r *Replica) JSON(t testing.TB, path string, body any) Answer {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return Do(t, newRequest(t, http.MethodPost, r.URL+path, "application/json", string(text)))
}

// CodeQuery is the query of a Login API call for a code, with PKCE.
func CodeQuery(client, scope string) url.Values {
	return url.Values{
		"client_id": {client}, "response_type": {"code"}, "state": {"a-state-of-16-ch"}, "scope": {scope},
		"redirect_uri": {authority.DemoRedirect}, "code_challenge": {Challenge}, "code_challenge_method": {"S256"},
	}
}

// Login logs the demonstration user in at a client and gives the code.
func (r *Replica) Login(t testing.TB, c Client, scope string) string {
	t.Helper()
	return CodeOf(t, r.LoginAnswer(t, c, scope))
}

// LoginAnswer is the answer to Login, whatever it is.
func (r *Replica) LoginAnswer(t testing.TB, c Client, scope string) Answer {
	t.Helper()
	return r.LoginWith(t, CodeQuery(c.ID, scope))
}

// LoginWith logs the demonstration user in with a query of one's own.
func (r *Replica) LoginWith(t testing.TB, query url.Values) Answer {
	t.Helper()
	return r.JSON(t, "/api/oauth2/login?"+query.Encode(), map[string]string{
		"username": authority.DemoUser, "password": authority.DemoPassword,
	})
}

// CodeOf is the code in the login_url of an answer.
func CodeOf(t testing.TB, a Answer) string {
	t.Helper()
	u, err := url.Parse(a.Text("login_url"))
	if err != nil || a.Status != http.StatusOK || u.Query().Get("code") == "" {
		t.Fatalf("no code: %d %s", a.Status, a.Body)
	}
	return u.Query().Get("code")
}

// Tokens logs in and gives the tokens of a fresh grant.
func (r *Replica) Tokens(t testing.TB, c Client, scope string) Answer {
	t.Helper()
	a := r.Exchange(t, c, r.Login(t, c, scope))
	if a.Status != http.StatusOK {
		t.Fatalf("exchange: %d %s", a.Status, a.Body)
	}
	return a
}

// Admin sends a request to the admin API. A nil body is none.
func (r *Replica) Admin(t testing.TB, method, path string, body any) Answer {
	t.Helper()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	request := newRequest(t, method, r.AdminURL+"/admin/v1"+path, "application/json", string(text))
	request.Header.Set("Authorization", "Bearer "+AdminKey)
	return Do(t, request)
}

// WholeEvents are all events, or those that the filters find (names and values
// in turn), as they are in the log: a line of JSON each.
func (r *Replica) WholeEvents(t testing.TB, filters ...string) []byte {
	t.Helper()
	q := url.Values{"format": {"ndjson"}, "data": {"true"}}
	for i := 0; i < len(filters); i += 2 {
		q.Set(filters[i], filters[i+1])
	}
	var lines []byte
	for line := range bytes.Lines(r.Admin(t, http.MethodGet, "/events?"+q.Encode(), nil).Body) {
		var e struct{ Event json.RawMessage }
		if err := json.Unmarshal(line, &e); err != nil || e.Event == nil {
			t.Fatalf("%s: %v", line, err)
		}
		lines = append(append(lines, e.Event...), '\n')
	}
	return lines
}

// Events are the types of the events on a grant's subject, in order.
func (r *Replica) Events(t testing.TB, grant string) []string {
	t.Helper()
	id, err := events.ParseGrantID(grant)
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := r.Log.After(t.Context(), r.Log.Realm().GrantSubject(id), 0)
	if err != nil {
		t.Fatal(err)
	}
	types := make([]string, len(recorded))
	for i, e := range recorded {
		types[i] = e.Fact.Type()
	}
	return types
}

// GrantOf is the id of the grant of an access token.
func (r *Replica) GrantOf(t testing.TB, accessToken string) string {
	t.Helper()
	a := r.Post(t, "/oauth2/introspect", DemoService, "token", accessToken)
	if a.Text("grant") == "" {
		t.Fatalf("no grant: %d %s", a.Status, a.Body)
	}
	return a.Text("grant")
}

func newRequest(t testing.TB, method, target, contentType, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	return r
}

// Claims are those of an access token, not verified.
func Claims(t testing.TB, accessToken string) map[string]any {
	t.Helper()
	parts := strings.Split(accessToken, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %d parts", len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}
