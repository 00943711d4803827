package process

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events/tree"
)

// Secrets are the files and texts that all processes of an authority share.
type Secrets struct {
	// LogCreds and SystemCreds are credentials files of NATS users.
	LogCreds, SystemCreds string
	AdminKeyFile          string
	RingFile              string
	CheckpointKeyFile     string
	// AdminKey and CheckpointKey (public) are their texts.
	AdminKey, CheckpointKey string
	// Planted must not be found anywhere.
	Planted []string
	// NATSConfig is the part of the servers' configuration about accounts.
	NATSConfig string
}

// MakeSecrets makes the secrets of a new authority in a directory. Its NATS servers
// have an account for the log and one of the system, by which they are asked whether
// they sync.
func MakeSecrets(dir string) (s Secrets, err error) {
	s = Secrets{
		LogCreds: filepath.Join(dir, "log.creds"), SystemCreds: filepath.Join(dir, "system.creds"),
		AdminKeyFile: filepath.Join(dir, "admin-key"), RingFile: filepath.Join(dir, "key-encryption-keys"),
		CheckpointKeyFile: filepath.Join(dir, "checkpoint-key"), AdminKey: rand.Text(),
	}
	ring := secret.NewRingLine("1").Reveal()
	private, public, err := tree.NewKey(rand.Reader, "chancery/log")
	if err != nil {
		return s, err
	}
	s.CheckpointKey = public
	s.Planted = []string{s.AdminKey, ring, private}
	for path, text := range map[string]string{s.AdminKeyFile: s.AdminKey, s.RingFile: ring, s.CheckpointKeyFile: private} {
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			return s, fmt.Errorf("write a key: %w", err)
		}
	}
	if err := s.makeAccounts(); err != nil {
		return s, fmt.Errorf("make the accounts of the NATS servers: %w", err)
	}
	return s, nil
}

// makeAccounts makes an operator with two accounts, as an installation has that
// asks its servers whether they sync.
func (s *Secrets) makeAccounts() error {
	operator, err := nkeys.CreateOperator()
	if err != nil {
		return err
	}
	signer, err := operator.PublicKey()
	if err != nil {
		return err
	}
	var preload strings.Builder
	var system string
	for _, of := range []struct {
		creds  string
		limits jwt.JetStreamLimits
	}{
		{s.LogCreds, jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}},
		{s.SystemCreds, jwt.JetStreamLimits{}},
	} {
		account, err := nkeys.CreateAccount()
		if err != nil {
			return err
		}
		public, err := account.PublicKey()
		if err != nil {
			return err
		}
		claims := jwt.NewAccountClaims(public)
		claims.Limits.JetStreamLimits = of.limits
		text, err := claims.Encode(operator)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(&preload, "  %s: %q\n", public, text)
		system = public
		if err := writeCredentials(of.creds, account); err != nil {
			return err
		}
	}
	trusted := jwt.NewOperatorClaims(signer)
	trusted.SystemAccount = system
	text, err := trusted.Encode(operator)
	if err != nil {
		return err
	}
	s.NATSConfig = fmt.Sprintf("operator: %q\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: {\n%s}\n", text, system, preload.String())
	return nil
}

// writeCredentials makes a user of an account.
func writeCredentials(path string, account nkeys.KeyPair) error {
	user, err := nkeys.CreateUser()
	if err != nil {
		return err
	}
	public, err := user.PublicKey()
	if err != nil {
		return err
	}
	seed, err := user.Seed()
	if err != nil {
		return err
	}
	text, err := jwt.NewUserClaims(public).Encode(account)
	if err != nil {
		return err
	}
	file, err := jwt.FormatUserConfig(text, seed)
	if err != nil {
		return err
	}
	return os.WriteFile(path, file, 0o600)
}
