package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// writeCertificate makes a certificate of this machine, which is its own CA, and
// returns what trusts it.
func writeCertificate(t *testing.T, dir string) *http.Client {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	overwrite(t, filepath.Join(dir, "cert.pem"), chain)
	overwrite(t, filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(chain)
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
	}}
}

func overwrite(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// logged waits for a line of the log with a text, and returns it.
func logged(t *testing.T, lines <-chan string, text string) string {
	t.Helper()
	for line := range lines {
		if strings.Contains(line, text) {
			return line
		}
	}
	t.Fatalf("the process ended before it logged %q", text)
	return ""
}

// TestReloadOfAProcess changes what a running process has been told, and the
// certificate that it shows.
func TestReloadOfAProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := filepath.Join(dir, "chancery.yaml")
	settings := func(more string) {
		overwrite(t, config, []byte("listen: 127.0.0.1:0\nadmin-listen: 127.0.0.1:0\ndata: "+dir+
			"\nadmin-tls-cert: "+dir+"/cert.pem\nadmin-tls-key: "+dir+"/key.pem\n"+more))
	}
	settings("realm: main\n")
	first := writeCertificate(t, dir)
	cmd, lines := launch(t, "serve", "--config", config)
	admin := field(t, lines, "admin")
	if !strings.HasPrefix(admin, "https://") {
		t.Fatalf("the admin listener is at %s", admin)
	}
	live := func(c *http.Client) error {
		resp, err := c.Get(admin + "/health/live")
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.Body.Close()
	}
	if err := live(first); err != nil {
		t.Fatal(err)
	}

	second := writeCertificate(t, dir)
	settings("realm: other\nretry-window: 10s\nlog-level: debug\n")
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if line := logged(t, lines, "the configuration is reloaded"); !strings.Contains(line, `changed="log-level retry-window"`) {
		t.Errorf("logged %q", line)
	}
	if line := logged(t, lines, "from the next start on"); !strings.Contains(line, "settings=realm") {
		t.Errorf("logged %q", line)
	}
	if err := live(second); err != nil {
		t.Errorf("the new certificate: %v", err)
	}
	if live(first) == nil {
		t.Error("the old certificate is shown")
	}
	call := []string{"log-level", "--admin-url", admin, "--admin-ca", filepath.Join(dir, "cert.pem"), "--data", dir}
	if out, errs, status := chancery(t, call...); status != exitOK || out != "DEBUG\n" {
		t.Errorf("log-level: status %d, %q, %q", status, out, errs)
	}
	for _, bad := range [][]string{{"--for", "1h"}, {"info", "--for", "500ms"}, {"info", "--for=-500ms"}} {
		if out, errs, status := chancery(t, append(call, bad...)...); status != exitFailure || !strings.Contains(errs, "whole seconds") {
			t.Errorf("log-level %v: status %d, %q, %q", bad, status, out, errs)
		}
	}
	profile := append([]string{"profile", "heap", "-o", filepath.Join(dir, "heap.pprof")}, call[1:]...)
	for _, want := range []int{exitOK, exitFailure} { // the second time the file is there
		if _, errs, status := chancery(t, profile...); status != want {
			t.Errorf("profile: status %d, want %d, %q", status, want, errs)
		}
	}
	health := []string{"health", "--config", config, "--admin-listen", strings.TrimPrefix(admin, "https://")}
	if out, errs, status := chancery(t, health...); status != exitOK || out != "ready\n" {
		t.Errorf("health: status %d, %q, %q", status, out, errs)
	}

	settings("retry-window: 1h\n") // more than there may be
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if line := logged(t, lines, "is not reloaded"); !strings.Contains(line, "retry-window") {
		t.Errorf("logged %q", line)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range lines {
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
