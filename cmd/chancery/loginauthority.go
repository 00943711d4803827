package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/chancery-authority/chancery/api/config"
)

// signInTimeout bounds one call of an authority.
const signInTimeout = 30 * time.Second

// endpoints are what login needs of an authority's metadata (RFC 8414 §2).
type endpoints struct {
	Issuer     string `json:"issuer"`
	Device     string `json:"device_authorization_endpoint"`
	Token      string `json:"token_endpoint"`
	Revocation string `json:"revocation_endpoint"`
	UserInfo   string `json:"userinfo_endpoint"`
}

// signInAuthority is an authority that this program is a client of.
type signInAuthority struct {
	issuer    string
	endpoints endpoints
	oauth     oauth2.Config
	http      *http.Client
}

// discover finds an authority by its issuer identifier.
func discover(ctx context.Context, f authorityFlags) (*signInAuthority, error) {
	if err := config.ValidateIssuer(f.Issuer); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	issuer, err := url.Parse(f.Issuer)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	a := &signInAuthority{issuer: f.Issuer, http: &http.Client{Timeout: signInTimeout, CheckRedirect: noRedirect}}
	where := issuer.Scheme + "://" + issuer.Host + "/.well-known/oauth-authorization-server" + issuer.EscapedPath()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, where, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("discovering %s: %w", f.Issuer, err)
	}
	if err := a.answer(r, &a.endpoints); err != nil {
		return nil, fmt.Errorf("discovering %s: %w", f.Issuer, err)
	}
	if err := a.endpoints.check(f.Issuer, issuer.Scheme); err != nil {
		return nil, fmt.Errorf("discovering %s: %w", f.Issuer, err)
	}
	a.oauth = oauth2.Config{ClientID: f.Client, Endpoint: oauth2.Endpoint{
		DeviceAuthURL: a.endpoints.Device, TokenURL: a.endpoints.Token, AuthStyle: oauth2.AuthStyleInParams,
	}}
	return a, nil
}

// check refuses metadata of another issuer (RFC 8414 §3.3), and endpoints that
// are less safe than the issuer.
func (e endpoints) check(issuer, scheme string) error {
	if e.Issuer != issuer {
		return fmt.Errorf("it says that it is %q", printable(e.Issuer))
	}
	for _, endpoint := range []string{e.Device, e.Token, e.Revocation, e.UserInfo} {
		if !strings.HasPrefix(endpoint, scheme+"://") {
			return errors.New("it lacks an endpoint for devices, tokens, their revocation or who is signed in")
		}
	}
	return nil
}

// context has x/oauth2 use our client.
func (a *signInAuthority) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, a.http)
}

// answer sends a request and reads the JSON of a good answer into v, if that is
// not nil.
func (a *signInAuthority) answer(r *http.Request, v any) error {
	response, err := a.http.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return readError(response)
	}
	if v == nil {
		return nil
	}
	return json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(v)
}
