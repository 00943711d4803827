package hammer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/cmd/process"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/netfault"
	"github.com/chancery-authority/chancery/events/eventlog"
)

const (
	// nodes is how many NATS servers there are, and copies of every stream.
	nodes = 3
	// lowestPort is of the ports that processes listen on.
	lowestPort = 10_000
	// issuer is that of all replicas; nothing listens there.
	issuer = "http://127.0.0.1:8080"
	// restartPause is how long a supervisor waits before it starts a process again.
	restartPause = 500 * time.Millisecond
)

// A Node is a NATS server.
type Node struct {
	*process.Process
	// store is its directory.
	store                 string
	clientPort, routePort int
	// routes are the ways on which it dials the others, by their numbers.
	routes [nodes]*netfault.Proxy
}

// A Service is an API replica or a projector.
type Service struct {
	*process.Process
	// Public is where an API replica answers, and Admin where the process says
	// whether it is ready.
	Public, Admin string
	// data is a projector's directory, clock what an API replica's clock reads.
	data, clock string
	// Restarts is how often it had to be started again because it had ended by itself.
	Restarts int
	// links are the ways to the NATS servers, by their numbers.
	links [nodes]*netfault.Proxy
}

// A Cluster is a whole authority of processes, joined by proxies.
type Cluster struct {
	Nodes      [nodes]*Node
	APIs       []*Service
	Projectors []*Service

	cfg     Config
	secrets process.Secrets
	http    *http.Client
	proxies []*netfault.Proxy
	// nc and log are ours, past all proxies.
	nc  *nats.Conn
	log *eventlog.Log
	disk
}

// services are all API replicas and projectors.
func (c *Cluster) services() []*Service {
	return append(append([]*Service{}, c.APIs...), c.Projectors...)
}

// processes are all, in the order in which they are started.
func (c *Cluster) processes() (all []*process.Process) {
	for _, n := range c.Nodes {
		all = append(all, n.Process)
	}
	for _, s := range append(append([]*Service{}, c.Projectors...), c.APIs...) {
		all = append(all, s.Process)
	}
	return all
}

// Start starts everything and returns when all of it is ready.
func (c *Cluster) Start(ctx context.Context) error {
	for _, n := range c.Nodes {
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	if err := c.connect(ctx); err != nil {
		return err
	}
	for _, s := range append(append([]*Service{}, c.Projectors...), c.APIs...) {
		if err := s.Start(ctx); err != nil {
			return err
		}
	}
	return c.WaitReady(ctx)
}

// connect opens the log, past the proxies.
func (c *Cluster) connect(ctx context.Context) error {
	var urls []string
	for _, n := range c.Nodes {
		urls = append(urls, "nats://"+netfault.Loopback(n.clientPort))
	}
	err := process.Eventually(ctx, "the NATS servers to be reached", func(context.Context) (err error) {
		c.nc, err = eventlog.Connect(eventlog.ConnectConfig{URL: strings.Join(urls, ","), Name: "hammer", Creds: c.secrets.LogCreds})
		return err
	})
	if err != nil {
		return err
	}
	return process.Eventually(ctx, "the log to be opened", func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
		defer cancel()
		c.log, err = eventlog.Open(ctx, c.nc, eventlog.Config{Realm: events.DefaultRealm, Partitions: 1, Replicas: nodes})
		return err
	})
}

// Close ends all processes, without ado.
func (c *Cluster) Close() error {
	var errs []error
	if c.nc != nil {
		c.nc.Close()
	}
	for _, p := range c.processes() {
		errs = append(errs, p.Continue(), p.Kill())
	}
	for _, p := range c.proxies {
		p.Close()
	}
	return errors.Join(append(errs, c.releaseDisk())...)
}

// Ready is nil if a process says that it is ready.
func (c *Cluster) Ready(ctx context.Context, s *Service) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Admin+"/health/ready", nil)
	if err != nil {
		return err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is not ready: %s", s.Name, answer.Status)
	}
	return nil
}

// WaitReady waits until all API replicas and projectors are ready, and the NATS
// servers agree.
func (c *Cluster) WaitReady(ctx context.Context) error {
	if err := process.Eventually(ctx, "all processes to be ready", func(ctx context.Context) error {
		if err := c.revive(ctx); err != nil {
			return err
		}
		for _, s := range c.services() {
			if err := c.Ready(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return c.waitCurrent(ctx)
}

// revive starts processes again that have ended by themselves, as whoever supervises
// them does: one that finds no NATS server at its start ends.
func (c *Cluster) revive(ctx context.Context) error {
	for _, s := range c.services() {
		if s.Running() {
			continue
		}
		s.Restarts++
		if err := s.Start(ctx); err != nil {
			return err
		}
		sleep(ctx.Done(), restartPause)
	}
	return nil
}

// stream is the one whose leader faults aim at.
func (c *Cluster) stream() string { return events.DefaultRealm.PartitionStream(0) }

// waitCurrent waits until every stream has a leader, and copies on all servers
// that follow it.
func (c *Cluster) waitCurrent(ctx context.Context) error {
	return process.Eventually(ctx, "the copies of all streams to be current", func(ctx context.Context) error {
		for _, stream := range c.log.Streams() {
			info, err := c.info(ctx, stream)
			if err != nil {
				return err
			}
			if info.Cluster == nil || info.Cluster.Leader == "" || len(info.Cluster.Replicas) != nodes-1 {
				return fmt.Errorf("%s has no leader", stream)
			}
			for _, r := range info.Cluster.Replicas {
				if !r.Current || r.Offline {
					return fmt.Errorf("the copy of %s on %s is not current", stream, r.Name)
				}
			}
		}
		return nil
	})
}

func (c *Cluster) info(ctx context.Context, stream string) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	js, err := jetstream.New(c.nc)
	if err != nil {
		return nil, err
	}
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	return s.CachedInfo(), nil
}

// Leader is the number of the server that leads the stream that faults aim at.
func (c *Cluster) Leader(ctx context.Context) (leader int, err error) {
	err = process.Eventually(ctx, "a leader", func(ctx context.Context) error {
		info, err := c.info(ctx, c.stream())
		if err != nil {
			return err
		}
		if info.Cluster != nil {
			for i, n := range c.Nodes {
				if n.Name == info.Cluster.Leader {
					leader = i
					return nil
				}
			}
		}
		return errors.New("nobody leads")
	})
	return leader, err
}
