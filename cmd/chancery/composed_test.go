package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// composed is what docker-compose.yml describes, on loopback: three NATS servers
// with its configuration, and its processes with their settings and secrets.
type composed struct {
	t       *testing.T
	file    composition
	secrets string
	// urls are those of the NATS servers, separated by commas.
	urls string
	// addresses are those of the processes.
	addresses map[string]addresses
	running   map[string]*exec.Cmd
	said      *violations
}

// addresses are where a process listens.
type addresses struct{ public, admin string }

// violations are lines that say that somebody did what they may not.
type violations struct {
	mu    sync.Mutex
	lines []string
}

func (v *violations) look(line string) {
	if strings.Contains(line, "iolation") || strings.Contains(line, "permissions") {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.lines = append(v.lines, line)
	}
}

// take gives the lines since it was last called.
func (v *violations) take() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	lines := v.lines
	v.lines = nil
	return lines
}

// forget drops the lines up to one with a text, and reports whether there was one: what
// a process logs comes later than what it answers.
func (v *violations) forget(text string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := slices.IndexFunc(v.lines, func(line string) bool { return strings.Contains(line, text) })
	v.lines = v.lines[i+1:]
	return i >= 0
}

// The methods of a NATS server's log.
func (v *violations) Errorf(format string, a ...any) {
	v.look(fmt.Sprintf(format, a...))
}

func (v *violations) Warnf(format string, a ...any) {
	v.look(fmt.Sprintf(format, a...))
}

func (v *violations) Fatalf(format string, a ...any) {
	v.look("violation: " + fmt.Sprintf(format, a...))
}
func (v *violations) Noticef(string, ...any) {}
func (v *violations) Debugf(string, ...any)  {}
func (v *violations) Tracef(string, ...any)  {}

// newComposed starts the servers and runs what runs once. Nothing else is up.
func newComposed(t *testing.T) *composed {
	t.Helper()
	c := &composed{
		t: t, file: readComposition(t), secrets: t.TempDir(), said: &violations{},
		addresses: map[string]addresses{}, running: map[string]*exec.Cmd{},
	}
	// The admin key of the tests' client; it stays as it is.
	c.write("api/admin-key", apitest.AdminKey)
	c.startServers()
	streams := c.command("streams")
	if text, err := streams.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s%q", err, text, c.said.take())
	}
	return c
}

func (c *composed) write(name, text string) {
	c.t.Helper()
	path := filepath.Join(c.secrets, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// startServers starts the servers with their configuration, in which nothing but
// addresses is other.
func (c *composed) startServers() {
	c.t.Helper()
	const ports = 3
	free := embeddedtest.FreePorts(c.t, ports*embeddedtest.Nodes)
	at := func(node, port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(free[ports*node+port])) }
	routes := strings.NewReplacer("nats-1:6222", at(0, 2), "nats-2:6222", at(1, 2), "nats-3:6222", at(2, 2), "/secrets", c.secrets)
	var once []string
	for _, arg := range c.file.Services["secrets"].Command {
		once = append(once, routes.Replace(arg))
	}
	if out, errs, status := chancery(c.t, once...); status != exitOK {
		c.t.Fatal(out, errs)
	}
	var urls []string
	for i := range embeddedtest.Nodes {
		dir := c.t.TempDir()
		name := "nats-" + strconv.Itoa(i+1)
		config := strings.NewReplacer(
			"$NATS_NAME", c.file.Services[name].Environment["NATS_NAME"], "/data", filepath.Join(dir, "data"),
			"0.0.0.0:4222", at(i, 0), "0.0.0.0:8222", at(i, 1), "0.0.0.0:6222", at(i, 2),
		).Replace(string(readRoot(c.t, "cmd/compose/nats/nats.conf")))
		if err := os.WriteFile(filepath.Join(dir, "nats.conf"), []byte(config), 0o600); err != nil {
			c.t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(c.secrets, "nats"), filepath.Join(dir, "access")); err != nil {
			c.t.Fatal(err)
		}
		c.startServer(filepath.Join(dir, "nats.conf"))
		urls = append(urls, "nats://"+at(i, 0))
	}
	c.urls = strings.Join(urls, ",")
	for i := range embeddedtest.Nodes {
		embeddedtest.Eventually(c.t, "a server to be healthy, as its health check finds out", func() bool {
			return healthy("http://" + at(i, 1) + "/healthz?js-enabled-only=true")
		})
	}
}

func (c *composed) startServer(config string) {
	c.t.Helper()
	opts, err := server.ProcessConfigFile(config)
	if err != nil {
		c.t.Fatal(err)
	}
	opts.NoSigs = true
	s, err := server.NewServer(opts)
	if err != nil {
		c.t.Fatal(err)
	}
	s.SetLoggerV2(c.said, false, false, false)
	s.Start()
	c.t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
}

func healthy(url string) bool {
	response, err := http.Get(url)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// environment is that of a service, with the addresses of loopback and the
// directory of its secrets.
func (c *composed) environment(name string) []string {
	c.t.Helper()
	s := c.file.Services[name]
	at, ok := c.addresses[name]
	if !ok {
		free := embeddedtest.FreePorts(c.t, 2)
		at = addresses{"127.0.0.1:" + strconv.Itoa(free[0]), "127.0.0.1:" + strconv.Itoa(free[1])}
		c.addresses[name] = at
	}
	replace := strings.NewReplacer(
		c.file.Services["streams"].Environment["CHANCERY_NATS_URL"], c.urls,
		"/secrets/", c.secretsOf(s)+"/", "0.0.0.0:8080", at.public, "0.0.0.0:8081", at.admin,
	)
	env := []string{"CHANCERY_DATA=" + filepath.Join(c.secrets, "data", name), asProgram + "=1"}
	for k, v := range s.Environment {
		env = append(env, k+"="+replace.Replace(v))
	}
	return env
}

// secretsOf is the only directory of secrets that the service sees.
func (c *composed) secretsOf(s composedService) string {
	c.t.Helper()
	i := slices.IndexFunc(s.Volumes, func(v string) bool { return strings.HasSuffix(v, ":/secrets:ro") })
	if i < 0 {
		c.t.Fatal("the service sees no secrets")
	}
	volume, _, _ := strings.Cut(s.Volumes[i], ":")
	return filepath.Join(c.secrets, strings.TrimPrefix(volume, "secrets-"))
}

// command is that of a service, or another in its place.
func (c *composed) command(name string, args ...string) *exec.Cmd {
	c.t.Helper()
	if args == nil {
		args = c.file.Services[name].Command
	}
	cmd := exec.CommandContext(c.t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), c.environment(name)...)
	return cmd
}

// start starts a service and waits until it is healthy, as its health check
// finds out.
func (c *composed) start(names ...string) {
	c.t.Helper()
	for _, name := range names {
		cmd, lines := launchWith(c.t, c.environment(name), c.file.Services[name].Command...)
		c.running[name] = cmd
		ended := make(chan struct{})
		c.t.Cleanup(func() {
			_ = cmd.Process.Kill()
			<-ended
		})
		go func() {
			defer close(ended)
			for line := range lines {
				c.said.look(line)
				c.t.Log(name, line)
			}
		}()
	}
	for _, name := range names {
		var told string
		c.t.Cleanup(func() {
			if c.t.Failed() {
				c.t.Log(name, "was last said to be", told)
			}
		})
		embeddedtest.Eventually(c.t, name+" to be healthy", func() bool {
			text, err := c.command(name, c.file.Services[name].Healthcheck.Test[2:]...).CombinedOutput()
			told = string(text)
			return err == nil
		})
	}
}

// stop stops a service as Compose does.
func (c *composed) stop(name string) {
	c.t.Helper()
	cmd := c.running[name]
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		c.t.Errorf("%s ended with %v", name, err)
	}
}

// replica calls an API replica.
func (c *composed) replica(name string) *apitest.Replica {
	at := c.addresses[name]
	return &apitest.Replica{URL: "http://" + at.public, AdminURL: "http://" + at.admin}
}

// operator runs a command with the operator's rights, and gives its output.
func (c *composed) operator(admin, stdin string, args ...string) string {
	c.t.Helper()
	out, errs, status := c.tryOperator(admin, stdin, args...)
	if status != exitOK {
		c.t.Fatalf("%q: status %d: %s%s", args, status, out, errs)
	}
	return out
}

// tryOperator is operator for a command that may fail.
func (c *composed) tryOperator(admin, stdin string, args ...string) (stdout, stderr string, status int) {
	c.t.Helper()
	key := map[bool]string{true: "admin-key", false: "projector-admin-key"}[strings.HasPrefix(admin, "api")]
	args = append(args, "--admin-url", "http://"+c.addresses[admin].admin,
		"--admin-key-file", filepath.Join(c.secrets, "operator", key))
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(c.t.Context(), embeddedtest.Patience)
	defer cancel()
	status = run(ctx, args, strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), status
}
