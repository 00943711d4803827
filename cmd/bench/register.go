package bench

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
)

// registered is what was registered for a run.
type registered struct {
	client Client
	person person
	user   string
}

// call calls the admin API and reads the answer.
func (call AdminCall) call(ctx context.Context, method string, in, out any, path ...string) error {
	body, err := call(ctx, method, in, nil, path...)
	if err != nil {
		return err
	}
	defer body.Close()
	if out == nil {
		_, err := io.Copy(io.Discard, body)
		return err
	}
	if err := json.NewDecoder(io.LimitReader(body, maxBody)).Decode(out); err != nil {
		return fmt.Errorf("reading the answer of the admin API: %w", err)
	}
	return nil
}

// register registers a client that may do all that is measured, and a user.
func register(ctx context.Context, call AdminCall) (r registered, err error) {
	name := "bench-" + strings.ToLower(rand.Text()[:12])
	var client struct {
		ID     string        `json:"client_id"`
		Secret secret.Secret `json:"client_secret"`
	}
	err = call.call(ctx, http.MethodPost, map[string]any{
		"client_id": name, "client_name": "chancery bench", "scope": "read", "first_party": true, "redirect_uris": []string{redirectURI},
		"grant_types":    []string{rules.GrantAuthorizationCode, rules.GrantRefreshToken, rules.GrantClientCredentials, rules.GrantTokenExchange},
		"token_exchange": map[string]any{"impersonation": true},
	}, &client, "clients")
	if err != nil {
		return r, fmt.Errorf("registering a client: %w", err)
	}
	r.client = Client{client.ID, client.Secret}
	r.person = person{name, rand.Text()}
	var user struct {
		ID string `json:"user_id"`
	}
	err = call.call(ctx, http.MethodPost, map[string]any{"username": name, "email": name + "@example.com", "password": r.person.password}, &user, "users")
	if err != nil {
		return r, errors.Join(fmt.Errorf("registering a user: %w", err), r.remove(ctx, call))
	}
	r.user = user.ID
	return r, nil
}

// remove disables the client, which ends all that was issued to it, and deletes the
// user. Clients are never deleted: the log names them.
func (r registered) remove(ctx context.Context, call AdminCall) error {
	var errs []error
	if r.client.ID != "" {
		errs = append(errs, call.call(ctx, http.MethodPost, nil, nil, "clients", r.client.ID, "disable"))
	}
	if r.user != "" {
		errs = append(errs, call.call(ctx, http.MethodDelete, nil, nil, "users", r.user))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("taking back what was registered as %s: %w", r.client.ID, err)
	}
	return nil
}

// newestEvent is the time of a client's newest event, empty if there is none.
func newestEvent(ctx context.Context, call AdminCall, client string) (string, error) {
	body, err := call(ctx, http.MethodGet, nil, url.Values{"client": {client}, "limit": {"1"}}, "events")
	if err != nil {
		return "", fmt.Errorf("finding the newest event of the client: %w", err)
	}
	defer body.Close()
	var page struct {
		Events []struct {
			Time string `json:"time"`
		} `json:"events"`
	}
	if err := json.NewDecoder(io.LimitReader(body, maxBody)).Decode(&page); err != nil {
		return "", fmt.Errorf("finding the newest event of the client: %w", err)
	}
	if len(page.Events) == 0 {
		return "", nil
	}
	return page.Events[0].Time, nil
}
