package eventlog_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// authority issues certificates for one test.
type authority struct {
	t    *testing.T
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.key, a.cert = nil, &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true}
	a.issue("ca", a.cert)
	return a
}

// issue writes a certificate and its key to name.crt and name.key. The first
// one is the authority's own.
func (a *authority) issue(name string, c *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.check(err)
	if a.key == nil {
		a.key = key
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	a.check(err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	a.check(err)
	a.check(os.WriteFile(a.file(name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	a.check(os.WriteFile(a.file(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) check(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// startTLS starts a server that wants a client certificate.
func (a *authority) startTLS() (url string) {
	a.t.Helper()
	own, err := tls.LoadX509KeyPair(a.file("server.crt"), a.file("server.key"))
	a.check(err)
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(a.file("ca.crt"))
	a.check(err)
	roots.AppendCertsFromPEM(ca)
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, TLSTimeout: 10, TLSVerify: true,
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{own}, ClientCAs: roots,
			ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
		},
	})
	a.check(err)
	s.Start()
	a.t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(patience) {
		a.t.Fatal("the server is not ready")
	}
	return s.ClientURL()
}

func TestConnectTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	a.issue("client", &x509.Certificate{Subject: pkix.Name{CommonName: "chancery"}})
	url := a.startTLS()
	full := eventlog.ConnectConfig{URL: url, CA: a.file("ca.crt"), Cert: a.file("client.crt"), Key: a.file("client.key")}
	nc, err := eventlog.Connect(full)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Flush(); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]eventlog.ConnectConfig{
		"server is not trusted": {URL: url, Cert: full.Cert, Key: full.Key},
		"no client certificate": {URL: url, CA: full.CA},
		"no such file":          {URL: url, CA: a.file("none"), Cert: full.Cert, Key: full.Key},
		"no such credentials":   {URL: url, CA: full.CA, Cert: full.Cert, Key: full.Key, Creds: a.file("none")},
	} {
		if nc, err := eventlog.Connect(c); err == nil {
			nc.Close()
			t.Errorf("%s: connected", name)
		}
	}
}

// Nothing is kept back while the connection is away, and it comes back by
// itself.
func TestConnectKeepsNothingBack(t *testing.T) {
	t.Parallel()
	n := embeddedtest.Single(t)
	p := embeddedtest.NewProxy(t, hostPort(n.URL()))
	nc, err := eventlog.Connect(eventlog.ConnectConfig{URL: "nats://" + p.Addr(), Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	p.Cut()
	eventually(t, "the connection is known to be away", func() bool { return !nc.IsConnected() })
	if err := nc.Publish("subject", nil); err == nil {
		t.Error("published while the connection was away")
	}
	p.Heal()
	eventually(t, "the connection is back", nc.IsConnected)
	mustAppend(t, open(t, nc, eventlog.Config{}), eventlog.Unit{Event: tick()})
}

// A user with an nkey is let in by its seed, and is answered in an inbox of its
// own.
func TestConnectNkey(t *testing.T) {
	t.Parallel()
	user, other := nkey(t), nkey(t)
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		Nkeys: []*server.NkeyUser{{Nkey: user.public, Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: []string{"subject"}},
			Subscribe: &server.SubjectPermission{Allow: []string{eventlog.Inbox(user.public) + ".>"}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	nc, err := eventlog.Connect(eventlog.ConnectConfig{URL: s.ClientURL(), Creds: user.file})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request("subject", nil, patience); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a request is answered with %v", err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, creds := range []string{"", other.file, empty} {
		if nc, err := eventlog.Connect(eventlog.ConnectConfig{URL: s.ClientURL(), Creds: creds}); err == nil {
			nc.Close()
			t.Errorf("%q is let in", creds)
		}
	}
}

type nkeyUser struct{ public, file string }

func nkey(t *testing.T) (u nkeyUser) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	if u.public, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	u.file = filepath.Join(t.TempDir(), "user.nk")
	if err := os.WriteFile(u.file, append(seed, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	return u
}
