package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/cmd/server"
)

// healthTimeout bounds one question to a process on the same machine, which
// may take three seconds to find out.
const healthTimeout = 5 * time.Second

type healthCmd struct {
	Admin server.Admin `embed:"" group:"listeners"`
}

// Help is the detail of chancery health --help.
func (*healthCmd) Help() string {
	return `For the health check of a container, in which there is nothing else to ask with. It asks where the process of the same settings listens, and ends with status 1 and the reason if that is not ready.`
}

// Run asks the process on this machine whether it is ready.
func (c *healthCmd) Run(ctx context.Context, t terminal) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	address, err := here(c.Admin.AdminListen)
	if err != nil {
		return err
	}
	scheme := "http"
	if c.Admin.AdminTLSCert != "" {
		scheme = "https"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+"/health/ready", nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: neighbor()}).Do(request)
	if err != nil {
		return fmt.Errorf("asking for health: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("asking for health: %w", err)
	}
	answer := strings.TrimSpace(string(text))
	if response.StatusCode != http.StatusOK {
		return errors.New(answer)
	}
	_, err = fmt.Fprintln(t.out, answer)
	return err
}

// neighbor asks without a proxy, and whatever certificate is shown: it is for the
// name that others know the process by, and nothing secret is sent.
func neighbor() *http.Transport {
	return &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, //nolint:gosec // on this machine, and no secret
	}
}

// here is where a process that listens on an address is reached from the same
// machine: on loopback, if it listens everywhere.
func here(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("admin-listen: %q is not host:port", listen)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() && !ip.Is4In6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port), nil
}
