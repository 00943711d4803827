package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// external is a NATS server as an operator would run one: with accounts and
// credentials files, and TLS.
type external struct {
	t       *testing.T
	options server.Options
	running *server.Server
	// Files for the flags.
	ca, creds, sysCreds string
}

func newExternal(t *testing.T) *external {
	t.Helper()
	e := &external{t: t}
	operator := key(t, nkeys.PrefixByteOperator)
	log, system := key(t, nkeys.PrefixByteAccount), key(t, nkeys.PrefixByteAccount)
	accounts := &server.MemAccResolver{}
	for _, account := range []nkeys.KeyPair{log, system} {
		claims := jwt.NewAccountClaims(public(t, account))
		if account == log {
			claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
		}
		must(t, accounts.Store(public(t, account), encode(t, claims, operator)))
	}
	trusted := jwt.NewOperatorClaims(public(t, operator))
	trusted.SystemAccount = public(t, system)
	e.options = server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		TrustedOperators: []*jwt.OperatorClaims{trusted}, AccountResolver: accounts, SystemAccount: public(t, system),
		JetStream: true, StoreDir: t.TempDir(), TLS: true,
	}
	e.options.TLSConfig, e.ca = certificate(t)
	e.creds, e.sysCreds = credentials(t, log), credentials(t, system)
	t.Cleanup(e.stop)
	return e
}

// start starts the server, again on the same port.
func (e *external) start(syncAlways bool) {
	e.t.Helper()
	options := e.options
	options.SyncAlways = syncAlways
	running, err := server.NewServer(&options)
	must(e.t, err)
	running.Start()
	if !running.ReadyForConnections(startTimeout) {
		e.t.Fatal("the NATS server is not ready")
	}
	e.running = running
	e.options.Port = running.Addr().(*net.TCPAddr).Port
}

func (e *external) stop() {
	if e.running != nil {
		e.running.Shutdown()
		e.running.WaitForShutdown()
	}
}

// config is a process on the server that keeps its files in dir.
func (e *external) config(dir string) Config {
	c := local(All, dir)
	c.Log.NATSURL = e.running.ClientURL()
	c.Log.NATSCreds, c.Log.NATSSysCreds, c.Log.NATSTLSCA = e.creds, e.sysCreds, e.ca
	c.Keys.KeyEncryptionKeys = secret.NewRingLine("1")
	return c
}

func TestServersThatSync(t *testing.T) {
	e := newExternal(t)
	e.start(true)
	s := start(t, e.config(t.TempDir()))
	ready := func() (bool, string) {
		status, body := get(t, s.AdminURL()+"/health/ready", noKey)
		return status == http.StatusOK, body
	}
	if ok, body := ready(); !ok {
		t.Fatal(body)
	}
	// They come back with the default, which does not.
	e.stop()
	e.start(false)
	embeddedtest.Eventually(t, "not ready, because the servers do not sync", func() bool {
		_, body := ready()
		return strings.Contains(body, "does not sync always")
	})
	e.stop()
	e.start(true)
	embeddedtest.Eventually(t, "ready again", func() bool {
		ok, _ := ready()
		return ok
	})
}

func TestServersThatDoNotSync(t *testing.T) {
	e := newExternal(t)
	e.start(false)
	c := e.config(t.TempDir())
	if err := New(c).Start(t.Context()); err == nil || !strings.Contains(err.Error(), "does not sync always") {
		t.Errorf("got %v", err)
	}
	c.Log.AcceptDataLoss = true
	start(t, c)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func key(t *testing.T, prefix nkeys.PrefixByte) nkeys.KeyPair {
	t.Helper()
	k, err := nkeys.CreatePair(prefix)
	must(t, err)
	return k
}

func public(t *testing.T, k nkeys.KeyPair) string {
	t.Helper()
	p, err := k.PublicKey()
	must(t, err)
	return p
}

func encode(t *testing.T, claims jwt.Claims, signer nkeys.KeyPair) string {
	t.Helper()
	text, err := claims.Encode(signer)
	must(t, err)
	return text
}

// credentials is the credentials file of a new user of the account.
func credentials(t *testing.T, account nkeys.KeyPair) string {
	t.Helper()
	user := key(t, nkeys.PrefixByteUser)
	seed, err := user.Seed()
	must(t, err)
	text, err := jwt.FormatUserConfig(encode(t, jwt.NewUserClaims(public(t, user)), account), seed)
	must(t, err)
	return file(t, "user.creds", text)
}

// certificate is a server's TLS configuration and the file of its CA, which is
// itself.
func certificate(t *testing.T) (*tls.Config, string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	must(t, err)
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: k}}, MinVersion: tls.VersionTLS12}
	return config, file(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func file(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, text, 0o600))
	return path
}
