package bench

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// metadataTimeout bounds the requests before anything is measured.
	metadataTimeout = 15 * time.Second
	// maxBody bounds what is read of an answer, in bytes.
	maxBody = 1 << 20
)

// Endpoints are where a server answers (RFC 8414 §2), empty where it does not.
type Endpoints struct {
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	Introspection string `json:"introspection_endpoint"`
	Revocation    string `json:"revocation_endpoint"`
	JWKS          string `json:"jwks_uri"`
	// login is the Login API's of Chancery, where a person signs in by one request.
	login string
}

// or fills in what is missing.
func (e Endpoints) or(other Endpoints) Endpoints {
	for _, f := range []struct{ to, from *string }{
		{&e.Authorization, &other.Authorization},
		{&e.Token, &other.Token},
		{&e.Introspection, &other.Introspection},
		{&e.Revocation, &other.Revocation},
		{&e.JWKS, &other.JWKS},
		{&e.login, &other.login},
	} {
		if *f.to == "" {
			*f.to = *f.from
		}
	}
	return e
}

// at are the same endpoints at another replica of the server.
func (e Endpoints) at(replica string) (Endpoints, error) {
	base, err := url.Parse(replica)
	if err != nil {
		return e, fmt.Errorf("reading the address of a replica: %w", err)
	}
	for _, to := range []*string{&e.Authorization, &e.Token, &e.Introspection, &e.Revocation, &e.login} {
		u, err := url.Parse(*to)
		if err != nil {
			return e, fmt.Errorf("reading an endpoint: %w", err)
		}
		u.Scheme, u.Host = base.Scheme, base.Host
		*to = u.String()
	}
	return e, nil
}

// secureAs refuses endpoints in clear text of an issuer that is not.
func (e Endpoints) secureAs(issuer string) error {
	if !hasScheme(issuer, "https") {
		return nil
	}
	for _, to := range []string{e.Authorization, e.Token, e.Introspection, e.Revocation, e.JWKS, e.login} {
		if to != "" && !hasScheme(to, "https") {
			return fmt.Errorf("the issuer is at https, and its endpoint %.100q is not", to)
		}
	}
	return nil
}

func hasScheme(address, scheme string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == scheme
}

// newMetadataClient is for what is not measured: metadata and keys.
func newMetadataClient(t *tls.Config) *http.Client {
	return &http.Client{
		Transport: limited{&http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: t}}, Timeout: metadataTimeout,
	}
}

// limited reads no more than maxBody of an answer.
type limited struct{ http.RoundTripper }

// RoundTrip is http.RoundTripper's.
func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		answer.Body = http.MaxBytesReader(nil, answer.Body, maxBody)
	}
	return answer, err
}

// discover asks an issuer for its metadata: by RFC 8414 and, if it has none there,
// by OpenID Connect Discovery.
func discover(ctx context.Context, h *http.Client, issuer string) (Endpoints, error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" {
		return Endpoints{}, fmt.Errorf("%.100q is not the URL of an issuer", issuer)
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	origin := u.Scheme + "://" + u.Host
	found, err := readMetadata(ctx, h, origin+"/.well-known/oauth-authorization-server"+path, issuer)
	if err == nil {
		return found, nil
	}
	found, err2 := readMetadata(ctx, h, origin+path+"/.well-known/openid-configuration", issuer)
	if err2 != nil {
		return found, errors.Join(err, err2)
	}
	return found, nil
}

func readMetadata(ctx context.Context, h *http.Client, address, issuer string) (e Endpoints, err error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return e, fmt.Errorf("reading metadata: %w", err)
	}
	answer, err := h.Do(r)
	if err != nil {
		return e, fmt.Errorf("reading metadata: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return e, fmt.Errorf("reading metadata at %s: %s", address, answer.Status)
	}
	var told struct {
		Issuer string `json:"issuer"`
		Endpoints
	}
	if err := json.NewDecoder(answer.Body).Decode(&told); err != nil {
		return e, fmt.Errorf("reading metadata at %s: %w", address, err)
	}
	if told.Issuer != issuer { // RFC 8414 §3.3
		return e, fmt.Errorf("the metadata at %s are of another issuer, %.100q", address, told.Issuer)
	}
	return told.Endpoints, nil
}
