package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/api/secret"
)

// A fake is a server that answers rightly, but for one thing.
type fake struct {
	*httptest.Server

	key, other jose.SigningKey

	mu     sync.Mutex
	wrong  string
	issued int
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{}
	for _, k := range []*jose.SigningKey{&f.key, &f.other} {
		made, err := jose.GenerateKey(jose.ES256)
		if err != nil {
			t.Fatal(err)
		}
		*k = made
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", f.metadata)
	mux.HandleFunc("GET /jwks", f.jwks)
	mux.HandleFunc("POST /token", f.token)
	mux.HandleFunc("POST /introspect", f.introspect)
	mux.HandleFunc("POST /revoke", f.revoke)
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) metadata(w http.ResponseWriter, _ *http.Request) {
	f.answer(w, http.StatusOK, map[string]any{
		"issuer": f.URL, "token_endpoint": f.URL + "/token", "introspection_endpoint": f.URL + "/introspect",
		"revocation_endpoint": f.URL + "/revoke", "jwks_uri": f.URL + "/jwks",
	})
}

func (f *fake) jwks(w http.ResponseWriter, _ *http.Request) {
	text, err := jose.MarshalJWKS([]jose.PublicKey{f.key.Public()})
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}

// is reports what is to be wrong, and gives a number of its own to each call.
func (f *fake) is() (wrong string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.issued++
	return f.wrong, f.issued
}

func (f *fake) answer(w http.ResponseWriter, status int, body any) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// brokenAtAll does what can be wrong with any answer; false means that it is right.
func (f *fake) brokenAtAll(w http.ResponseWriter, r *http.Request, wrong string) bool {
	switch wrong {
	case "status":
		f.answer(w, http.StatusInternalServerError, map[string]string{"error": "server_error", "error_description": "secret-detail"})
	case "refused":
		f.answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
	case "content type":
		w.Header().Set("Content-Type", "text/html")
		f.answer(w, http.StatusOK, map[string]string{})
	case "no object":
		f.answer(w, http.StatusOK, []int{1})
	case "closed":
		panic(http.ErrAbortHandler)
	case "silent":
		_, _ = io.Copy(io.Discard, r.Body) // then it is noticed when the client goes
		<-r.Context().Done()
	default:
		return false
	}
	return true
}

func (f *fake) token(w http.ResponseWriter, r *http.Request) {
	wrong, n := f.is()
	if wrong != "cacheable" {
		w.Header().Set("Cache-Control", "no-store")
	}
	if f.brokenAtAll(w, r, wrong) {
		return
	}
	body := map[string]any{"token_type": "Bearer", "expires_in": 3600, "scope": "read"}
	body["access_token"] = f.access(wrong, n)
	grant := r.FormValue("grant_type")
	if grant == "refresh_token" || wrong == "refresh token" {
		body["refresh_token"] = "refresh-" + strconv.Itoa(n)
	}
	if strings.HasSuffix(grant, "token-exchange") && wrong != "issued_token_type" {
		body["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token"
	}
	switch wrong {
	case "same":
		body["refresh_token"] = r.FormValue("refresh_token")
	case "token_type":
		body["token_type"] = "mac"
	case "expires_in", "access_token":
		delete(body, wrong)
	}
	f.answer(w, http.StatusOK, body)
}

// access is an access token with a claim or a signature that may be wrong.
func (f *fake) access(wrong string, n int) string {
	now := time.Now().Unix()
	c := jose.Claims{
		Issuer: f.URL, Subject: "client", Audience: []string{"api"}, Expires: now + 3600, IssuedAt: now, JTI: strconv.Itoa(n),
		ClientID: "client", Scope: jose.Scope{"read"}, ClientEpoch: 1,
	}
	key := f.key
	switch wrong {
	case "signature":
		key = f.other
	case "iss":
		c.Issuer = "https://other.example"
	case "aud":
		c.Audience = []string{"another"}
	case "exp":
		c.Expires -= 600
	case "client_id":
		c.ClientID = "another"
	case "scope":
		c.Scope = jose.Scope{"write"}
	}
	token, err := jose.Sign(key, c)
	if err != nil {
		return err.Error()
	}
	return token
}

func (f *fake) introspect(w http.ResponseWriter, r *http.Request) {
	wrong, _ := f.is()
	if wrong = strings.TrimPrefix(wrong, "introspection: "); f.brokenAtAll(w, r, wrong) {
		return
	}
	body := map[string]any{"active": true, "client_id": "client", "exp": time.Now().Unix() + 3600}
	switch wrong {
	case "inactive":
		body = map[string]any{"active": false}
	case "another client":
		body["client_id"] = "another"
	case "another end":
		body["exp"] = time.Now().Unix() + 60
	}
	f.answer(w, http.StatusOK, body)
}

func (f *fake) revoke(w http.ResponseWriter, r *http.Request) {
	if wrong, _ := f.is(); f.brokenAtAll(w, r, strings.TrimPrefix(wrong, "revocation: ")) {
		return
	}
	w.WriteHeader(http.StatusOK)
}

// set makes something wrong from now on.
func (f *fake) set(wrong string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrong = wrong
}

// run measures the fake with something wrong.
func (f *fake) run(t *testing.T, wrong string, o Operation) Report {
	t.Helper()
	cfg := short(Target{
		Issuer: f.URL, Client: Client{"client", secret.New("planted-client-secret")}, Audience: []string{"api"},
		RefreshTokens: []string{"first-a", "first-b", "first-c"},
	}, o)
	if o != Refresh {
		cfg.Target.RefreshTokens = nil
	}
	if wrong == "silent" {
		cfg.Timeout = 50 * time.Millisecond
	}
	f.set(wrong)
	report, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// TestWrongAnswers are each found and told by their kind.
func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	tests := []struct {
		operation Operation
		wrong     string
		want      ErrorCount
	}{
		{ClientCredentials, "status", ErrorCount{Kind: "status", What: "500 server_error"}},
		{ClientCredentials, "refused", ErrorCount{Kind: "status", What: "401 invalid_client"}},
		{ClientCredentials, "closed", ErrorCount{Kind: "transport", What: "connection closed"}},
		{ClientCredentials, "silent", ErrorCount{Kind: "transport", What: "timeout"}},
		{ClientCredentials, "content type", ErrorCount{Kind: "answer", What: "content type"}},
		{ClientCredentials, "cacheable", ErrorCount{Kind: "answer", What: "may be stored"}},
		{ClientCredentials, "no object", ErrorCount{Kind: "answer", What: "not a JSON object"}},
		{ClientCredentials, "access_token", ErrorCount{Kind: "answer", What: "no access_token"}},
		{ClientCredentials, "token_type", ErrorCount{Kind: "answer", What: "token_type"}},
		{ClientCredentials, "expires_in", ErrorCount{Kind: "answer", What: "expires_in"}},
		{ClientCredentials, "refresh token", ErrorCount{Kind: "answer", What: "a refresh token for client credentials"}},
		{ClientCredentials, "signature", ErrorCount{Kind: "answer", What: "signature"}},
		{ClientCredentials, "iss", ErrorCount{Kind: "answer", What: "iss of"}},
		{ClientCredentials, "aud", ErrorCount{Kind: "answer", What: "aud of"}},
		{ClientCredentials, "exp", ErrorCount{Kind: "answer", What: "exp of"}},
		{ClientCredentials, "client_id", ErrorCount{Kind: "answer", What: "client_id of"}},
		{ClientCredentials, "scope", ErrorCount{Kind: "answer", What: "scope of"}},
		{Refresh, "same", ErrorCount{Kind: "answer", What: "a refresh token that was there before"}},
		{Refresh, "status", ErrorCount{Kind: "status", What: "500 server_error"}},
		{Exchange, "issued_token_type", ErrorCount{Kind: "answer", What: "no issued_token_type"}},
		{Introspection, "introspection: inactive", ErrorCount{Kind: "answer", What: "told to be inactive"}},
		{Introspection, "introspection: another client", ErrorCount{Kind: "answer", What: "client_id"}},
		{Introspection, "introspection: another end", ErrorCount{Kind: "answer", What: "exp is"}},
		{Introspection, "introspection: content type", ErrorCount{Kind: "answer", What: "content type"}},
		{Revocation, "revocation: status", ErrorCount{Kind: "status", What: "500 server_error"}},
		{Revocation, "revocation: closed", ErrorCount{Kind: "transport", What: "connection closed"}},
	}
	for _, tt := range tests {
		report := f.run(t, tt.wrong, tt.operation)
		got := report.Runs[0].Errors
		found := slices.ContainsFunc(got, func(e ErrorCount) bool {
			return e.Kind == tt.want.Kind && strings.Contains(e.What, tt.want.What) && e.Count > 0
		})
		if failed, _ := report.Problems(); !found || failed == 0 || len(got) != 1 {
			t.Errorf("%s, %s: got %+v, want %s", tt.operation, tt.wrong, got, tt.want.What)
		}
		// What went wrong has no time, and nothing that was sent or told is shown.
		if report.Runs[0].done() != 0 && tt.wrong != "" {
			t.Errorf("%s, %s: %d are done", tt.operation, tt.wrong, report.Runs[0].done())
		}
		if text := fmt.Sprintf("%+v", report); strings.Contains(text, "secret-detail") || strings.Contains(text, "planted") {
			t.Errorf("%s, %s: a secret is shown: %s", tt.operation, tt.wrong, text)
		}
	}
}

// TestRightAnswers are those of the same server with nothing wrong.
func TestRightAnswers(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	for _, o := range []Operation{ClientCredentials, Refresh, Exchange, Introspection, Revocation} {
		report := f.run(t, "", o)
		if failed, _ := report.Problems(); failed != 0 || report.Runs[0].done() == 0 {
			t.Errorf("%s: %+v", o, report.Runs)
		}
	}
}

// TestRefusedChain is left out of what is kept, and measuring ends with the last
// one.
func TestRefusedChain(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
	}))
	t.Cleanup(s.Close)
	cfg := short(Target{Endpoints: Endpoints{Token: s.URL}, Client: Client{ID: "client"}, RefreshTokens: []string{"a", "b", "c"}}, Refresh)
	cfg.Duration, cfg.Warmup = time.Hour, time.Hour
	report, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := ErrorCount{"status", "400 invalid_grant", 3}
	if got := report.Runs[0].Errors; len(got) != 1 || got[0] != want || report.TokensRefused != 3 || len(report.RefreshTokens) != 0 {
		t.Errorf("got %+v", report)
	}
}
