package resource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// requestTimeout bounds a request that ends.
	requestTimeout = 5 * time.Second
	maxAnswer      = 1 << 20
)

// An authority is the issuer over HTTP.
type authority struct {
	issuer   string
	id, key  string
	client   http.Client
	metadata atomic.Pointer[metadata]
}

// metadata is what is needed of RFC 8414 §2.
type metadata struct {
	Issuer        string `json:"issuer"`
	JWKS          string `json:"jwks_uri"`
	Introspection string `json:"introspection_endpoint"`
	Feed          string `json:"revocation_feed_endpoint"`
}

func newAuthority(cfg Config) *authority {
	a := &authority{issuer: cfg.Issuer, id: cfg.ClientID, key: cfg.ClientSecret}
	if cfg.HTTPClient != nil {
		a.client = *cfg.HTTPClient
	}
	a.client.Timeout = 0 // every request that ends has a context that does
	// A secret goes where the metadata says, and nowhere else.
	a.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return a
}

// endpoints are the authority's, asked for once.
func (a *authority) endpoints(ctx context.Context) (*metadata, error) {
	if m := a.metadata.Load(); m != nil {
		return m, nil
	}
	u, err := url.Parse(a.issuer)
	if err != nil {
		return nil, fmt.Errorf("reading the metadata: %w", err)
	}
	u.Path = "/.well-known/oauth-authorization-server" + strings.TrimSuffix(u.Path, "/") // RFC 8414 §3
	body, _, err := a.get(ctx, u.String())
	if err != nil {
		return nil, fmt.Errorf("reading the metadata: %w", err)
	}
	m := new(metadata)
	if err := json.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("reading the metadata: %w", err)
	}
	if m.Issuer != a.issuer { // RFC 8414 §3.3
		return nil, fmt.Errorf("reading the metadata: it is of another issuer, %.100q", m.Issuer)
	}
	for _, address := range []string{m.JWKS, m.Introspection, m.Feed} {
		if e, err := url.Parse(address); err != nil || address != "" && (e.Scheme != u.Scheme || e.Host != u.Host) {
			return nil, errors.New("reading the metadata: an endpoint is not at the issuer's host")
		}
	}
	a.metadata.Store(m)
	return m, nil
}

// get is the body of what is at an address, and its Cache-Control.
func (a *authority) get(ctx context.Context, address string) ([]byte, string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, "", err
	}
	response, err := a.client.Do(r)
	if err != nil {
		return nil, "", err
	}
	body, err := readAnswer(response)
	return body, response.Header.Get("Cache-Control"), err
}

func readAnswer(response *http.Response) ([]byte, error) {
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the authority answers %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = errors.New("the answer is too large")
	}
	return body, err
}

// authenticate puts the client's credential on a request (RFC 6749 §2.3.1).
func (a *authority) authenticate(r *http.Request) {
	r.SetBasicAuth(url.QueryEscape(a.id), url.QueryEscape(a.key))
}

// introspect asks whether a token is active (RFC 7662 §2.1).
func (a *authority) introspect(ctx context.Context, token string) (active bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m, err := a.endpoints(ctx)
	if err != nil {
		return false, err
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, m.Introspection, strings.NewReader(form.Encode()))
	if err != nil {
		return false, fmt.Errorf("introspecting a token: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	a.authenticate(r)
	response, err := a.client.Do(r)
	if err != nil {
		return false, fmt.Errorf("introspecting a token: %w", err)
	}
	body, err := readAnswer(response)
	if err != nil {
		return false, fmt.Errorf("introspecting a token: %w", err)
	}
	var answer struct {
		Active *bool `json:"active"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Active == nil {
		return false, errors.New("introspecting a token: no such answer")
	}
	return *answer.Active, nil
}

// open opens the revocation feed behind what was read before. Close its body.
func (a *authority) open(ctx context.Context, lastID string) (*http.Response, error) {
	m, err := a.endpoints(ctx)
	if err != nil {
		return nil, err
	}
	if m.Feed == "" {
		return nil, errors.New("the authority has no revocation feed")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, m.Feed, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Cache-Control", "no-store")
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	a.authenticate(r)
	response, err := a.client.Do(r)
	if err != nil {
		return nil, err
	}
	media, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || response.StatusCode != http.StatusOK || media != "text/event-stream" {
		response.Body.Close()
		return nil, fmt.Errorf("the authority answers %d %.40q", response.StatusCode, media)
	}
	return response, nil
}
