package backchannel

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// TestPublicAddresses is every range that an address of a client could be taken
// for another's by.
func TestPublicAddresses(t *testing.T) {
	for address, public := range map[string]bool{
		"1.1.1.1": true, "93.184.215.14": true, "172.15.255.255": true, "172.32.0.1": true, "100.128.0.1": true,
		"2606:4700:4700::1111": true, "2a00:1450:4001:82a::200e": true,

		"0.0.0.0": false, "0.1.2.3": false, "127.0.0.1": false, "127.255.255.254": false, "10.0.0.1": false, "172.16.0.1": false,
		"172.31.255.255": false, "192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "100.127.255.255": false,
		"192.0.0.1": false, "192.0.2.1": false, "192.88.99.1": false, "198.18.0.1": false, "198.19.255.255": false,
		"198.51.100.1": false, "203.0.113.1": false, "224.0.0.1": false, "239.255.255.255": false, "240.0.0.1": false,
		"255.255.255.255": false,

		"::": false, "::1": false, "::7f00:1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:169.254.169.254": false,
		"64:ff9b::7f00:1": false, "64:ff9b:1::1": false, "100::1": false, "2001::1": false, "2001:db8::1": false,
		"2002:7f00:1::": false, "3fff::1": false, "5f00::1": false, "fc00::1": false, "fd00:ec2::254": false, "fe80::1": false, "fe80::1%eth0": false,
		"fec0::1": false, "ff02::1": false,
	} {
		if got := isPublic(netip.MustParseAddr(address)); got != public {
			t.Errorf("%s: public %t", address, got)
		}
	}
}

// TestNoAddressButPublicOnes is asked of what a name resolves to, however it is
// written.
func TestNoAddressButPublicOnes(t *testing.T) {
	asked := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Host }))
	t.Cleanup(server.Close)
	port := server.URL[strings.LastIndex(server.URL, ":"):]
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "127.1", "2130706433", "0x7f000001", "0177.0.0.1"} {
		status, err := post(t.Context(), newClient(false), "http://"+host+port+"/logout?secret=planted", "token")
		if err == nil || status != 0 || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: %d, %v", host, status, err)
		}
		if host == "127.0.0.1" && !errors.Is(err, errNotPublic) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if len(asked) != 0 {
		t.Errorf("asked at %s", <-asked)
	}
	if status, err := post(t.Context(), newClient(true), server.URL, "token"); err != nil || status != http.StatusOK {
		t.Errorf("where it is allowed: %d, %v", status, err)
	}
}

// TestAnswers are taken for what they are, followed nowhere, and not read to
// their end.
func TestAnswers(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	t.Cleanup(elsewhere.Close)
	for status, took := range map[int]bool{
		200: true, 204: true, 201: false, 202: false, 301: false, 302: false, 303: false, 307: false, 308: false,
		400: false, 401: false, 404: false, 500: false, 501: false, 503: false,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(status)
			for range 1000 { // which the caller does not wait for
				if _, err := fmt.Fprint(w, strings.Repeat("x", 64<<10)); err != nil {
					return
				}
			}
		}))
		got, err := post(t.Context(), newClient(true), server.URL, "token")
		if got != status || (err == nil) != took {
			t.Errorf("%d: %d, %v", status, got, err)
		}
		server.Close()
	}
	// A proxy would reach what the address check keeps from us. net/http reads its
	// environment once, so that a test of its effect proves nothing.
	if transport, ok := newClient(true).Transport.(*http.Transport); !ok || transport.Proxy != nil {
		t.Error("a proxy would be asked")
	}
}
