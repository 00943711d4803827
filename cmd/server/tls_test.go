package server

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeShown puts a new certificate and its key into two files.
func writeShown(t *testing.T, certFile, keyFile string) {
	t.Helper()
	made, ca := certificate(t)
	chain, err := os.ReadFile(ca)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(made.Certificates[0].PrivateKey)
	must(t, err)
	must(t, os.WriteFile(certFile, chain, 0o600))
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

// TestHalfWrittenCertificate goes on with the certificate that was there until
// both files of the new one are, and complains once.
func TestHalfWrittenCertificate(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeShown(t, certFile, keyFile)
	var log bytes.Buffer
	c, err := openCertificate(certFile, keyFile, slog.New(slog.NewTextHandler(&log, nil)))
	must(t, err)
	first := c.current.Load()

	chain, private := readFile(t, certFile), readFile(t, keyFile)
	writeShown(t, certFile, keyFile)
	next := readFile(t, keyFile)
	must(t, os.WriteFile(keyFile, private, 0o600))
	failed := c.reload(c.reload(""))
	if failed == "" || c.current.Load() != first || strings.Count(log.String(), "cannot be renewed") != 1 {
		t.Errorf("with another's key: %q, logged %q", failed, log.String())
	}
	must(t, os.WriteFile(keyFile, next, 0o600))
	if failed := c.reload(failed); failed != "" || bytes.Equal(c.current.Load().pem, chain) {
		t.Errorf("with its key: %q", failed)
	}
	must(t, os.Remove(certFile))
	if c.reload("") == "" || c.current.Load() == first {
		t.Error("a certificate that is gone is no error, or brings back the first")
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return text
}
