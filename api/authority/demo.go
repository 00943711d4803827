package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
)

// What SeedDemo creates. None of it is secret: it is for trying things out on
// one's own machine.
const (
	DemoRedirect      = "http://127.0.0.1:9999/callback"
	DemoServiceSecret = "demo-service-secret"
	DemoWebSecret     = "demo-web-secret"
	DemoCLI           = "demo-cli"
	DemoPartnerSecret = "demo-partner-secret"
	DemoUser          = "alice"
	DemoPassword      = "wonderland"
)

type demoClient struct {
	id       string
	secret   string
	settings events.ClientSettings
}

func demoClients() []demoClient {
	scope := []string{"read", "write"}
	people := append(slices.Clone(scope), rules.ScopeOpenID, rules.ScopeProfile, rules.ScopeEmail)
	code := []string{rules.GrantAuthorizationCode, rules.GrantRefreshToken}
	device := []string{rules.GrantDeviceCode, rules.GrantRefreshToken}
	return []demoClient{
		{"demo-service", DemoServiceSecret, events.ClientSettings{
			Name: "Demo service", GrantTypes: []string{rules.GrantClientCredentials}, Scope: scope, IntrospectAny: true,
		}},
		{"demo-web", DemoWebSecret, events.ClientSettings{
			Name: "Demo web application", GrantTypes: code, RedirectURIs: []string{DemoRedirect}, Scope: people, FirstParty: true,
		}},
		{"demo-partner", DemoPartnerSecret, events.ClientSettings{
			Name: "Demo partner", GrantTypes: code, RedirectURIs: []string{DemoRedirect}, Scope: people,
		}},
		{"demo-spa", "", events.ClientSettings{
			Name: "Demo single-page application", Public: true, GrantTypes: code, RedirectURIs: []string{DemoRedirect},
			Scope: people, RequirePKCE: true, PasswordLogin: true, FirstParty: true,
		}},
		{DemoCLI, "", events.ClientSettings{Name: "Demo command line", Public: true, GrantTypes: device, Scope: people}},
	}
}

// SeedDemo registers the demonstration clients and user, by the same calls as
// anybody's. What is there already stays as it is.
func (a *Authority) SeedDemo(ctx context.Context) error {
	seeding := Caller{Request: "demo"}
	for _, c := range demoClients() {
		_, _, err := a.RegisterClient(ctx, c.id, c.settings, secret.New(c.secret), seeding)
		if err != nil && !isRefusal(err, rules.AlreadyExists) {
			return fmt.Errorf("register %s: %w", c.id, err)
		}
	}
	_, err := a.Register(ctx, Registration{
		Username: DemoUser, Email: "alice@example.com", Password: secret.New(DemoPassword),
	}, seeding)
	if err != nil && !isRefusal(err, UsernameTaken) {
		return fmt.Errorf("register %s: %w", DemoUser, err)
	}
	return nil
}

// DemoInForce names the demonstration clients and the user that are still let
// in with what everybody knows.
func (a *Authority) DemoInForce(ctx context.Context) ([]string, error) {
	var names []string
	for _, c := range demoClients() {
		known, _ := a.Feed.Client(c.id)
		if _, ok := a.Secrets.Verify(c.id, c.secret, known.Secrets); ok && !known.Disabled {
			names = append(names, c.id)
		}
	}
	_, err := a.Login(ctx, DemoUser, secret.New(DemoPassword), Caller{Request: "demo"})
	if isRefusal(err, WrongCredentials) || isRefusal(err, AccountDisabled) {
		return names, nil
	}
	return append(names, DemoUser), err
}

func isRefusal(err error, reason rules.Reason) bool {
	var refusal *rules.Refusal
	return errors.As(err, &refusal) && refusal.Reason == reason
}
