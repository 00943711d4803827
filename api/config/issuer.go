package config

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
)

// ValidateIssuer checks an issuer identifier (RFC 8414 §2): an https URL
// without query and fragment. Plain http is for loopback only. Clients compare
// issuers byte by byte, so only the form that a URL has anyway is taken.
func ValidateIssuer(issuer string) error {
	if issuer == "" {
		return errors.New("is required when listening beyond loopback")
	}
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" {
		return errors.New("is not an absolute URL")
	}
	switch {
	case strings.ContainsAny(issuer, "?#"):
		return errors.New("must have no query and no fragment (RFC 8414 §2)")
	case u.User != nil:
		return errors.New("must hold no credentials")
	case strings.HasSuffix(issuer, "/"):
		return errors.New("must not end with a slash")
	case u.Host != strings.ToLower(u.Host) || u.String() != issuer:
		return errors.New("is not in its normal form: scheme and host in lower case, nothing escaped that need not be")
	case u.Scheme != "https" && (u.Scheme != "http" || !IsLoopback(u.Hostname())):
		return errors.New("must be https, or http on a loopback address")
	}
	return nil
}

// IsLoopback reports whether host, a name or an address without port, can only
// be reached from this machine.
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// validatePage checks the address of an operator's page, if there is one.
func validatePage(page string) error {
	if page == "" {
		return nil
	}
	u, err := url.Parse(page)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return errors.New("is not an absolute URL")
	case strings.Contains(page, "#"):
		return errors.New("must have no fragment")
	case u.User != nil:
		return errors.New("must hold no credentials")
	case u.Scheme != "https" && (u.Scheme != "http" || !IsLoopback(u.Hostname())):
		return errors.New("must be https, or http on a loopback address")
	}
	return nil
}
