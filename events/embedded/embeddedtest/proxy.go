package embeddedtest

import (
	"testing"

	"github.com/chancery-authority/chancery/events/embedded/netfault"
)

// Proxy is a TCP proxy on loopback that can lose what passes through it.
type Proxy = netfault.Proxy

// NewProxy starts a proxy to target, host and port. It ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p, err := netfault.NewProxy(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}
