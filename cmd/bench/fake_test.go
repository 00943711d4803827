package bench

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
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
	// presented are refresh tokens, as often as they were.
	presented map[string]int
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{presented: map[string]int{}}
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
	switch wrong, _ := f.is(); wrong {
	case "no keys":
		w.WriteHeader(http.StatusNotFound)
		return
	case "large keys":
		_, _ = io.WriteString(w, `{"keys":[],"x":"`+strings.Repeat("x", maxBody)+`"}`)
		return
	}
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
	case "unavailable":
		f.answer(w, http.StatusServiceUnavailable, map[string]string{"error": "temporarily_unavailable"})
	case "refused":
		f.answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
	case "content type":
		w.Header().Set("Content-Type", "text/html")
		f.answer(w, http.StatusOK, map[string]string{})
	case "no object":
		f.answer(w, http.StatusOK, []int{1})
	case "odd code":
		f.answer(w, http.StatusBadRequest, map[string]string{"error": "secret-detail\n"})
	case "large header":
		w.Header().Set("X-Large", strings.Repeat("x", 100_000))
		f.answer(w, http.StatusOK, map[string]string{})
	case "unreadable header":
		unreadable(w)
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

// unreadable answers with what no HTTP client can read.
func unreadable(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 secret-detail\r\nsecret-detail\r\n\r\n")
}

func (f *fake) token(w http.ResponseWriter, r *http.Request) {
	wrong, n := f.is()
	if token := r.FormValue("refresh_token"); token != "" {
		f.mu.Lock()
		f.presented[token]++
		again := f.presented[token] > 1
		f.mu.Unlock()
		if wrong == "lost once" && !again {
			panic(http.ErrAbortHandler)
		}
	}
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
	case "no refresh token":
		delete(body, "refresh_token")
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
	w.Header().Set("Cache-Control", "no-store")
	body := map[string]any{"active": true, "client_id": "client", "exp": time.Now().Unix() + 3600}
	switch wrong {
	case "inactive":
		body = map[string]any{"active": false}
	case "another client":
		body["client_id"] = "another"
	case "no exp", "no client_id":
		delete(body, strings.TrimPrefix(wrong, "no "))
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

// noEvents is an admin API that knows none.
func noEvents(context.Context, string, any, url.Values, ...string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("{}")), nil
}

// run measures the fake with something wrong, as a Chancery or as another server.
func (f *fake) run(t *testing.T, wrong string, o Operation, chancery bool) Report {
	t.Helper()
	cfg := short(Target{
		Issuer: f.URL, Client: Client{"client", secret.New("planted-client-secret")}, Audience: []string{"api"},
		RefreshTokens: []string{"first-a", "first-b", "first-c"},
	}, o)
	if o != Refresh {
		cfg.Target.RefreshTokens = nil
	}
	if chancery {
		cfg.Target.Admin = noEvents
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
