//go:build unix

package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
)

// BenchmarkHandler calls the handler of the API itself, one request after the
// other, so that neither a client nor a connection is measured. What it appends to
// is a real log.
func BenchmarkHandler(b *testing.B) {
	r := apitest.Single(b, apitest.Options{Telemetry: benchTelemetry(b), NoCheckpoints: true})
	public := r.Server.Public()
	b.Run("introspect", func(b *testing.B) {
		form := url.Values{"token": {r.Tokens(b, apitest.DemoWeb, "read").Text("access_token")}}
		benchmark(b, 1, func(int) error {
			body, err := serve(public, introspectPath, apitest.DemoService, form)
			if err == nil && !bytes.HasPrefix(body, []byte(`{"active":true,`)) {
				err = errors.New("not active")
			}
			return err
		})
	})
	b.Run("client_credentials", func(b *testing.B) {
		form := url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}}
		benchmark(b, 1, func(int) error {
			_, err := serve(public, tokenPath, apitest.DemoService, form)
			return err
		})
	})
	// What this replica wrote a moment ago it does not read: one grant will do.
	newest := r.Tokens(b, apitest.DemoWeb, "read offline_access").Text("refresh_token")
	b.Run("refresh", func(b *testing.B) {
		benchmark(b, 1, func(int) error {
			body, err := serve(public, tokenPath, apitest.DemoWeb, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {newest}})
			if err != nil {
				return err
			}
			var told struct {
				Refresh string `json:"refresh_token"`
			}
			err = json.Unmarshal(body, &told)
			newest = told.Refresh
			return err
		})
	})
}

// serve gives the body of an answer, which must be 200.
func serve(h http.Handler, path string, as apitest.Client, form url.Values) ([]byte, error) {
	request, err := http.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(as.ID, as.Secret)
	request.RemoteAddr = "192.0.2.1:1"
	answer := answerTo{header: http.Header{}}
	h.ServeHTTP(&answer, request)
	if answer.status != http.StatusOK {
		return nil, fmt.Errorf("answer %d %s", answer.status, &answer.body)
	}
	return answer.body.Bytes(), nil
}

// An answerTo keeps an answer, and does nothing else.
type answerTo struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answerTo) Header() http.Header         { return a.header }
func (a *answerTo) WriteHeader(status int)      { a.status = status }
func (a *answerTo) Write(p []byte) (int, error) { return a.body.Write(p) }
