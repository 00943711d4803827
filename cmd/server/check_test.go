package server

import (
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/secret"
)

// defaults are those of the command line.
func defaults(role Role) Config {
	return Config{
		Role:     role,
		Settings: config.Default(),
		Public:   Public{Listen: "127.0.0.1:8080"},
		Admin:    Admin{AdminListen: "127.0.0.1:8081"},
		Log:      Log{Realm: "main", Partitions: 1, Replicas: 1},
		Data:     Data{Data: "./chancery-data"},
	}
}

func replica() Config {
	c := defaults(API)
	c.Log.NATSURL = "nats://n1:4222,tls://n2:4222"
	c.Log.Replicas = 3
	c.Keys = Keys{AdminKeys: AdminKeys{AdminKeyFile: "admin-key"}, KeyEncryptionKeysFile: "keys"}
	return c
}

func TestCheckAccepts(t *testing.T) {
	external := replica()
	external.Role, external.Keys.AdminKeyFile = All, "" // made on the one machine
	folding := defaults(Projector)
	folding.Log.NATSURL = "nats://n1:4222"
	folding.Public, folding.Settings = Public{}, config.Settings{}
	public := defaults(All)
	public.Public.Listen, public.Settings.Issuer = ":8080", "https://auth.example"
	anyPorts := defaults(All)
	anyPorts.Public.Listen, anyPorts.Admin.AdminListen = "127.0.0.1:0", "127.0.0.1:0"
	dev := defaults(All)
	dev.Dev, dev.Public.Listen = true, "localhost:8080"

	for name, c := range map[string]Config{
		"serve": defaults(All), "serve --nats-url": external, "api": replica(), "projector": folding,
		"beyond loopback": public, "any ports": anyPorts, "serve --dev": dev,
	} {
		if err := c.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	tests := map[string]struct {
		base   Config
		change func(*Config)
		want   string
	}{
		"dev for everybody":       {defaults(All), func(c *Config) { c.Dev, c.Public.Listen = true, "0.0.0.0:8080" }, "dev: refused"},
		"dev on all interfaces":   {defaults(All), func(c *Config) { c.Dev, c.Public.Listen = true, ":8080" }, "dev: refused"},
		"dev admin for everybody": {defaults(All), func(c *Config) { c.Dev, c.Admin.AdminListen = true, "[::]:8081" }, "dev: refused"},
		"no issuer":               {defaults(All), func(c *Config) { c.Public.Listen = ":8080" }, "issuer: is required"},
		"http issuer":             {defaults(All), func(c *Config) { c.Settings.Issuer = "http://auth.example" }, "issuer: must be https"},
		"one listener":            {defaults(All), func(c *Config) { c.Admin.AdminListen = c.Public.Listen }, "admin-listen: must differ"},
		"listen without port":     {defaults(All), func(c *Config) { c.Public.Listen = "127.0.0.1" }, "listen: "},
		"port too high":           {defaults(All), func(c *Config) { c.Admin.AdminListen = "127.0.0.1:65536" }, "admin-listen: "},
		"two replicas":            {replica(), func(c *Config) { c.Log.Replicas = 2 }, "replicas: 2 is not"},
		"embedded replicas":       {defaults(All), func(c *Config) { c.Log.Replicas = 3 }, "replicas: the embedded server"},
		"drains for ever":         {defaults(All), func(c *Config) { c.Public.DrainDelay = time.Hour }, "drain-delay: 1h0m0s is not"},
		"no partition":            {defaults(All), func(c *Config) { c.Log.Partitions = 0 }, "partitions: 0 is not"},
		"too many partitions":     {defaults(All), func(c *Config) { c.Log.Partitions = 257 }, "partitions: 257 is not"},
		"realm with a dot":        {defaults(All), func(c *Config) { c.Log.Realm = "a.b" }, "realm: "},
		"certificate alone":       {replica(), func(c *Config) { c.Log.NATSTLSCert = "cert.pem" }, "nats-tls-cert: "},
		"credentials for nobody":  {defaults(All), func(c *Config) { c.Log.NATSCreds = "creds" }, "nats-creds: means nothing"},
		"no log of its own":       {defaults(Projector), func(*Config) {}, "nats-url: is required"},
		"not a server":            {replica(), func(c *Config) { c.Log.NATSURL = "nats://n1:4222,http://n2" }, "nats-url: server 2 is not"},
		"credentials in the URL":  {replica(), func(c *Config) { c.Log.NATSURL = "nats://user:hunter2@n1" }, "nats-url: server 1 holds credentials"},
		"no keys":                 {replica(), func(c *Config) { c.Keys.KeyEncryptionKeysFile = "" }, "key-encryption-keys-file: is required"},
		"no admin key":            {replica(), func(c *Config) { c.Keys.AdminKeyFile = "" }, "admin-key-file: is required"},
		"two admin keys":          {replica(), func(c *Config) { c.Keys.AdminKey = secret.New("k") }, "admin-key-file: give the key or the file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := tt.base
			tt.change(&c)
			err := c.Check()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a password is repeated: %v", err)
			}
		})
	}
}

func TestWithIssuer(t *testing.T) {
	c := defaults(All)
	if got, want := c.WithIssuer().Settings.Issuer, "http://127.0.0.1:8080"; got != want {
		t.Errorf("on loopback: %q, want %q", got, want)
	}
	c.Public.Listen = "192.0.2.1:80"
	if got := c.WithIssuer().Settings.Issuer; got != "" {
		t.Errorf("beyond loopback: %q, want none", got)
	}
	c.Settings.Issuer = "https://auth.example"
	if got := c.WithIssuer().Settings.Issuer; got != "https://auth.example" {
		t.Errorf("given: %q", got)
	}
}
