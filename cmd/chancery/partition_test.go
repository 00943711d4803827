package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// natsWithUsers starts a NATS server as operators have them, with a user who may
// do anything and one who may not append the events of partitions: their
// credentials files.
func natsWithUsers(t *testing.T) (url, all, noEvent string) {
	t.Helper()
	operator, system, account := newKey(t, nkeys.CreateOperator), newKey(t, nkeys.CreateAccount), newKey(t, nkeys.CreateAccount)
	accounts := &server.MemAccResolver{}
	for _, k := range []nkeys.KeyPair{system, account} { // without a system account there is no JetStream
		claims := jwt.NewAccountClaims(publicKey(t, k))
		if k == account {
			claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
		}
		text, err := claims.Encode(operator)
		must(t, err)
		must(t, accounts.Store(publicKey(t, k), text))
	}
	trusted := jwt.NewOperatorClaims(publicKey(t, operator))
	trusted.SystemAccount = publicKey(t, system)
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
		TrustedOperators: []*jwt.OperatorClaims{trusted}, AccountResolver: accounts, SystemAccount: publicKey(t, system),
	})
	must(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(embeddedtest.Patience) {
		t.Fatal("the NATS server is not ready")
	}
	user := func(deny ...string) string {
		k := newKey(t, nkeys.CreateUser)
		claims := jwt.NewUserClaims(publicKey(t, k))
		claims.Pub.Deny = deny
		text, err := claims.Encode(account)
		must(t, err)
		seed, err := k.Seed()
		must(t, err)
		creds, err := jwt.FormatUserConfig(text, seed)
		must(t, err)
		path := filepath.Join(t.TempDir(), "user.creds")
		must(t, os.WriteFile(path, creds, 0o600))
		return path
	}
	return s.ClientURL(), user(), user("main.partition.*")
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) nkeys.KeyPair {
	t.Helper()
	k, err := create()
	must(t, err)
	return k
}

func publicKey(t *testing.T, k nkeys.KeyPair) string {
	t.Helper()
	p, err := k.PublicKey()
	must(t, err)
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestPartitionAddSurvivesAKill kills the process that adds a partition when its
// stream is there and its event is not. To others it is no partition, until the
// command is run again.
func TestPartitionAddSurvivesAKill(t *testing.T) {
	url, all, noEvent := natsWithUsers(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text+"\n"), 0o600))
		return path
	}
	secrets := []string{"--admin-key-file", file("admin", apitest.AdminKey), "--key-encryption-keys-file", file("keys", apitest.KeyRing)}
	start := func(role, creds string, args ...string) []string {
		return append([]string{role, "--nats-url", url, "--nats-creds", creds, "--accept-data-loss", "--admin-listen", "127.0.0.1:0"}, args...)
	}
	api := append(secrets, "--issuer", apitest.Issuer, "--listen", "127.0.0.1:0")
	_, lines := launch(t, start("projector", all, "--data", t.TempDir())...)
	field(t, lines, "admin")
	go drain(lines)
	doomed, denied := launchReplica(t, start("api", noEvent, api...))
	_, replica := launchReplica(t, start("api", all, api...))
	admin := func(r *apitest.Replica, args ...string) (string, error) {
		stdout, stderr, status := chancery(t, append(args, "--admin-url", r.AdminURL, "--admin-key", apitest.AdminKey)...)
		if status != exitOK {
			return "", errors.New(stderr)
		}
		return stdout, nil
	}

	js := streams(t, url, all)
	failed := make(chan error, 1)
	go func() {
		_, err := admin(denied, "partition", "add")
		failed <- err
	}()
	embeddedtest.Eventually(t, "the stream to be there", func() bool {
		_, err := js.Stream(t.Context(), "MAIN_EVENTS_1")
		return err == nil
	})
	must(t, doomed.Process.Kill())
	if err := <-failed; err == nil {
		t.Error("the command ended well")
	}
	if got := listed(t, admin, replica); len(got) != 1 {
		t.Errorf("there are %v", got)
	}
	if _, err := admin(replica, "partition", "add"); err != nil {
		t.Fatal(err)
	}
	embeddedtest.Eventually(t, "the partition to be in use", func() bool {
		got := listed(t, admin, replica)
		return len(got) == 2 && got[1]
	})
	// Where the event is denied, the administrator is told so.
	_, denied = launchReplica(t, start("api", noEvent, api...))
	_, err := admin(denied, "partition", "add", "--count", "2")
	if err == nil || !strings.Contains(err.Error(), "give its user the permission") {
		t.Errorf("got %v", err)
	}
}

func drain(lines <-chan string) {
	for range lines { // so that it can go on logging
	}
}

func streams(t *testing.T, url, creds string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, nats.UserCredentials(creds), nats.Timeout(10*time.Second))
	must(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	must(t, err)
	return js
}

// listed says of each partition whether it is in use.
func listed(t *testing.T, admin func(*apitest.Replica, ...string) (string, error), r *apitest.Replica) []bool {
	t.Helper()
	out, err := admin(r, "partition", "list", "--json")
	must(t, err)
	var list partitionList
	must(t, json.Unmarshal([]byte(out), &list))
	var inUse []bool
	for _, p := range list.Partitions {
		inUse = append(inUse, p.InUse)
	}
	return inUse
}
