package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/chancery-authority/chancery/api/secret"
)

// Files in the data directory.
const (
	adminKeyFile = "admin-key"
	keyRingFile  = "key-encryption-keys"
	modelsDir    = "read-models"
)

// hasAdminKey reports whether a key was given. A process without an API makes none.
func (c Config) hasAdminKey() bool { return !c.Keys.AdminKey.IsZero() || c.Keys.AdminKeyFile != "" }

// adminKey is the key as given, from its file, or from the data directory,
// where it is made if there is none.
func (c Config) adminKey() (secret.Secret, error) {
	if !c.Keys.AdminKey.IsZero() {
		return c.Keys.AdminKey, nil
	}
	if c.Keys.AdminKeyFile != "" {
		return readSecret("the admin key", c.Keys.AdminKeyFile)
	}
	path := filepath.Join(c.Data.Data, adminKeyFile)
	key, err := readSecret("the admin key", path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := secret.CreateFile(path, []byte(rand.Text()+"\n")); err != nil && !errors.Is(err, fs.ErrExist) {
		return secret.Secret{}, fmt.Errorf("making the admin key: %w", err)
	}
	return readSecret("the admin key", path)
}

// keyRing is the key-encryption keys as given, from their file, or from the
// data directory, where they are made if there are none. Check has seen to it
// that the last is only done for the embedded log, which is beside them.
func (c Config) keyRing() (*secret.Ring, error) {
	switch {
	case !c.Keys.KeyEncryptionKeys.IsZero():
		return secret.ParseRing(c.Keys.KeyEncryptionKeys)
	case c.Keys.KeyEncryptionKeysFile != "":
		return secret.ReadRing(c.Keys.KeyEncryptionKeysFile)
	}
	path := filepath.Join(c.Data.Data, keyRingFile)
	ring, created, err := secret.OpenRing(path)
	if created {
		c.Logger.Warn("made the key-encryption keys: without this file no token, client secret or key survives, so back it up", "file", path)
	}
	return ring, err
}

// readSecret reads the one line of a file.
func readSecret(what, path string) (secret.Secret, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return secret.Secret{}, fmt.Errorf("reading %s: %w", what, err)
	}
	key := secret.New(strings.TrimSpace(string(text)))
	if key.IsZero() {
		return secret.Secret{}, fmt.Errorf("reading %s: %s is empty", what, path)
	}
	return key, nil
}
