package hammer

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

// secrets are the files and texts that all processes share.
type secrets struct {
	// logCreds and systemCreds are credentials files of NATS users.
	logCreds, systemCreds string
	adminKeyFile          string
	ringFile              string
	checkpointKeyFile     string
	// adminKey and checkpointKey (public) are their texts.
	adminKey, checkpointKey string
	// planted must not be found anywhere.
	planted []string
	// natsConfig is the part of the servers' configuration about accounts.
	natsConfig string
}

func makeSecrets(dir string) (s secrets, err error) {
	s = secrets{
		logCreds: filepath.Join(dir, "log.creds"), systemCreds: filepath.Join(dir, "system.creds"),
		adminKeyFile: filepath.Join(dir, "admin-key"), ringFile: filepath.Join(dir, "key-encryption-keys"),
		checkpointKeyFile: filepath.Join(dir, "checkpoint-key"), adminKey: rand.Text(),
	}
	ring := secret.NewRingLine("1").Reveal()
	private, public, err := tree.NewKey(rand.Reader, "hammer/log")
	if err != nil {
		return s, err
	}
	s.checkpointKey = public
	s.planted = []string{s.adminKey, ring, private}
	for path, text := range map[string]string{s.adminKeyFile: s.adminKey, s.ringFile: ring, s.checkpointKeyFile: private} {
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
func (s *secrets) makeAccounts() error {
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
		{s.logCreds, jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}},
		{s.systemCreds, jwt.JetStreamLimits{}},
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
	s.natsConfig = fmt.Sprintf("operator: %q\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: {\n%s}\n", text, system, preload.String())
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
