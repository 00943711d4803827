package api_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// TestNoLog is CVE-2020-15223: with the log gone nothing is accepted, nothing
// is reported as done, and nothing is said about any token (I4, I7; RFC 7009
// §2.2.1). Writes that are lost in the middle are in faults_test.go.
func TestNoLog(t *testing.T) {
	t.Parallel()
	const codeExchange = "code exchange"
	node := embeddedtest.Single(t)
	r := apitest.Start(t, node.Conn(), apitest.Options{RequestTimeout: 2 * time.Second})
	r.Seed(t)
	tokens := r.Tokens(t, apitest.DemoWeb, "read offline_access")
	access, refresh := tokens.Text("access_token"), tokens.Text("refresh_token")
	code := r.Login(t, apitest.DemoWeb, "read")
	node.Stop()
	embeddedtest.Eventually(t, "the proof of freshness to grow old", func() bool {
		return request{method: http.MethodGet, path: "/health/ready"}.send(t, r.AdminURL).Status == http.StatusServiceUnavailable
	})

	post := func(path string, c apitest.Client, pairs ...string) func() apitest.Answer {
		return func() apitest.Answer { return r.Post(t, path, c, pairs...) }
	}
	admin := func(method, path string) func() apitest.Answer {
		return func() apitest.Answer { return r.Admin(t, method, path, nil) }
	}
	var done sync.WaitGroup
	for name, send := range map[string]func() apitest.Answer{
		"refresh":                    post(tokenPath, apitest.DemoWeb, "grant_type", "refresh_token", "refresh_token", refresh),
		"client credentials":         post(tokenPath, apitest.DemoService, "grant_type", "client_credentials"),
		codeExchange:                 post(tokenPath, apitest.DemoWeb, exchange(code)...),
		"introspect an access token": post(introspectPath, apitest.DemoService, "token", access),
		"introspect a refresh token": post(introspectPath, apitest.DemoWeb, "token", refresh),
		"revoke an access token":     post(revokePath, apitest.DemoWeb, "token", access),
		"revoke a refresh token":     post(revokePath, apitest.DemoWeb, "token", refresh),
		"revoke what is no token":    post(revokePath, apitest.DemoWeb, "token", "nonsense"),
		"an unknown client":          post(tokenPath, apitest.Client{ID: "nobody", Secret: "x"}, "grant_type", "client_credentials"),
		"disable a client":           admin(http.MethodPost, "/clients/demo-web/disable"),
		"show a grant":               admin(http.MethodGet, "/grants/"+grantOf(t, tokens)),
	} {
		done.Go(func() {
			a := send()
			wantError(t, a, http.StatusServiceUnavailable, "temporarily_unavailable")
			if again := a.Header.Get("Retry-After") != ""; again != (name != codeExchange) {
				t.Errorf("%s: Retry-After = %q", name, a.Header.Get("Retry-After"))
			}
		})
	}
	for _, path := range []string{loginPath, registerPath, passwordPath} {
		done.Go(func() {
			body := map[string]string{"username": "alice", "password": "wonderland", "email": "a@example.com"}
			wantLoginError(t, r.JSON(t, path+"?"+apitest.CodeQuery("demo-spa", "read").Encode(), body), http.StatusTeapot, "004-001")
		})
	}
	done.Wait()
	t.Run("what needs no log", func(t *testing.T) {
		wantOK(t, request{method: http.MethodGet, path: "/health/live"}.send(t, r.AdminURL))
		wantOK(t, request{method: http.MethodGet, path: metadataPath}.send(t, r.URL))
		wantOK(t, request{method: http.MethodGet, path: "/oauth2/jwks"}.send(t, r.URL))
	})
}
