//go:build haproxy

package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// startHAProxy starts the proxy with its configuration of docker-compose.yml
// before two replicas, and gives its address and that of its metrics.
func startHAProxy(t *testing.T, one, two addresses) (url, metrics string) {
	t.Helper()
	free := embeddedtest.FreePorts(t, 2)
	public, health := "127.0.0.1:"+strconv.Itoa(free[0]), "127.0.0.1:"+strconv.Itoa(free[1])
	server := func(a addresses) string {
		_, port, _ := net.SplitHostPort(a.admin)
		return a.public + " port " + port
	}
	config := strings.NewReplacer(
		"bind :8080", "bind "+public, "bind :8405", "bind "+health,
		"server api-1 api-1:8080", "server api-1 "+server(one), "server api-2 api-2:8080", "server api-2 "+server(two),
	).Replace(string(readRoot(t, "cmd/compose/haproxy/haproxy.cfg")))
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	proxy := exec.CommandContext(t.Context(), "haproxy", "-db", "-f", path)
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = proxy.Process.Kill(), proxy.Wait() })
	embeddedtest.Eventually(t, "the proxy to be healthy", func() bool { return healthy("http://" + health + "/health") })
	return "http://" + public, "http://" + health + "/metrics"
}

func TestHAProxyConfiguration(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "haproxy", "-c", "-f", filepath.Join(root, "cmd/compose/haproxy/haproxy.cfg")).CombinedOutput()
	// Their names are Compose's to resolve.
	left := regexp.MustCompile(`(?m)^.*(could not resolve address|haproxy version|path to executable|Warnings were found|Configuration file is valid).*$`).ReplaceAllString(string(out), "")
	if err != nil || strings.TrimSpace(left) != "" {
		t.Errorf("%v: %s", err, out)
	}
}

// What has reached a replica is not sent again, whatever becomes of the answer.
func TestHAProxySendsOnce(t *testing.T) {
	var reached sync.Map
	count := func(r *http.Request) {
		n, _ := reached.LoadOrStore(r.Header.Get("X-Number"), new(atomic.Int32))
		n.(*atomic.Int32).Add(1)
	}
	ready := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer ready.Close()
	hangsUp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		count(r)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}))
	defer hangsUp.Close()
	answers := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { count(r) }))
	defer answers.Close()
	at := func(s *httptest.Server) addresses {
		return addresses{s.Listener.Addr().String(), ready.Listener.Addr().String()}
	}
	proxy, _ := startHAProxy(t, at(hangsUp), at(answers))
	statuses := map[int]int{}
	const requests = 40
	for i := range requests {
		method := http.MethodPost
		if i%4 >= 2 {
			method = http.MethodGet
		}
		request, err := http.NewRequestWithContext(t.Context(), method, proxy+"/oauth2/token", strings.NewReader("grant_type=refresh_token"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Number", strconv.Itoa(i))
		request.Close = true // or the client itself sends it again
		statuses[apitest.Do(t, request).Status]++
	}
	if statuses[http.StatusOK] == 0 || statuses[http.StatusBadGateway] == 0 || statuses[http.StatusOK]+statuses[http.StatusBadGateway] != requests {
		t.Errorf("answers: %v", statuses)
	}
	reached.Range(func(number, n any) bool {
		if n := n.(*atomic.Int32).Load(); n != 1 {
			t.Errorf("request %v reached replicas %d times", number, n)
		}
		return true
	})
}

// The README's tour works by way of the proxy, and clients notice little of a
// replica that goes.
func TestHAProxyBeforeReplicas(t *testing.T) {
	c := newComposed(t)
	c.start("projector-1", "projector-2")
	c.start("api-1", "api-2")
	proxy, metrics := startHAProxy(t, c.addresses["api-1"], c.addresses["api-2"])
	c.tour(proxy)
	service := c.register("load", "--grant-type", "client_credentials")

	const workers = 8
	load := func(name string, most int, disturb func(more func())) {
		stop, sent, failed := make(chan struct{}), atomic.Int32{}, atomic.Int32{}
		var working sync.WaitGroup
		for range workers {
			working.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					sent.Add(1)
					if !issues(proxy, service) {
						failed.Add(1)
					}
				}
			})
		}
		disturb(func() {
			enough := sent.Load() + 10*workers
			embeddedtest.Eventually(t, "more requests", func() bool { return sent.Load() > enough })
		})
		close(stop)
		working.Wait()
		t.Logf("%s: %d of %d requests failed", name, failed.Load(), sent.Load())
		if int(failed.Load()) > most || sent.Load() < 10*workers {
			t.Errorf("%s: %d of %d requests failed", name, failed.Load(), sent.Load())
		}
	}
	// More than these were never on their way to one replica.
	load("kill", workers, func(more func()) {
		more()
		_ = c.running["api-1"].Process.Kill()
		_ = c.running["api-1"].Wait()
		more()
		c.start("api-1")
		inUse(t, metrics, "api-1")
	})
	load("restart", 0, func(more func()) {
		for _, name := range []string{"api-1", "api-2"} {
			_ = c.running[name].Process.Signal(syscall.SIGTERM)
			_ = c.running[name].Wait()
			c.start(name)
			inUse(t, metrics, name)
			more()
		}
	})
}

// inUse waits until the proxy takes a replica for ready.
func inUse(t *testing.T, metrics, name string) {
	t.Helper()
	embeddedtest.Eventually(t, name+" to be in use", func() bool {
		response, err := http.Get(metrics)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		return err == nil && strings.Contains(string(text), `haproxy_server_status{proxy="api",server="`+name+`",state="UP"} 1`)
	})
}

// issues reports whether a client gets a token. Like many it keeps its
// connections.
func issues(url string, c apitest.Client) bool {
	request, err := http.NewRequest(http.MethodPost, url+"/oauth2/token", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		return false
	}
	request.SetBasicAuth(c.ID, c.Secret)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// tour runs what README.md says about the composition, and then its tour.
func (c *composed) tour(url string) {
	c.t.Helper()
	text := string(readRoot(c.t, "README.md"))
	program := filepath.Join(c.t.TempDir(), "operator")
	script := "#!/bin/sh\n" + asProgram + "=1 CHANCERY_ADMIN_URL=http://" + c.addresses["api-1"].admin +
		" CHANCERY_DATA=" + filepath.Join(c.secrets, "operator") + " exec " + os.Args[0] + ` "$@"` + "\n"
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		c.t.Fatal(err)
	}
	shell := strings.NewReplacer(
		"docker compose up --build --detach", ":", "docker compose run --rm -T operator", program,
		"go run ./cmd/chancery", program, "http://127.0.0.1:8080\n", url+"\n",
	).Replace(blocks(text, "composed") + blocks(text, "tour"))
	bash := exec.CommandContext(c.t.Context(), "bash", "-euo", "pipefail")
	bash.Stdin = strings.NewReader(shell)
	out, err := bash.CombinedOutput()
	if err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"login_url", "access_token", `"active":true`, `{"active":false}`, "code.redeemed.v1", "grant.revoked.v1", "signed up to"} {
		if !strings.Contains(string(out), want) {
			c.t.Errorf("the tour does not show %s: %s", want, out)
		}
	}
}

// blocks are the shell blocks between the markers of a name.
func blocks(text, name string) string {
	_, text, _ = strings.Cut(text, "<!-- "+name+": begin -->")
	text, _, _ = strings.Cut(text, "<!-- "+name+": end -->")
	var all strings.Builder
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(text, -1) {
		all.WriteString(m[1])
	}
	return all.String()
}
