package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/api/secret"
)

// adminTimeout bounds one call of the admin API, in which the server may wait
// for its own change to come back.
const adminTimeout = 30 * time.Second

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 16 << 20

// adminFlags say which authority to administer, and by what right.
type adminFlags struct {
	AdminURL     string        `name:"admin-url" default:"http://127.0.0.1:8081" help:"Address of the admin API."`
	AdminCA      string        `name:"admin-ca" type:"path" placeholder:"FILE" help:"Certificates that the admin API's is verified with. Default: the system's."`
	AdminKey     secret.Secret `secret:"" placeholder:"KEY" help:"Bearer key of the admin API. Prefer --admin-key-file: arguments are seen by everybody on the machine."`
	AdminKeyFile string        `type:"path" placeholder:"FILE" help:"File that holds the admin key. Default: DATA/admin-key."`
	Data         string        `default:"./chancery-data" type:"path" help:"Directory of the server, for its admin key."`
}

// key is the admin key: as given, from the file, or from the server's
// directory.
func (f adminFlags) key() (secret.Secret, error) {
	if !f.AdminKey.IsZero() {
		return f.AdminKey, nil
	}
	path := f.AdminKeyFile
	if path == "" {
		path = filepath.Join(f.Data, "admin-key")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return secret.Secret{}, fmt.Errorf("no admin key (give --admin-key-file, CHANCERY_ADMIN_KEY or the server's --data): %w", err)
	}
	key := secret.New(strings.TrimSpace(string(text)))
	if key.IsZero() {
		return secret.Secret{}, fmt.Errorf("no admin key: %s is empty", path)
	}
	return key, nil
}

func (f adminFlags) client() (*adminClient, error) {
	base, err := url.Parse(f.AdminURL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, fmt.Errorf("admin-url: %q is not an http or https URL", f.AdminURL)
	}
	key, err := f.key()
	if err != nil {
		return nil, err
	}
	transport, err := f.transport()
	if err != nil {
		return nil, err
	}
	return &adminClient{base: base.JoinPath("/admin/v1"), key: key, http: &http.Client{Transport: transport, CheckRedirect: noRedirect}}, nil
}

// transport trusts whom it is told to, or whom the system trusts.
func (f adminFlags) transport() (http.RoundTripper, error) {
	if f.AdminCA == "" {
		return http.DefaultTransport, nil
	}
	roots, err := certificates("admin-ca", f.AdminCA)
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}, nil
}

// certificates are those of a file, which a flag names.
func certificates(flag, file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: %s has no certificate", flag, file)
	}
	return roots, nil
}

// noRedirect keeps the key from going anywhere else.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// adminClient calls the admin API.
type adminClient struct {
	base *url.URL
	key  secret.Secret
	http *http.Client
}

// adminError is the API's own account of what is wrong.
type adminError struct {
	Status      int    `json:"-"`
	Code        string `json:"error"`
	Description string `json:"error_description"`
	RequestID   string `json:"request_id"`
}

// Error is for a person.
func (e *adminError) Error() string {
	text := cmp.Or(e.Description, http.StatusText(e.Status))
	detail := cmp.Or(e.Code, strconv.Itoa(e.Status))
	if e.RequestID != "" {
		detail += ", request " + e.RequestID
	}
	return printable(fmt.Sprintf("%s (%s)", text, detail))
}

// call sends in, if not nil, and returns the body of a successful answer.
func (a *adminClient) call(ctx context.Context, method string, in any, path ...string) (json.RawMessage, error) {
	return a.send(ctx, method, in, nil, path...)
}

func (a *adminClient) send(ctx context.Context, method string, in any, query url.Values, path ...string) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	body, err := a.open(ctx, method, in, query, path...)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	return text, nil
}

// open sends in and returns the body of a successful answer, to be read and
// closed by the caller.
func (a *adminClient) open(ctx context.Context, method string, in any, query url.Values, path ...string) (io.ReadCloser, error) {
	req, err := a.request(ctx, method, in, query, path)
	if err != nil {
		return nil, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("calling the admin API: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, readError(resp)
	}
	return resp.Body, nil
}

func (a *adminClient) request(ctx context.Context, method string, in any, query url.Values, path []string) (*http.Request, error) {
	escaped := make([]string, len(path))
	for i, p := range path {
		if escaped[i] = url.PathEscape(p); p == "" || p == "." || p == ".." {
			return nil, fmt.Errorf("%q is no id", p)
		}
	}
	target := a.base.JoinPath(escaped...)
	target.RawQuery = query.Encode()
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), &body)
	if err != nil {
		return nil, fmt.Errorf("calling the admin API: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+a.key.Reveal())
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

func readError(resp *http.Response) error {
	e := &adminError{}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err = errors.Join(err, json.Unmarshal(text, e)); err != nil {
		e = &adminError{} // not the API's, say only the status
	}
	e.Status = resp.StatusCode
	return e
}
