package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

const (
	// certificatePoll is how often files of certificates are looked at: whatever
	// renews them need not know of this process.
	certificatePoll = 10 * time.Second
	// certificateWarning is how long before its end a certificate that was not
	// renewed is complained of, and certificateReminder how often.
	certificateWarning  = 7 * 24 * time.Hour
	certificateReminder = 24 * time.Hour
)

// A shownCertificate is the one that a listener shows, as it is on disk. One that
// cannot be loaded changes nothing: the old one is shown until it can.
type shownCertificate struct {
	certFile, keyFile string
	logger            *slog.Logger

	current atomic.Pointer[loaded]
}

// loaded is a certificate with the files it was loaded from.
type loaded struct {
	cert     tls.Certificate
	pem, key []byte
}

// openCertificate is nil without files.
func openCertificate(certFile, keyFile string, logger *slog.Logger) (*shownCertificate, error) {
	if certFile == "" {
		return nil, nil
	}
	c := &shownCertificate{certFile: certFile, keyFile: keyFile, logger: logger}
	if _, err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// load takes over the files, and reports whether they were others.
func (c *shownCertificate) load() (bool, error) {
	pem, err := os.ReadFile(c.certFile)
	if err != nil {
		return false, fmt.Errorf("reading the certificate: %w", err)
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return false, fmt.Errorf("reading the certificate's key: %w", err)
	}
	if old := c.current.Load(); old != nil && bytes.Equal(old.pem, pem) && bytes.Equal(old.key, key) {
		return false, nil
	}
	cert, err := tls.X509KeyPair(pem, key)
	if err != nil {
		return false, fmt.Errorf("loading the certificate %s: %w", c.certFile, err)
	}
	c.current.Store(&loaded{cert, pem, key})
	return true, nil
}

// reload is load that says in the log what came of it. Of a failure it tells
// once, until it is another.
func (c *shownCertificate) reload(failed string) string {
	changed, err := c.load()
	switch {
	case err == nil && changed:
		c.logger.Info("a new certificate is shown", "file", c.certFile, "until", c.until())
		return ""
	case err == nil:
		return ""
	case err.Error() != failed:
		c.logger.Error("the certificate cannot be renewed, the old one is shown", "error", err, "until", c.until())
	}
	return err.Error()
}

// until is when the certificate ends.
func (c *shownCertificate) until() time.Time { return c.current.Load().cert.Leaf.NotAfter }

// watch looks at the files until ctx ends.
func (c *shownCertificate) watch(ctx context.Context) {
	ticker := time.NewTicker(certificatePoll)
	defer ticker.Stop()
	var failed string
	var warned time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			failed = c.reload(failed)
			if c.until().Sub(now) < certificateWarning && now.Sub(warned) >= certificateReminder {
				c.logger.Warn("a certificate ends soon", "file", c.certFile, "until", c.until())
				warned = now
			}
		}
	}
}

// config is how a listener speaks TLS.
func (c *shownCertificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &c.current.Load().cert, nil
		},
	}
}
