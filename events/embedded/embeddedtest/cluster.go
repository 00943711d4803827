package embeddedtest

import (
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/chancery-authority/chancery/events/embedded/netfault"
)

// reconnectWait is short: tests wait for it.
const reconnectWait = 50 * time.Millisecond

// lowestPort is of the ports that nodes listen on.
const lowestPort = 20_000

// Nodes is the size of a cluster.
const Nodes = 3

// Cluster is three NATS servers with JetStream in this process. Each route
// between two of them leads through a proxy, so a node can be cut off.
type Cluster struct {
	t     testing.TB
	nodes [Nodes]*clusterNode
	// routes[i][j] is the way on which i dials j.
	routes [Nodes][Nodes]*Proxy
}

type clusterNode struct {
	opts   server.Options
	server *server.Server
}

// NewCluster starts a cluster that ends with the test, and waits until it has
// a leader and all nodes are current.
//
// Each tweak may change the options of a node before it starts.
func NewCluster(t testing.TB, tweaks ...func(node int, o *server.Options)) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	dir := t.TempDir()
	ports := FreePorts(t, 2*Nodes)
	for from := range Nodes {
		for to := range Nodes {
			if from != to {
				c.routes[from][to] = NewProxy(t, netfault.Loopback(ports[to]))
			}
		}
	}
	for i := range Nodes {
		c.nodes[i] = &clusterNode{opts: c.options(i, ports[i], ports[Nodes+i], dir)}
		for _, tweak := range tweaks {
			tweak(i, &c.nodes[i].opts)
		}
		c.Start(i)
	}
	t.Cleanup(func() {
		for i := range Nodes {
			c.stop(i)
		}
	})
	c.WaitReady()
	return c
}

func (c *Cluster) options(i, routePort, clientPort int, dir string) server.Options {
	name := NodeName(i)
	return server.Options{
		ServerName:             name,
		Host:                   "127.0.0.1",
		Port:                   clientPort,
		StoreDir:               filepath.Join(dir, name),
		JetStream:              true,
		SyncAlways:             true,
		NoSigs:                 true,
		NoLog:                  true,
		DisableJetStreamBanner: true,
		Routes:                 c.routesFrom(i),
		Cluster: server.ClusterOpts{
			Name: "test",
			Host: "127.0.0.1",
			Port: routePort,
			// Servers tell each other where they listen, and would find ways
			// around the proxies. Nothing listens on this one.
			Advertise:   "127.0.0.1:1",
			NoAdvertise: true,
			PoolSize:    -1,
		},
	}
}

// authentication lets anybody in, as a user without a password in the default
// account, and the system's user in the system account.
func authentication(o *server.Options) {
	system := server.NewAccount(server.DEFAULT_SYSTEM_ACCOUNT)
	o.SystemAccount = system.Name
	o.Accounts = []*server.Account{system}
	o.Users = []*server.User{
		{Username: "anyone"},
		{Username: "system", Password: "system", Account: system},
	}
	o.NoAuthUser = "anyone"
}

// NodeName is the server name of node i.
func NodeName(i int) string { return "node-" + strconv.Itoa(i) }

func (c *Cluster) routesFrom(i int) []*url.URL {
	var urls []*url.URL
	for _, p := range c.routes[i] {
		if p != nil {
			urls = append(urls, &url.URL{Scheme: "nats-route", Host: p.Addr()})
		}
	}
	return urls
}

// FreePorts finds ports that nobody listens on, for servers that must come back
// where they were.
func FreePorts(t testing.TB, n int) []int {
	t.Helper()
	ports, err := netfault.FreePorts(t.Context(), lowestPort, n)
	if err != nil {
		t.Fatal(err)
	}
	return ports
}

// WaitReady waits until the cluster has a leader that all nodes follow.
func (c *Cluster) WaitReady() {
	c.t.Helper()
	Eventually(c.t, "cluster is ready", func() bool {
		leaders := 0
		for _, n := range c.nodes {
			if n.server == nil || !n.server.JetStreamIsCurrent() || n.server.NumRoutes() < Nodes-1 {
				return false
			}
			if n.server.JetStreamIsLeader() {
				leaders++
			}
		}
		return leaders == 1
	})
}

// URL is where node i listens.
func (c *Cluster) URL(i int) string {
	return "nats://" + netfault.Loopback(c.nodes[i].opts.Port)
}

// Connect connects to the given nodes, all if none are given: to one of them,
// and on to another when that one dies. The connection ends with the test.
func (c *Cluster) Connect(nodes ...int) *nats.Conn {
	c.t.Helper()
	if len(nodes) == 0 {
		nodes = []int{0, 1, 2}
	}
	urls := make([]string, len(nodes))
	for i, n := range nodes {
		urls[i] = c.URL(n)
	}
	nc, err := nats.Connect(strings.Join(urls, ","), Reconnecting()...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	return nc
}

// ConnectSystem connects to the system account at one node.
func (c *Cluster) ConnectSystem(node int) *nats.Conn {
	c.t.Helper()
	nc, err := nats.Connect(c.URL(node), append(Reconnecting(), nats.UserInfo("system", "system"))...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	return nc
}

// Reconnecting are the options of a connection that outlives its server and
// keeps nothing back to send later.
func Reconnecting() []nats.Option {
	return []nats.Option{
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(0, 0),
		nats.ReconnectBufSize(-1),
		nats.RetryOnFailedConnect(false),
	}
}

// Leader is the node that leads a stream of the default account, as that node
// sees it, or -1. A node that is cut off goes on to see itself as leader for a
// while; exclude it.
func (c *Cluster) Leader(stream string, exclude ...int) int {
	for i, n := range c.nodes {
		if slices.Contains(exclude, i) || n.server == nil {
			continue
		}
		if n.server.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
			return i
		}
	}
	return -1
}

// WaitLeader waits until a stream has a leader and returns it.
func (c *Cluster) WaitLeader(stream string, exclude ...int) int {
	c.t.Helper()
	leader := -1
	Eventually(c.t, "stream "+stream+" has a leader", func() bool {
		leader = c.Leader(stream, exclude...)
		return leader >= 0
	})
	return leader
}

// Isolate cuts node i off from the others; clients still reach it.
func (c *Cluster) Isolate(i int) { c.eachRoute(i, (*Proxy).Cut) }

// Heal ends the isolation of node i.
func (c *Cluster) Heal(i int) { c.eachRoute(i, (*Proxy).Heal) }

func (c *Cluster) eachRoute(i int, do func(*Proxy)) {
	for other := range Nodes {
		if other != i {
			do(c.routes[i][other])
			do(c.routes[other][i])
		}
	}
}

// Kill ends node i without a farewell: it is cut off first, so that it cannot
// hand anything over. Its directory stays.
func (c *Cluster) Kill(i int) {
	c.Isolate(i)
	c.stop(i)
}

// Start starts node i, again after Kill.
func (c *Cluster) Start(i int) {
	c.t.Helper()
	c.Heal(i)
	// The server changes what it is given, accounts and routes too.
	opts := c.nodes[i].opts
	opts.Routes = c.routesFrom(i)
	authentication(&opts)
	s, err := server.NewServer(&opts)
	if err != nil {
		c.t.Fatal(err)
	}
	s.Start()
	c.nodes[i].server = s
}

func (c *Cluster) stop(i int) {
	s := c.nodes[i].server
	if s == nil {
		return
	}
	s.Shutdown()
	s.WaitForShutdown()
	c.nodes[i].server = nil
}
