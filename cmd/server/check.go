package server

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/tree"
	"github.com/chancery-authority/chancery/projector/archiver"
)

// maxDrainDelay is longer than any load balancer takes.
const maxDrainDelay = time.Minute

// Check reports everything that is wrong, one line each, by the names of
// the flags.
func (c Config) Check() error {
	var public error
	if c.Role != Projector {
		public = c.checkPublic()
	}
	return errors.Join(public, c.checkAdmin(), c.checkLog(), c.checkTopology(), c.checkKeys(), c.checkEvidence(), c.checkTelemetry())
}

// WithIssuer is c with the issuer it has in force: without one, the address it
// listens on, if that is loopback.
func (c Config) WithIssuer() Config {
	if c.Settings.Issuer == "" && loopback(c.Public.Listen) {
		c.Settings.Issuer = scheme(c.Public.TLSCert != "") + "://" + c.Public.Listen
	}
	return c
}

// problems collects what is wrong.
type problems []error

func (p *problems) add(wrong bool, format string, args ...any) {
	if wrong {
		*p = append(*p, fmt.Errorf(format, args...))
	}
}

func (p *problems) join() error { return errors.Join(*p...) }

func (c Config) checkPublic() error {
	if err := checkAddress(c.Public.Listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	var p problems
	p.add((c.Public.TLSCert == "") != (c.Public.TLSKey == ""), "tls-cert: a certificate and its key, tls-key, go together")
	p.add(c.Dev && !loopback(c.Public.Listen),
		"dev: refused, because %s is not a loopback address and everybody knows the demonstration secrets", c.Public.Listen)
	p.add(c.Public.Listen == c.Admin.AdminListen && !anyPort(c.Public.Listen),
		"admin-listen: must differ from listen; the admin API is not for the public")
	p.add(c.Public.DrainDelay < 0 || c.Public.DrainDelay > maxDrainDelay,
		"drain-delay: %s is not between 0 and %s", c.Public.DrainDelay, maxDrainDelay)
	return errors.Join(p.join(), c.WithIssuer().Settings.Check())
}

func (c Config) checkAdmin() error {
	if err := checkAddress(c.Admin.AdminListen); err != nil {
		return fmt.Errorf("admin-listen: %w", err)
	}
	var p problems
	p.add((c.Admin.AdminTLSCert == "") != (c.Admin.AdminTLSKey == ""), "admin-tls-cert: a certificate and its key, admin-tls-key, go together")
	p.add(c.Dev && !loopback(c.Admin.AdminListen), "dev: refused, because %s is not a loopback address", c.Admin.AdminListen)
	return p.join()
}

func (c Config) checkLog() error {
	var p problems
	if err := events.Realm(c.Log.Realm).Validate(); err != nil {
		p.add(true, "realm: %w", err)
	}
	p.add(c.Log.Partitions < 1 || c.Log.Partitions > events.MaxPartitions,
		"partitions: %d is not between 1 and %d", c.Log.Partitions, events.MaxPartitions)
	p.add(!slices.Contains([]int{1, 3, 5}, c.Log.Replicas), "replicas: %d is not 1, 3 or 5", c.Log.Replicas)
	p.add((c.Log.NATSTLSCert == "") != (c.Log.NATSTLSKey == ""),
		"nats-tls-cert: a certificate and its key, nats-tls-key, go together")
	return p.join()
}

// checkTopology checks what depends on whose servers the log is on.
func (c Config) checkTopology() error {
	if c.Log.NATSURL != "" {
		return checkServers(c.Log.NATSURL)
	}
	var p problems
	p.add(c.Role != All, "nats-url: is required, only serve has a log of its own")
	p.add(c.Role == All && c.Log.Replicas > 1, "replicas: the embedded server keeps one copy; more need nats-url")
	for _, f := range [][2]string{
		{"nats-creds", c.Log.NATSCreds},
		{"nats-tls-ca", c.Log.NATSTLSCA},
		{"nats-tls-cert", c.Log.NATSTLSCert},
		{"nats-sys-creds", c.Log.NATSSysCreds},
	} {
		p.add(f[1] != "", "%s: means nothing without nats-url", f[0])
	}
	return p.join()
}

// checkServers checks a list of NATS servers. Credentials have flags of their
// own, so that this one can be printed; until that is known, it is not.
func checkServers(list string) error {
	for i, text := range strings.Split(list, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return fmt.Errorf("nats-url: server %d is not a URL like nats://host:4222", i+1)
		}
		if u.User != nil {
			return fmt.Errorf("nats-url: server %d holds credentials; they belong in the file of nats-creds", i+1)
		}
	}
	return nil
}

func (c Config) checkKeys() error {
	k := c.Keys
	noAdmin := !c.hasAdminKey()
	noKeys := k.KeyEncryptionKeys.IsZero() && k.KeyEncryptionKeysFile == ""
	var p problems
	p.add(!k.AdminKey.IsZero() && k.AdminKeyFile != "",
		"admin-key-file: give the key or the file, not both")
	p.add(!k.KeyEncryptionKeys.IsZero() && k.KeyEncryptionKeysFile != "",
		"key-encryption-keys-file: give the keys or the file, not both")
	p.add(c.Role != Projector && c.Log.NATSURL != "" && noKeys,
		"key-encryption-keys-file: is required with nats-url; every replica needs the same keys")
	p.add(c.Role == API && noAdmin, "admin-key-file: is required; every replica needs the same key")
	return p.join()
}

func (c Config) checkEvidence() error {
	e, a := c.Evidence, c.Archive
	var p problems
	p.add(!e.CheckpointKey.IsZero() && e.CheckpointKeyFile != "", "checkpoint-key-file: give the key or the file, not both")
	p.add(e.ScrubRate < 0, "scrub-rate: %d is below 0", e.ScrubRate)
	if _, err := tree.Known(e.CheckpointKnownKeys...); err != nil {
		p.add(true, "checkpoint-known-keys: %w", err)
	}
	if _, err := c.acceptedLosses(); err != nil {
		p.add(true, "%w", err)
	}
	p.add(e.keepsWithoutReason(c.Log.Realm), "accept-loss-keep-client: goes with accept-loss, and not of the registry")
	p.add(a.ForgetAfter != 0 && a.Archive == "", "forget-after: needs archive, where what is forgotten is kept")
	p.add(a.ForgetAfter != 0 && a.ForgetAfter < archiver.MinForgetAfter, "forget-after: %v is less than %v", a.ForgetAfter, archiver.MinForgetAfter)
	return p.join()
}

func checkAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not host:port", address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q has no port between 0 and 65535", address)
	}
	return nil
}

// loopback reports whether only this machine reaches the address. No host
// means every interface.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && config.IsLoopback(host)
}

// anyPort reports whether the system chooses the port.
func anyPort(address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err == nil && port == "0"
}

// keepsWithoutReason reports whether clients are to keep their grants where nothing
// is lost, or where it may be lost that they, or their users, were cut off.
func (e Evidence) keepsWithoutReason(realm string) bool {
	registry := func(loss string) bool {
		return strings.HasPrefix(loss, events.Realm(realm).RegistryStream()+":")
	}
	return len(e.AcceptLossKeepClient) > 0 && (len(e.AcceptLoss) == 0 || slices.ContainsFunc(e.AcceptLoss, registry))
}
