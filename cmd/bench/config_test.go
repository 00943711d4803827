package bench

import (
	"strings"
	"testing"
)

// TestSecureAs refuses endpoints in clear text of an issuer that is not.
func TestSecureAs(t *testing.T) {
	e := Endpoints{Token: "https://auth.example/token", JWKS: "http://auth.example/jwks"}
	if err := e.secureAs("https://auth.example"); err == nil || !strings.Contains(err.Error(), "/jwks") {
		t.Errorf("got %v", err)
	}
	if err := e.secureAs("http://127.0.0.1:8080"); err != nil {
		t.Error(err)
	}
	e.JWKS = ""
	if err := e.secureAs("https://auth.example"); err != nil {
		t.Error(err)
	}
}

func TestEventCount(t *testing.T) {
	tests := map[EventCount]bool{
		{Acknowledged: 5, InLog: 5}:             true,
		{Acknowledged: 5, InLog: 4}:             false,
		{Acknowledged: 5, InLog: 6}:             false,
		{Acknowledged: 5, InLog: 6, Unknown: 1}: true,
		{Acknowledged: 5, InLog: 7, Unknown: 1}: false,
		{Acknowledged: 5, InLog: 4, Unknown: 1}: false,
	}
	for c, want := range tests {
		if c.holds() != want {
			t.Errorf("%+v", c)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	client := Client{ID: "x"}
	tests := map[string]struct {
		change func(*Config)
		want   string
	}{
		"operation":    {func(c *Config) { c.Operations = []Operation{"login"} }, "no operation"},
		"nothing":      {func(c *Config) { c.Operations = nil }, "no operation to measure"},
		"workers":      {func(c *Config) { c.Workers = 0 }, "a worker"},
		"duration":     {func(c *Config) { c.Duration = 0 }, "must take time"},
		"projectors":   {func(c *Config) { c.Own.Projectors = 0 }, "a projector"},
		"NATS servers": {func(c *Config) { c.Own.NATSServers = 2 }, "1, 3 or 5"},
		"no client":    {func(c *Config) { c.Target.Issuer = "https://auth.example" }, "a client is needed"},
		"no person": {func(c *Config) {
			c.Target = Target{Issuer: "https://auth.example", Client: client}
			c.Operations = []Operation{Code}
		}, "needs a person"},
		"no refresh tokens": {func(c *Config) { c.Target = Target{Issuer: "https://auth.example", Client: client} }, "refresh needs"},
		"few refresh tokens": {func(c *Config) {
			c.Target = Target{Issuer: "https://auth.example", Client: client, RefreshTokens: []string{"a"}}
		}, "too few for 2 workers"},
		"name of its own": {func(c *Config) { c.Processes = map[string]int{"serve": 1} }, `called "serve"`},
		"name of a server": {func(c *Config) {
			c.Own.NATSServers, c.Processes = 3, map[string]int{"nats-2": 1}
		}, `called "nats-2"`},
		"name of this": {func(c *Config) {
			c.Target = Target{Issuer: "https://auth.example", Client: client, RefreshTokens: []string{"a", "b"}}
			c.Processes = map[string]int{"generator": 1}
		}, `called "generator"`},
		"no endpoint to know": {func(c *Config) {
			c.Target = Target{Endpoints: Endpoints{Token: "https://auth.example"}, Client: client}
			c.Operations = []Operation{Introspection}
		}, "introspection endpoint"},
	}
	for name, tt := range tests {
		cfg := short(Target{}, Refresh)
		cfg.Own = Own{APIs: 1, Projectors: 1, Partitions: 1}
		tt.change(&cfg)
		if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}
