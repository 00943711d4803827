package main

import (
	"encoding/json"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// Everything that an authority does works for processes whose NATS users may do
// no more than they need, and none of them tries to.
func TestComposed(t *testing.T) {
	c := newComposed(t)
	c.start("projector-1", "projector-2")
	c.start("api-1", "api-2")
	one, two := c.replica("api-1"), c.replica("api-2")
	web := c.register("demo-web", "--grant-type", "authorization_code,refresh_token", "--redirect-uri", authority.DemoRedirect, "--scope", "read write openid", "--first-party")
	service := c.register("demo-service", "--grant-type", "client_credentials", "--scope", "read write", "--introspect-any")
	alice := c.user(authority.DemoUser, authority.DemoPassword)
	active := func(at *apitest.Replica, a apitest.Answer) bool {
		i := at.Post(t, "/oauth2/introspect", service, "token", a.Text("access_token"))
		return i.JSON["active"] == true
	}

	first := one.Tokens(t, web, "read openid offline_access")
	second := two.Refresh(t, web, first.Text("refresh_token"))
	again := one.Refresh(t, web, first.Text("refresh_token"))
	if second.Text("refresh_token") == "" || second.Text("refresh_token") != again.Text("refresh_token") {
		t.Errorf("refreshed: %s, again: %s", second.Body, again.Body)
	}
	own := one.Token(t, service, "grant_type", "client_credentials")
	if !active(two, second) || !active(two, own) {
		t.Error("what was issued is not active")
	}
	one.Post(t, "/oauth2/revoke", web, "token", second.Text("refresh_token"))
	if active(one, second) {
		t.Error("what was revoked is active where it was")
	}
	embeddedtest.Eventually(t, "the other replica to hear of it", func() bool { return !active(two, first) })
	reused := two.Tokens(t, web, "read offline_access")
	for range 2 {
		reused = two.Refresh(t, web, reused.Text("refresh_token"))
	}
	c.operator("api-2", "", "revoke", "--yes", "--client", web.ID, "--since", "1h")
	embeddedtest.Eventually(t, "the replica to hear of the bulk", func() bool { return !active(one, reused) })
	c.device(one)
	c.operator("api-1", "", "user", "cut-off", alice)
	c.administer()
	c.addPartition()
	c.restart("projector-1", "api-1")
	if !active(two, one.Tokens(t, web, "read")) {
		t.Error("what was issued after the restart is not active")
	}
	c.operator("api-1", "", "user", "erase", alice)
	for _, line := range c.said.take() {
		t.Error(line)
	}
	c.forbidden()
}

func (c *composed) register(id string, flags ...string) apitest.Client {
	c.t.Helper()
	var made struct {
		Secret string `json:"client_secret"`
	}
	out := c.operator("api-1", "", append([]string{"client", "create", id, "--json"}, flags...)...)
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		c.t.Fatal(err)
	}
	return apitest.Client{ID: id, Secret: made.Secret}
}

func (c *composed) user(name, password string) (id string) {
	c.t.Helper()
	var made struct {
		ID string `json:"user_id"`
	}
	out := c.operator("api-2", password+"\n", "user", "create", name, "--json")
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.ID == "" {
		c.t.Fatal(out, err)
	}
	return made.ID
}

// device begins a device authorization and polls.
func (c *composed) device(at *apitest.Replica) {
	c.t.Helper()
	c.register("demo-cli", "--public", "--scope", "read", "--grant-type", "urn:ietf:params:oauth:grant-type:device_code,refresh_token")
	begun := at.Post(c.t, "/oauth2/device_authorization", apitest.Client{ID: "demo-cli"}, "scope", "read")
	polled := at.Token(c.t, apitest.Client{ID: "demo-cli"}, "grant_type", "urn:ietf:params:oauth:grant-type:device_code", "device_code", begun.Text("device_code"))
	if polled.Text("error") != "authorization_pending" {
		c.t.Errorf("begun: %s, polled: %s", begun.Body, polled.Body)
	}
}

// addPartition has the operator make the stream, which the API must not.
func (c *composed) addPartition() {
	c.t.Helper()
	if out, errs, status := c.tryOperator("api-1", "", "partition", "add"); status == exitOK || !strings.Contains(errs, "ermission") {
		c.t.Errorf("an API replica made a stream: %s%s", out, errs)
	}
	embeddedtest.Eventually(c.t, "the refusal to be logged", func() bool { return c.said.forget("reason=stream_denied") })
	if text, err := c.command("streams", "setup", "streams", "--partitions", "2").CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %s", err, text)
	}
	c.operator("api-1", "", "partition", "add")
	embeddedtest.Eventually(c.t, "both replicas to open grants in it", func() bool {
		one, two := c.operator("api-1", "", "partition", "list"), c.operator("api-2", "", "partition", "list")
		return strings.Count(one, "in use\n") == 2 && strings.Count(two, "in use\n") == 2
	})
}

// administer looks at what happened in all ways, and builds read models again.
func (c *composed) administer() {
	c.t.Helper()
	if out := c.operator("api-1", "", "audit", "list"); !strings.Contains(out, "grant.revoked.v1") {
		c.t.Errorf("audit: %s", out)
	}
	embeddedtest.Eventually(c.t, "all of the log to be signed", func() bool {
		out, _, _ := c.tryOperator("api-2", "", "audit", "checkpoint")
		return strings.Contains(out, "MAIN_EVENTS_0") && strings.Contains(out, "MAIN_REGISTRY")
	})
	c.operator("api-1", "", "audit", "verify", "--key", filepath.Join(c.secrets, "operator", "checkpoint-key.pub"))
	c.operator("api-1", "", "audit", "export-log", "-o", c.t.TempDir(), "--key", filepath.Join(c.secrets, "operator", "checkpoint-key.pub"))
	c.operator("api-1", "", "status")
	c.operator("projector-1", "", "projection", "rebuild", "--all")
	c.operator("projector-1", "", "projection", "diff", "--all")
	c.operator("projector-1", "", "projection", "switch", "--all")
}

func (c *composed) restart(names ...string) {
	c.t.Helper()
	for _, name := range names {
		c.stop(name)
		c.start(name)
	}
}

// forbidden tries, as each user, what belongs to another.
func (c *composed) forbidden() {
	c.t.Helper()
	inbox := func(user string) string {
		nc := c.connect(user)
		return nc.NewInbox()
	}
	everybody := []string{
		"$JS.API.STREAM.CREATE.OTHER", "$JS.API.STREAM.UPDATE.MAIN_EVENTS_0", "$JS.API.STREAM.DELETE.MAIN_EVENTS_0",
		"$JS.API.STREAM.PURGE.MAIN_EVENTS_0", "$JS.API.STREAM.PURGE.KV_MAIN_SECRETS", "$JS.API.STREAM.MSG.DELETE.MAIN_EVENTS_0",
		"$JS.API.STREAM.MSG.DELETE.KV_MAIN_SECRETS", "$JS.API.STREAM.SNAPSHOT.MAIN_EVENTS_0", "$JS.API.STREAM.RESTORE.MAIN_EVENTS_0",
		"$JS.API.STREAM.LEADER.STEPDOWN.MAIN_EVENTS_0", "$JS.API.STREAM.PEER.REMOVE.MAIN_EVENTS_0", "$JS.API.META.LEADER.STEPDOWN",
		"$JS.API.CONSUMER.DELETE.MAIN_EVENTS_0.backchannel-logout", "$JS.API.CONSUMER.PAUSE.MAIN_EVENTS_0.backchannel-logout",
		"$JS.API.STREAM.MSG.GET.OTHER", "other.grant.0.x", "main.other", "$SYS.REQ.SERVER.PING",
	}
	events := []string{
		"main.grant.0.x", "main.session.0.x", "main.issued.0.x", "main.revoked.0", "main.refused.0", "main.logout.0",
		"main.client.x", "main.user.x", "main.consent.x.y", "main.key.x", "main.tick",
	}
	secrets := []string{"$KV.MAIN_SECRETS.x", "$KV.MAIN_RECORDS.x", "$KV.MAIN_DEVICES.x", "$KV.MAIN_REVOCATIONS.x"}
	for user, f := range map[string]struct{ publish, subscribe []string }{
		"api/nats.nk": {
			append(everybody, "main.read", "$SRV.PING", inbox("projector/nats.nk")),
			[]string{">", "main.>", "main.grant.>", "main.read.>", "_INBOX.>", "_INBOX.*.*", "$KV.>", "$JS.ACK.>", "$SRV.PING", inbox("projector/nats.nk"), inbox("operator/nats.nk")},
		},
		"projector/nats.nk": {
			slices.Concat(everybody, events, secrets, []string{
				"$JS.API.STREAM.MSG.GET.KV_MAIN_SECRETS", "$JS.API.STREAM.MSG.GET.KV_MAIN_RECORDS", "$JS.API.CONSUMER.CREATE.KV_MAIN_SECRETS.x",
				"$JS.API.CONSUMER.CREATE.MAIN_EVENTS_0.backchannel-logout", "$JS.API.CONSUMER.CREATE.MAIN_EVENTS_0.backchannel-logout.main.grant.0.x",
				"$JS.API.CONSUMER.MSG.NEXT.MAIN_EVENTS_0.backchannel-logout", "$JS.ACK.MAIN_EVENTS_0.backchannel-logout.1.1.1.1.0", "main.read.v1.0.grant",
			}),
			[]string{">", "main.>", "main.grant.>", "_INBOX.>", "$KV.>", inbox("api/nats.nk"), inbox("operator/nats.nk")},
		},
		"operator/nats.nk": {
			slices.Concat(events, secrets, []string{"$SYS.REQ.SERVER.PING", inbox("api/nats.nk")}),
			[]string{">", "main.>", "main.read.>", "_INBOX.>", inbox("api/nats.nk")},
		},
		"api/nats-sys.nk": {
			[]string{"$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.X.RELOAD", "$SYS.REQ.SERVER.X.KICK", "$SYS.REQ.SERVER.PING.CONNZ", "$JS.API.STREAM.NAMES", "main.grant.0.x"},
			[]string{">", "$SYS.>", "$SYS.ACCOUNT.*.CONNECT", "_INBOX.>"},
		},
	} {
		nc := c.connect(user)
		for _, s := range f.publish {
			c.refused(nc, user, s, func() error { return nc.Publish(s, []byte("{}")) })
		}
		for _, s := range f.subscribe {
			c.refused(nc, user, s, func() error {
				_, err := nc.SubscribeSync(s)
				return err
			})
		}
	}
	if nc, err := nats.Connect(c.urls); err == nil {
		nc.Close()
		c.t.Error("somebody without a key is let in")
	}
}

func (c *composed) connect(user string) *nats.Conn {
	c.t.Helper()
	nc, err := eventlog.Connect(eventlog.ConnectConfig{URL: c.urls, Creds: filepath.Join(c.secrets, user), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	return nc
}

func (c *composed) refused(nc *nats.Conn, user, subject string, try func() error) {
	c.t.Helper()
	if err := try(); err != nil {
		c.t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		c.t.Fatal(err)
	}
	if err := nc.LastError(); err == nil || !strings.Contains(err.Error(), `"`+subject+`"`) {
		c.t.Errorf("%s may use %s", user, subject)
	}
}
