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
	"slices"
	"strings"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
)

// registered is what was registered for a run, or may have been: an answer can be lost.
// Client and user have the same name.
type registered struct {
	client string
	person person
}

// scopes are what a registered client may ask for.
func (t Target) scopes() string {
	all := append([]string{"read"}, strings.Fields(t.Scope)...)
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " ")
}

// call calls the admin API and reads the answer.
func (call AdminCall) call(ctx context.Context, method string, in, out any, path ...string) error {
	body, err := call(ctx, method, in, nil, path...)
	if err != nil {
		return err
	}
	return readAnswer(body, out)
}

func readAnswer(body io.ReadCloser, out any) error {
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
func (r *registered) register(ctx context.Context, call AdminCall, t Target) (Client, error) {
	r.client = "bench-" + strings.ToLower(rand.Text()[:12])
	var client struct {
		ID     string        `json:"client_id"`
		Secret secret.Secret `json:"client_secret"`
	}
	err := call.call(ctx, http.MethodPost, map[string]any{
		"client_id": r.client, "client_name": "chancery bench", "first_party": true, "redirect_uris": []string{redirectURI},
		"scope": t.scopes(), "audience": slices.Concat(t.Resource, t.Audience),
		"grant_types":    []string{rules.GrantAuthorizationCode, rules.GrantRefreshToken, rules.GrantClientCredentials, rules.GrantTokenExchange},
		"token_exchange": map[string]any{"impersonation": true},
	}, &client, "clients")
	if err != nil {
		return Client{}, fmt.Errorf("registering a client: %w", err)
	}
	r.person = person{r.client, rand.Text()}
	user := map[string]any{"username": r.client, "email": r.client + "@example.com", "password": r.person.password}
	if err := call.call(ctx, http.MethodPost, user, nil, "users"); err != nil {
		return Client{}, fmt.Errorf("registering a user: %w", err)
	}
	return Client{client.ID, client.Secret}, nil
}

// remove disables the client, which ends all that was issued to it, and deletes the
// user. Clients are never deleted: the log names them.
func (r registered) remove(ctx context.Context, call AdminCall) error {
	if r.client == "" {
		return nil
	}
	err := call.call(ctx, http.MethodPost, nil, nil, "clients", r.client, "disable")
	if r.person.username != "" {
		err = errors.Join(err, removeUser(ctx, call, r.person.username))
	}
	if err != nil {
		return fmt.Errorf("taking back what was registered as %s: %w", r.client, err)
	}
	return nil
}

func removeUser(ctx context.Context, call AdminCall, name string) error {
	var found struct {
		Users []struct {
			ID string `json:"user_id"`
		} `json:"users"`
	}
	body, err := call(ctx, http.MethodGet, nil, url.Values{"username": {name}}, "users")
	if err != nil {
		return err
	}
	if err := readAnswer(body, &found); err != nil {
		return err
	}
	for _, u := range found.Users {
		err = errors.Join(err, call.call(ctx, http.MethodDelete, nil, nil, "users", u.ID))
	}
	return err
}
