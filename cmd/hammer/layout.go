package hammer

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/cmd/process"
	"github.com/chancery-authority/chancery/events/embedded/netfault"
)

// newCluster lays out a cluster. Nothing is started yet.
func newCluster(ctx context.Context, cfg Config) (c *Cluster, err error) {
	c = &Cluster{cfg: cfg, http: &http.Client{Timeout: time.Second}}
	if c.secrets, err = process.MakeSecrets(cfg.Dir); err != nil {
		return nil, err
	}
	ports, err := netfault.FreePorts(ctx, lowestPort, 2*nodes+2*cfg.APIs+cfg.Projectors)
	if err != nil {
		return nil, err
	}
	for i := range nodes {
		c.Nodes[i] = &Node{
			Process: c.process("node-"+strconv.Itoa(i), c.natsCommand(i)...),
			store:   filepath.Join(cfg.Dir, "node-"+strconv.Itoa(i)), clientPort: ports[2*i], routePort: ports[2*i+1],
		}
	}
	for i, n := range c.Nodes {
		if err := c.layNode(ctx, i, n); err != nil {
			return c, err
		}
	}
	ports = ports[2*nodes:]
	for i := range cfg.APIs {
		s, err := c.newService(ctx, "api-"+strconv.Itoa(i), ports[0])
		if err != nil {
			return c, err
		}
		c.layAPI(s, ports[1])
		c.APIs = append(c.APIs, s)
		ports = ports[2:]
	}
	for i := range cfg.Projectors {
		s, err := c.newService(ctx, "projector-"+strconv.Itoa(i), ports[i])
		if err != nil {
			return c, err
		}
		s.data = filepath.Join(cfg.Dir, s.Name)
		s.Argv = append(s.Argv, "--data", s.data, "--checkpoint-key-file", c.secrets.CheckpointKeyFile)
		c.Projectors = append(c.Projectors, s)
	}
	return c, nil
}

func (c *Cluster) process(name string, argv ...string) *process.Process {
	return &process.Process{Name: name, Log: filepath.Join(c.cfg.Dir, name+".log"), Argv: argv}
}

func (c *Cluster) natsCommand(i int) []string {
	config := c.natsConfigFile(i)
	if c.cfg.NATSServer != "" {
		return []string{c.cfg.NATSServer, "-c", config}
	}
	return []string{c.cfg.Program, "hammer-process", "nats", config}
}

func (c *Cluster) natsConfigFile(i int) string {
	return filepath.Join(c.cfg.Dir, fmt.Sprintf("node-%d.conf", i))
}

func (c *Cluster) proxy(ctx context.Context, port int) (*netfault.Proxy, error) {
	p, err := netfault.NewProxy(ctx, netfault.Loopback(port))
	if err == nil {
		c.proxies = append(c.proxies, p)
	}
	return p, err
}

// layNode lays the routes from a node and writes its configuration.
func (c *Cluster) layNode(ctx context.Context, i int, n *Node) (err error) {
	var routes []string
	for to, other := range c.Nodes {
		if to == i {
			continue
		}
		if n.routes[to], err = c.proxy(ctx, other.routePort); err != nil {
			return err
		}
		routes = append(routes, "nats-route://"+n.routes[to].Addr())
	}
	// Servers tell each other, and clients, where they listen, and would find
	// ways around the proxies. Nothing listens on port 1.
	text := fmt.Sprintf(`server_name: %s
listen: %q
max_pending: 1GB
jetstream { store_dir: %q, sync_interval: always }
cluster {
  name: hammer, listen: %q, cluster_advertise: "127.0.0.1:1", no_advertise: true, pool_size: -1
  routes: [%s]
}
%s`, n.Name, netfault.Loopback(n.clientPort), n.store, netfault.Loopback(n.routePort), strings.Join(routes, ", "), c.secrets.NATSConfig)
	return os.WriteFile(c.natsConfigFile(i), []byte(text), 0o600)
}

// newService is a process that reaches the NATS servers by proxies of its own.
func (c *Cluster) newService(ctx context.Context, name string, adminPort int) (s *Service, err error) {
	role, _, _ := strings.Cut(name, "-")
	s = &Service{Admin: "http://" + netfault.Loopback(adminPort)}
	var urls []string
	for i, n := range c.Nodes {
		if s.links[i], err = c.proxy(ctx, n.clientPort); err != nil {
			return nil, err
		}
		urls = append(urls, "nats://"+s.links[i].Addr())
	}
	s.Process = c.process(
		name, c.cfg.Program, "hammer-process", role, "--admin-listen", netfault.Loopback(adminPort), "--replicas", strconv.Itoa(nodes),
		"--nats-url", strings.Join(urls, ","), "--nats-creds", c.secrets.LogCreds, "--nats-sys-creds", c.secrets.SystemCreds,
	)
	return s, nil
}

func (c *Cluster) layAPI(s *Service, port int) {
	s.Public = "http://" + netfault.Loopback(port)
	s.clock = filepath.Join(c.cfg.Dir, s.Name+".clock")
	s.Argv = append(
		s.Argv, "--issuer", issuer, "--listen", netfault.Loopback(port), "--clock-file", s.clock,
		"--admin-key-file", c.secrets.AdminKeyFile, "--key-encryption-keys-file", c.secrets.RingFile,
		// As long as the balancer takes to notice, and some more.
		"--drain-delay", (10 * healthEvery).String(),
		// All clients come from one address, and some of what they try is wrong.
		"--failure-limit", "0", "--address-failure-limit", "0",
	)
}
